"""How a fetch waits where no server tells it: until it is woken, until there is news in this process, or for a while."""

from __future__ import annotations

import threading


class Alarm:
    """Two reasons to stop waiting. Any thread may give one; one thread waits."""

    __slots__ = ("__weakref__", "_bell", "_news", "_woken")

    def __init__(self) -> None:
        self._bell = threading.Event()
        self._news = False
        self._woken = False

    def wake(self) -> None:
        """End the wait, or the next one, whatever there is."""
        self._woken = True
        self._bell.set()

    def tell(self) -> None:
        """There may be something to fetch."""
        self._news = True
        self._bell.set()

    def wait(self, seconds: float) -> None:
        """Wait for either, at most so long. Accurate to a tenth of a millisecond or so."""
        if seconds > 0:
            self._bell.wait(min(seconds, 3600.0))
        self._bell.clear()

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
