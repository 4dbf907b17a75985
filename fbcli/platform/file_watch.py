"""Hears at once when any process writes to a file, where the system tells (Linux: inotify(7));
elsewhere there is none, and one polls."""

from __future__ import annotations

import ctypes
import os
import select
import sys
from functools import cache
from pathlib import Path
from typing import Any

IN_MODIFY = 0x2
"""The file was written to (linux/inotify.h)."""


class FileWatch:
    """Listens to one file. Used by one thread; `ring` by any."""

    def __init__(self, path: Path, notify: int, ring: int) -> None:
        self._path = path
        self._notify = notify
        self._ring = ring
        self._file = _identity(path)
        self._poll = select.poll()
        for descriptor in (notify, ring):
            self._poll.register(descriptor, select.POLLIN)

    @classmethod
    def open(cls, path: Path) -> FileWatch | None:
        """Return an watch at the file, or None: there is no such file yet, or the system has
        nothing of the kind (or no more of it)."""
        libc = _libc()
        notify = -1 if libc is None else libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if notify < 0:
            return None
        if libc.inotify_add_watch(notify, os.fsencode(path), IN_MODIFY) < 0:
            os.close(notify)
            return None
        return cls(path, notify, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def ring(self) -> None:
        """End the wait, or the next one."""
        os.eventfd_write(self._ring, 1)

    def wait(self, seconds: float) -> bool:
        """Wait until the file is written to or it rings, at most so long; return whether the file
        was written to."""
        ready = dict(self._poll.poll(max(0.0, seconds) * 1000))
        if self._ring in ready:
            os.eventfd_read(self._ring)
        if self._notify not in ready:
            return False
        os.read(self._notify, 65536)
        return True

    def is_stale(self) -> bool:
        """Whether the file is not the one any more that has this name."""
        return self._file != _identity(self._path)

    def __del__(self) -> None:
        """Note: not before the last who may ring it has let go of it, or another file's descriptor
        might be rung."""
        os.close(self._notify)
        os.close(self._ring)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@cache
def _libc() -> Any:
    """The C library, where it has inotify and Python has eventfd (Linux, from Python 3.10); else
    None."""
    if sys.platform != "linux" or not hasattr(os, "eventfd"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    return libc if hasattr(libc, "inotify_init1") else None
