"""How the processes of one run speak to each other: messages over a socket, each a JSON value with
its length in front.

`Channel` waits, `QueuedChannel` never does. What the messages mean is the matter of those who send
and read them.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec

M = TypeVar("M")
Decode = Callable[[bytes], M]
"""Makes a message of its bytes. Raises `msgspec.DecodeError`."""

PIECE = 256 * 1024
"""Bytes read at once."""
MOST_PIECES = 64
"""Read one after the other: far more than a socket holds, but one who never stops talking must not
be listened to for ever."""
LONGEST = 1 << 30
"""Bytes of a message. More is none: somebody has written into a descriptor that is not his own."""

_LENGTH = struct.Struct("=I")

_encode = msgspec.json.Encoder(enc_hook=str).encode


def framed(message: object) -> bytes:
    """Return a message as it travels."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts what arrives, in pieces of any size, into the bodies of messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes in; return the bodies that are complete. Raises `msgspec.DecodeError`."""
        buffer = self._buffer
        buffer += data
        bodies: list[bytes] = []
        at, end = 0, len(buffer)
        with memoryview(buffer) as view:
            while end - at >= _LENGTH.size:
                start = at + _LENGTH.size
                at_next = start + _LENGTH.unpack_from(buffer, at)[0]
                if at_next > end:
                    if at_next - start > LONGEST:
                        raise msgspec.DecodeError("no message is so long")
                    break
                bodies.append(bytes(view[start:at_next]))
                at = at_next
        del buffer[:at]
        return bodies


class Channel:
    """One end of a connection. Any thread may send; one reads."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(None)  # whatever a module of the user's has made the default of sockets
        self.socket = end
        self._frames = Frames()
        self._bodies: list[bytes] = []
        """Of messages that have come and were not asked for."""
        self._lock = threading.Lock()

    def send(self, message: object) -> bool:
        """Send a message; False when nobody is there any more."""
        return self.send_framed(framed(message))

    def send_framed(self, frames: bytes) -> bool:
        """Send what `framed` has returned, of one message or of several."""
        try:
            with self._lock:
                self.socket.sendall(frames)
        except OSError:
            return False
        return True

    def receive(self, decode: Decode[M]) -> M | None:
        """Wait for a message; None: there will be no more."""
        try:
            return decode(self._bodies.pop(0)) if self._bodies or self._wait() else None
        except msgspec.DecodeError:  # code of the user's has written into it
            return None

    def receive_all(self, decode: Decode[M]) -> list[M]:
        """Wait for a message; return all that have come. None at all: there will be no more."""
        try:
            if not self._bodies:
                self._wait()
            bodies, self._bodies = self._bodies, []
            return list(map(decode, bodies))
        except msgspec.DecodeError:
            return []

    def _wait(self) -> bool:
        """Wait until a message has come; False: there will be no more."""
        while not self._bodies:
            try:
                data = self.socket.recv(PIECE)
            except OSError:
                return False
            if not data:
                return False
            self._bodies += self._frames.feed(data)
        return True

    def close(self) -> None:
        """Nothing more is sent or received; who waits for a message gets None. Idempotent."""
        with contextlib.suppress(OSError):  # the other end has gone before
            self.socket.shutdown(socket.SHUT_RDWR)  # close(2) wakes nobody
        self.socket.close()


class QueuedChannel:
    """One end of a connection for who waits for many at once, and never for one of them. Used by
    one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.silent = False
        """Whether nothing will come any more: the other end is closed."""
        self._frames = Frames()
        self._out = bytearray()

    def send(self, message: object) -> None:
        """Send a message as soon as the socket takes it."""
        self._out += framed(message)
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes of what is left."""
        try:
            while self._out:
                del self._out[: self.socket.send(self._out)]
        except BlockingIOError:
            pass  # the rest goes when the selector says so
        except OSError:
            self.silent = True

    @property
    def clogged(self) -> bool:
        """Whether there is something left to send."""
        return bool(self._out) and not self.silent

    def receive_all(self, decode: Decode[M]) -> list[M]:
        """Return the messages that have come."""
        messages: list[M] = []
        for _ in range(MOST_PIECES):
            if self.silent:
                break
            try:
                data = self.socket.recv(PIECE)
                messages += map(decode, self._frames.feed(data))
            except BlockingIOError:
                break
            except (OSError, msgspec.DecodeError):  # the latter: code of the user's has written
                data = b""
            if not data:
                self.silent = True
        return messages

    def close(self) -> None:
        """Nothing more is sent or received."""
        self.socket.close()
