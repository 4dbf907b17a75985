"""What travels between a pool and its child processes: messages by their channel, and tickets.

Knows nothing of tasks or functions: what is asked for and what comes back is JSON that others make
and read.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from fbcli.platform.interface import MOST_BYTES, RecordPipe

_TICKET = struct.Struct("=Q")

MOST_TICKETS = MOST_BYTES // _TICKET.size
"""Tickets written at once."""


class Order(msgspec.Struct, omit_defaults=True):
    """From the pool to a child."""

    calls: list[tuple[int, msgspec.Raw]] = []
    """Their numbers, and what to call. Each is made once the child has its ticket."""
    forget: list[int] = []
    """Calls that the pool has taken back."""
    interrupt: tuple[int, str] | None = None
    """A call, and the `module:name` of the exception to raise in it."""
    slots: int | None = None
    """How many calls may run at once."""


class End(msgspec.Struct, array_like=True):
    """How a call ended."""

    number: int
    seconds: float
    """How long it ran."""
    outcome: msgspec.Raw = msgspec.Raw(b"null")
    """What it returned, where somebody wants to know; or what it raised, as whoever made the
    request describes errors."""
    failed: bool = False
    interrupted: bool = False
    """Whether the error is the one it was interrupted with."""


class Refusal(msgspec.Struct):
    """Why a child cannot work at all."""

    kind: str
    """The name of an error of `fbcli.errors`."""
    text: str


class Answer(msgspec.Struct, omit_defaults=True):
    """From a child to its pool: one of these."""

    end: End | None = None
    ready: bool = False
    """It has loaded what it needs, and takes calls."""
    refusal: Refusal | None = None
    full: int = 0
    """It holds so many bytes, which is too much: it takes no more calls and wants to be replaced.
    """
    say: dict[str, Any] | None = None
    """What the pool passes on as it is."""


# Tickets. A ticket is the right to make one call: its number, in a pipe whose reading end both
# sides have, and which never blocks. Whoever reads it owns the call: the child, to make it, or the
# pool, to take it back. So it is certain at any moment, whatever the child is busy with or has died
# of, which calls have begun.


def write_tickets(pipe: RecordPipe, numbers: Sequence[int]) -> int:
    """Hand over the right to make these calls, in this order; return how many fit into the pipe:
    all or none. At most `MOST_TICKETS`."""
    return len(numbers) if pipe.write(array("Q", numbers).tobytes()) else 0


def read_ticket(pipe: RecordPipe) -> int | None:
    """Take one; None: there will be no more. Raises `BlockingIOError` while there is none."""
    ticket = pipe.read(_TICKET.size)
    return _TICKET.unpack(ticket)[0] if ticket else None


def count_tickets(pipe: RecordPipe) -> int:
    """Count those that are there."""
    return pipe.unread() // _TICKET.size


def drain_tickets(pipe: RecordPipe) -> list[int]:
    """Take all that are there."""
    numbers: list[int] = []
    while True:
        try:
            tickets = pipe.read(MOST_TICKETS * _TICKET.size)
        except BlockingIOError:
            return numbers
        if not tickets:
            return numbers
        numbers += [number for (number,) in _TICKET.iter_unpack(tickets)]
