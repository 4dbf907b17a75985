"""How a fetch waits where no server tells it: until it is woken, until there is news in this
process, or for a while."""

from __future__ import annotations

import threading
from typing import Literal

from fbcli.platform import FileWatch

Heard = Literal["bell", "write", "nothing"]


class Alarm:
    """Two reasons to stop waiting. Any thread may give one; one thread waits.

    A reason is noted before the bell rings, and the bell is silenced before the reasons are looked
    at: none is missed.
    """

    __slots__ = ("__weakref__", "_bell", "_file_watch", "_news", "_woken")

    def __init__(self) -> None:
        self._bell = threading.Lock()
        """Held while it is silent. Waiting so costs half of what an `Event` does, and a consumer
        that polls waits often."""
        self._bell.acquire()
        self._file_watch: FileWatch | None = None
        """With which somebody waits now."""
        self._news = False
        self._woken = False

    def wake(self) -> None:
        """End the wait, or the next one, whatever there is."""
        self._woken = True
        self._ring()

    def tell(self) -> None:
        """There may be something to fetch."""
        self._news = True
        self._ring()

    def _ring(self) -> None:
        try:
            self._bell.release()
        except RuntimeError:
            pass  # it rings already
        watch = self._file_watch
        if watch is not None:
            watch.ring()

    def wait(self, seconds: float) -> bool:
        """Wait for either, at most so long; return whether there was one. Accurate to a tenth of a
        millisecond or so."""
        return self._bell.acquire(timeout=min(max(0.0, seconds), 3600.0))

    def listen(self, watch: FileWatch, seconds: float) -> Heard:
        """Wait for either, or for a write to the file of `watch`, at most so long."""
        self._file_watch = watch
        try:
            if self._bell.acquire(blocking=False):
                return "bell"
            written = watch.wait(seconds)
        finally:
            self._file_watch = None
        if self._bell.acquire(blocking=False):
            return "bell"
        return "write" if written else "nothing"

    def was_woken(self) -> bool:
        """Return and forget whether somebody said `wake`."""
        if not self._woken:
            return False  # and write nothing: a `wake` in between would be forgotten
        self._woken = False
        return True

    def has_news(self) -> bool:
        """Return and forget whether somebody said `tell`."""
        if not self._news:
            return False
        self._news = False
        return True
