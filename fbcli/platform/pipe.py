"""The pipe of records of POSIX systems."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios
from array import array
from collections.abc import Callable

assert sys.platform != "win32"


class PosixPipe:
    """A `RecordPipe` (see `interface`): pipe(7), never blocking."""

    __slots__ = ("_read", "_reader", "_writer", "token")

    def __init__(
        self, reader: int, writer: int, read: Callable[[int, int], bytes] = os.read
    ) -> None:
        self._reader, self._writer, self._read = reader, writer, read
        self.token = str(reader)
        for file in (reader, writer):
            if file >= 0:
                os.set_blocking(file, False)

    def write(self, records: bytes) -> bool:
        try:
            return os.write(self._writer, records) == len(records)
        except BlockingIOError:
            return False

    def read(self, size: int) -> bytes:
        return self._read(self._reader, size)

    def unread(self) -> int:
        there = array("i", [0])
        fcntl.ioctl(self._reader, termios.FIONREAD, there)
        return there[0]

    def wait(self) -> None:
        select.select([self._reader], [], [])

    def finish(self) -> None:
        self._writer = _closed(self._writer)

    def close(self) -> None:
        self.finish()
        self._reader = _closed(self._reader)


def _closed(file: int) -> int:
    """Close a descriptor; return what stands for none."""
    if file >= 0:
        os.close(file)
    return -1
