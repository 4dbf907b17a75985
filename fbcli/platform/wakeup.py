"""A wake-up that any system has: a pair of sockets, since on Windows nothing but sockets can be
waited for."""

from __future__ import annotations

import socket


class PairWakeup:
    """A `Wakeup` (see `interface`)."""

    __slots__ = ("_far_end", "_near_end")

    def __init__(self) -> None:
        self._near_end, self._far_end = socket.socketpair()
        self._near_end.setblocking(False)
        self._far_end.setblocking(False)

    def fileno(self) -> int:
        return self._near_end.fileno()

    def ring(self) -> None:
        try:
            self._far_end.send(b"\0")
        except OSError:
            pass  # full: it rings as loud as can be. Closed: nobody sleeps any more.

    def silence(self) -> None:
        try:
            while len(self._near_end.recv(4096)) == 4096:
                pass
        except OSError:
            pass  # it did not ring

    def close(self) -> None:
        self._near_end.close()
        self._far_end.close()
