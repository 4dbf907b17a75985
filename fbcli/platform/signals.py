"""Signals as bytes at a socket, so that a main loop acts on them. The same on every system."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def arriving(numbers: Iterable[int]) -> Iterator[socket.socket]:
    """Have each of these signals arrive as a byte, its number, at the socket that this context
    gives; undone at its end. Used in the main thread.

    Note: a signal may arrive anywhere, also while the main thread holds a lock of logging or of a
    channel. So the handlers do nothing, and the interpreter writes the number of each into the
    socket (`signal.set_wakeup_fd`; on Windows, too, it takes a socket).
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    with reader, writer:
        handlers = {number: signal.signal(number, _nothing) for number in numbers}
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in handlers.items():
                signal.signal(number, handler)


def how_ended(exit_code: int) -> str:
    """Return what an exit code of `subprocess` says, fit to stand behind "the process"."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f"was killed by {name}"


def _nothing(number: int, frame: Any) -> None:
    """The byte in the socket says it all."""
