"""What Linux has beyond POSIX: word of writes to a file (inotify(7)), wake-ups of one descriptor
(eventfd(2)), an end with the parent (prctl(2))."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any

assert sys.platform == "linux"

IN_MODIFY = 0x2
"""The file was written to (linux/inotify.h)."""
PR_SET_PDEATHSIG = 1
"""The signal to get when the parent ends (linux/prctl.h)."""


class EventWakeup:
    """A `Wakeup` (see `interface`) of one descriptor.

    Note: the descriptor is closed when the last who may ring it has let go of it, not before: the
    number may be another file's by then.
    """

    __slots__ = ("_closed", "_event")

    def __init__(self) -> None:
        self._closed = False
        self._event = -1
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._event

    def ring(self) -> None:
        if not self._closed:
            os.eventfd_write(self._event, 1)

    def silence(self) -> None:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass  # it did not ring

    def close(self) -> None:
        self._closed = True

    def __del__(self) -> None:
        if self._event >= 0:
            os.close(self._event)


class InotifyWatch:
    """A `FileWatch` (see `interface`)."""

    def __init__(self, path: Path, notify: int) -> None:
        self._path = path
        self._notify = notify
        self._wakeup = EventWakeup()
        self._file = _identity(path)
        self._poll = select.poll()
        for descriptor in (notify, self._wakeup.fileno()):
            self._poll.register(descriptor, select.POLLIN)

    def ring(self) -> None:
        self._wakeup.ring()

    def wait(self, seconds: float) -> bool:
        ready = dict(self._poll.poll(max(0.0, seconds) * 1000))
        if self._wakeup.fileno() in ready:
            self._wakeup.silence()
        if self._notify not in ready:
            return False
        os.read(self._notify, 65536)
        return True

    def is_stale(self) -> bool:
        return self._file != _identity(self._path)

    def __del__(self) -> None:
        os.close(self._notify)


def watch_file(path: Path) -> InotifyWatch | None:
    """See `System.watch_file`."""
    libc = _libc()
    notify: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if notify < 0:
        return None
    if libc.inotify_add_watch(notify, os.fsencode(path), IN_MODIFY) < 0:
        os.close(notify)
        return None
    return InotifyWatch(path, notify)


def die_with_parent(parent: int) -> bool:
    """See `System.die_with_parent`."""
    if _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        return False
    if os.getppid() != parent:
        os._exit(1)
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@cache
def _libc() -> Any:
    """The C library."""
    return ctypes.CDLL(None, use_errno=True)
