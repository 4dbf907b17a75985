"""Waiting without being stuck: for sockets with a time limit, and so that any thread can end it."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from fbcli.platform import system


class Waker:
    """A flag that a poll sees: set from any thread, taken by one."""

    def __init__(self) -> None:
        self.socket, self._far_end = socket.socketpair()
        self.socket.setblocking(False)
        self._far_end.setblocking(False)
        self._set = False

    def set(self) -> None:
        if not self._set:
            self._set = True
            try:
                self._far_end.send(b"\0")
            except OSError:
                pass  # full: it is awake as can be. Closed: nobody sleeps any more.

    def take(self) -> bool:
        """Return whether it was set, and clear it."""
        return self._set and self.drain()

    def drain(self) -> bool:
        """As `take`, for one whose `socket` was seen readable.

        Note: emptied first, cleared then. The other way round, a `set` in between would leave the
        flag up without a byte behind it, and nobody could wake it any more.
        """
        try:
            found = bool(self.socket.recv(64))
        except OSError:
            found = False
        was_set, self._set = self._set, False
        return found or was_set

    def close(self) -> None:
        self.socket.close()
        self._far_end.close()


def readable(sockets: Sequence[socket.socket], timeout: float) -> bool:
    """Wait up to `timeout` seconds (an hour at most) until one of them has something to read, or
    its end."""
    timeout = min(max(0.0, timeout), 3600.0)
    if any(getattr(sock, "pending", int)() for sock in sockets):
        return True  # TLS: decrypted already, so the kernel has nothing to show
    return system.wait_readable([sock.fileno() for sock in sockets], timeout)
