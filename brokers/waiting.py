"""How a fetch waits, and is woken from any thread: by whoever wants it to return, by news, by a
write to a file, or by what arrives at a socket."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Literal, Protocol

from fbcli.platform import FileWatch, Wakeup, system

LONGEST_WAIT = 3600.0
"""Seconds; whoever has to wait longer waits again."""

Heard = Literal["waker", "source", "nothing"]
"""What has ended a wait: `wake` or `notify`; the file or socket; the time."""


class Readable(Protocol):
    """What can be waited for beside a waker: a socket, or what has one."""

    def fileno(self) -> int: ...


class Waker:
    """Two reasons to stop waiting. Any thread may give one, as often as it likes; one thread waits.

    A reason is noted before the bell rings, and the bell is silenced before the reasons are looked
    at: none is missed. Ringing a bell that rings already costs next to nothing.
    """

    __slots__ = ("__weakref__", "_bell", "_news", "_ringer", "_wakeup", "_woken")

    def __init__(self) -> None:
        self._bell = threading.Lock()
        """Held while it is silent. Waiting so costs half of what an `Event` does, and a consumer
        that polls waits often."""
        self._bell.acquire()
        self._ringer: FileWatch | Wakeup | None = None
        """What ends the wait that is going on, where the bell alone cannot."""
        self._wakeup: Wakeup | None = None
        """Opened when sockets are waited for: many consumers never do."""
        self._news = False
        self._woken = False

    # from any thread

    def wake(self) -> None:
        """End the wait, or the next one, whatever there is."""
        self._woken = True
        self._ring()

    def notify(self) -> None:
        """There may be something to fetch."""
        self._news = True
        self._ring()

    def _ring(self) -> None:
        if not self._bell.locked():
            return  # it rings already
        try:
            self._bell.release()
        except RuntimeError:
            return  # somebody was faster, and does the rest
        ringer = self._ringer
        if ringer is not None:
            ringer.ring()

    # by the one that waits

    def wait(self, seconds: float) -> bool:
        """Wait for either reason, at most so long; return whether there was one. Accurate to a
        tenth of a millisecond or so."""
        return self._bell.acquire(timeout=_bounded(seconds))

    def wait_for_file(self, watch: FileWatch, seconds: float) -> Heard:
        """Wait for either reason, or for a write to the file of `watch`, at most so long."""
        self._ringer = watch
        try:
            if self._bell.acquire(blocking=False):
                return "waker"
            written = watch.wait(_bounded(seconds))
        finally:
            self._ringer = None
        if self._bell.acquire(blocking=False):
            return "waker"
        return "source" if written else "nothing"

    def wait_for_sockets(self, sources: Sequence[Readable], seconds: float) -> Heard:
        """Wait for either reason, or until one of these has something to read, or its end; at most
        so long, and at times a little shorter. Raises `OSError` when there are no more
        descriptors."""
        if self._bell.acquire(blocking=False):
            return "waker"
        if _pending(sources):
            return "source"
        if self._wakeup is None:
            self._wakeup = system.wakeup()
        wakeup = self._ringer = self._wakeup
        try:
            if self._bell.acquire(blocking=False):
                return "waker"
            files = [wakeup.fileno(), *(source.fileno() for source in sources)]
            ready = system.wait_readable(files, _bounded(seconds))
        finally:
            self._ringer = None
        if files[0] in ready:  # or what rang an earlier bell, and came late
            wakeup.silence()
            ready.remove(files[0])
        if self._bell.acquire(blocking=False):
            return "waker"
        return "source" if ready else "nothing"

    def was_woken(self) -> bool:
        """Return and forget whether somebody said `wake`."""
        if not self._woken:
            return False  # and write nothing: a `wake` in between would be forgotten
        self._woken = False
        self._calm()
        return True

    def has_news(self) -> bool:
        """Return and forget whether somebody said `notify`."""
        if not self._news:
            return False
        self._news = False
        self._calm()
        return True

    def _calm(self) -> None:
        """Silence the bell that rang for a reason that is known by now, unless it also rang for the
        other one."""
        if self._bell.acquire(blocking=False) and (self._news or self._woken):
            self._ring()

    def close(self) -> None:
        """Give back what it took of the system. Idempotent; others may still ring."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            wakeup.close()


def readable(sources: Sequence[Readable], seconds: float) -> bool:
    """Wait until one of these has something to read, or its end; at most so long."""
    return _pending(sources) or bool(
        system.wait_readable([source.fileno() for source in sources], _bounded(seconds))
    )


def _pending(sources: Sequence[Readable]) -> bool:
    """Whether TLS has decrypted something already, of which the system knows nothing any more."""
    return any(getattr(source, "pending", int)() for source in sources)


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST_WAIT)
