"""One child process as its pool sees it: how it is started, spoken to, listened to, and ended."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Sequence
from typing import Generic

import msgspec

from fbcli.platform import system
from fbcli.platform.signals import how_ended
from fbcli.pools.base import T
from fbcli.pools.children.steps import Call
from fbcli.pools.children.wire import (
    MOST_TICKETS,
    Answer,
    Order,
    count_tickets,
    drain_tickets,
    write_tickets,
)
from fbcli.processes.channel import QueuedChannel

_decode = msgspec.json.Decoder(Answer).decode


class Child(Generic[T]):
    """Used by one thread at a time: whoever holds the pool's lock."""

    def __init__(
        self, command: Sequence[str], folder: str, spec: object, slots: int, now: float
    ) -> None:
        """Start `command`, with a socket as its channel to this process and the token of the pipe
        of tickets as last argument.

        Raises `OSError` when the system has no room for another process.
        """
        self.slots = slots
        """How many calls it makes at once."""
        self.calls: dict[int, Call[T]] = {}
        """What it has been handed and has not answered, in that order: first what runs, then what
        waits for a slot of it."""
        self.sent = 0
        """How many calls it has been handed, those that were taken back not counted."""
        self.ready = False
        self.leaving = False
        """Whether it gets no more calls, and ends when it has made those it has."""
        self.slow = False
        """Whether a call has kept others waiting; it gets none to wait until it has answered."""
        self.deaf = False
        """Whether nobody listens to it any more."""
        self.watched = False
        """Whether the selector tells when more can be sent to it."""
        self.refused = False
        """Whether it has said that it cannot work."""
        self.killed = False
        self.heard_at = now
        """When it last answered, or was handed a call while it had none (monotonic seconds)."""
        self.ending_since = 0.0
        """When it was told to end, or had its last call afterwards."""
        self._next = 0
        ours, theirs = socket.socketpair()
        self.channel = QueuedChannel(ours)
        self._tickets = system.record_pipe()
        with theirs:
            try:
                self.process = system.start_child(
                    command, theirs, pipe=self._tickets, folder=folder
                )
            except OSError:
                self.close()
                raise
        self.channel.send(spec)

    # speaking

    def send(self, order: Order) -> None:
        """Send it as soon as the channel takes it."""
        self.channel.send(order)

    def hand_over(self, calls: Sequence[tuple[Call[T], bytes]], now: float) -> int:
        """Have it make these calls, each with its request; return how many it has taken."""
        numbers = range(self._next, self._next + min(len(calls), MOST_TICKETS))
        taken = write_tickets(self._tickets, numbers)
        if not taken:
            return 0
        if not self.calls:
            self.heard_at = now
        requests = []
        for number, (call, request) in zip(numbers[:taken], calls, strict=False):
            call.began = now
            self.calls[number] = call
            requests.append((number, msgspec.Raw(request)))
        self._next += taken
        self.sent += taken
        self.send(Order(calls=requests))
        return taken

    def recall(self) -> list[Call[T]]:
        """Take back the calls that it has not begun, in their order. They will not be made by
        it."""
        numbers = drain_tickets(self._tickets)
        if numbers:
            self.sent -= len(numbers)
            self.send(Order(forget=numbers))
        return [self.calls.pop(number) for number in numbers]

    def interrupt(self, call: Call[T]) -> None:
        """Have raised in a call what it is interrupted with; the others that it makes go on."""
        number = next(number for number, each in self.calls.items() if each is call)
        kind = call.interrupted_with
        if kind is not None:
            self.send(Order(interrupt=(number, f"{kind.__module__}:{kind.__qualname__}")))

    # listening

    def hear(self) -> list[Answer]:
        """Return all that it has said."""
        return self.channel.receive_all(_decode)

    @property
    def silent(self) -> bool:
        """Whether it will say nothing any more: it has ended, or is about to."""
        return self.channel.silent

    def running(self) -> list[Call[T]]:
        """Return the calls that it has begun."""
        return list(itertools.islice(self.calls.values(), len(self.calls) - self.unbegun()))

    def unbegun(self) -> int:
        """Count those that it has not begun."""
        return count_tickets(self._tickets) if self.calls else 0

    def taken(self) -> int:
        """Count its slots that are taken, or just about to be."""
        return min(len(self.calls), self.slots)

    def waiting(self) -> int:
        """Count the calls that wait for a slot of it."""
        return max(0, len(self.calls) - self.slots)

    # ending

    def leave(self, now: float) -> None:
        """Let it end in order when it has made the calls it has. Idempotent."""
        if not self.leaving:
            self.leaving = True
            self.ending_since = now
            self._tickets.finish()

    def kill(self) -> None:
        """End it at once, with all that it has started. Idempotent."""
        if not self.killed:
            self.killed = True
            system.kill_group(self.process.pid)

    def fate(self) -> str:
        """Return how it ended; empty while it lives."""
        code = self.process.poll()
        return "" if code is None else how_ended(code)

    def close(self) -> None:
        """Give back what it took of this process. Idempotent."""
        self.channel.close()
        self._tickets.close()
