"""One queue by name: publishing to it and looking into it, without any function. What the broker
cannot do raises `Unsupported`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from fbcli.broker import EVERYTHING, Broker, Delivery, Outgoing, Settlement, Size, dead_queue
from fbcli.clock import SYSTEM, Clock
from fbcli.errors import PartlyDone, TaskNotFound, did_you_mean
from fbcli.message import new_task_id
from fbcli.queues.envelope import Envelope
from fbcli.stores.base import Store

LEASE = 5.0
"""Seconds that messages taken out by hand (replay, edit) stay owned: when `fb` is killed meanwhile,
they come back then."""

BATCH = 500


class Waiting(msgspec.Struct):
    """A delayed message, wherever it waits."""

    due: float
    """Unix time."""
    body: bytes
    handle: Any

    @property
    def task_id(self) -> str:
        return Envelope(self.body).task_id


class Done(msgspec.Struct):
    """What came of something that was asked for some tasks."""

    count: int
    """Messages for which it was done."""
    missing: tuple[str, ...] = ()
    """Tasks that were not there."""

    @classmethod
    def of(cls, count: int, asked: Collection[str], found: Container[str]) -> Done:
        return cls(count, tuple(task_id for task_id in asked if task_id not in found))

    def check(self) -> None:
        """Raise `PartlyDone` when it was not done for all."""
        if self.missing:
            raise PartlyDone(
                f"Done for {self.count:,}, but there is no such message of"
                f" {', '.join(self.missing)}."
            )


def missing(asked: Collection[str], known: Iterable[str], where: str, command: str) -> TaskNotFound:
    """Return the error of tasks of which there is no message."""
    first = next(iter(asked))
    others = f" nor of {len(asked) - 1} others" if len(asked) > 1 else ""
    return TaskNotFound(
        f"{where} of task {first!r}{others}.{did_you_mean(first, known)} `{command}` lists them."
    )


class Queue:
    """A named line of messages on one broker."""

    def __init__(
        self, name: str, broker: Broker, open_store: Callable[[], Store], clock: Clock = SYSTEM
    ) -> None:
        self.name = name
        self.broker = broker
        self.open_store = open_store
        self.clock = clock

    @property
    def dead(self) -> Queue:
        """The queue of its dead letters."""
        return Queue(dead_queue(self.name), self.broker, self.open_store, self.clock)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish a batch; returns once the broker has confirmed all."""
        self.broker.publish(self.name, messages)

    def repeatable(self, message: Outgoing) -> Outgoing:
        """Return a message that is about to be published by itself, by hand: with an id, where
        replies can get lost and the broker remembers ids. It publishes it again then, and adds it
        once. (For what a program publishes by the thousand, remembering would cost too much.)"""
        can = self.broker.capabilities
        if can.idempotent and can.reach == "network" and message.id is None:
            message.id = new_task_id()
        return message

    def size(self) -> Size | None:
        """Count what it holds; None: the broker cannot tell."""
        return self.broker.size(self.name) if self.broker.capabilities.size else None

    def known_size(self) -> Size:
        """Count what it holds. Raises `Unsupported` when the broker cannot tell."""
        size = self.size()
        if size is None:
            raise self.broker.cannot("count messages")
        return size

    def clear(self) -> int:
        """Remove all that is ready or delayed; return how many. What was pushed as unique may be
        pushed again."""
        from fbcli.stores.keys import PUSHER, unique_space  # noqa: PLC0415  hashlib: 3 ms

        removed = self.broker.purge(self.name)
        self.open_store().drop_claims([unique_space(self.name)], PUSHER)
        return removed

    def peek(self, n: int) -> list[Envelope]:
        """Return the next `n` ready messages, taking none."""
        return [Envelope(body) for body in self.broker.peek(self.name, n)]

    def browse(self) -> Iterator[Envelope]:
        """Yield all ready messages, taking none; only some of them are in memory at a time."""
        for bodies in self.broker.browse(self.name):
            yield from map(Envelope, bodies)

    def delayed(self, n: int) -> list[Waiting]:
        """Return up to `n` delayed messages, soonest first."""
        return [
            Waiting(message.due, message.body, message.handle)
            for message in self.broker.delayed(self.name, n)
        ]

    def count_delayed(self) -> int:
        """Count what waits for its time."""
        size = self.size()
        return len(self.delayed(EVERYTHING)) if size is None else size.delayed or 0

    def find_delayed(self, task_ids: Collection[str]) -> list[Waiting]:
        """Return the delayed messages of these tasks. Raises `TaskNotFound` when there are none."""
        waiting = self.delayed(EVERYTHING)
        found = [message for message in waiting if message.task_id in task_ids]
        if not found:
            known = [message.task_id for message in waiting]
            raise missing(
                task_ids, known, f"{self.name} has no delayed message", f"fb delayed ls {self.name}"
            )
        return found

    def cancel_delayed(self, task_ids: Collection[str] | None = None) -> Done:
        """Remove the delayed messages of these tasks, or (None) all."""
        if task_ids is not None:
            found = self.find_delayed(task_ids)
            return Done.of(self._cancel(found), task_ids, {message.task_id for message in found})
        cancelled = 0
        while removed := self._cancel(self.delayed(BATCH)):
            cancelled += removed
        return Done(cancelled)

    def _cancel(self, waiting: Sequence[Waiting]) -> int:
        handles = [message.handle for message in waiting]
        return self.broker.undelay(self.name, handles) if handles else 0

    def take(
        self,
        wanted: Callable[[bytes], bool],
        handle: Callable[[list[Delivery]], None],
        limit: int = EVERYTHING,
    ) -> int:
        """Take the ready messages that are `wanted`, up to `limit`, and acknowledge each batch
        after `handle` has returned.

        The others go back to where they were. Killed in the middle, what was taken and not
        acknowledged is back in the queue when the lease has run out; but where the broker cannot
        acknowledge, it is lost. Returns how many were taken.
        """
        inbox = self.broker.open(
            self.name, consumer_id=f"fb-take-{new_task_id()}", prefetch=BATCH, lease=LEASE
        )
        taken = 0
        chosen: list[Delivery] = []
        passed: list[Delivery] = []
        try:
            inbox.keep_alive()
            while taken < limit and (batch := inbox.fetch(BATCH, 0.0)):
                inbox.keep_alive()
                chosen = list(
                    islice((delivery for delivery in batch if wanted(delivery.body)), limit - taken)
                )
                if not self.broker.capabilities.ack:
                    handles = {id(delivery) for delivery in chosen}
                    passed += [delivery for delivery in batch if id(delivery) not in handles]
                if chosen:
                    handle(chosen)
                    inbox.settle([Settlement(delivery) for delivery in chosen])
                    taken += len(chosen)
                    chosen = []
            return taken
        finally:
            if passed or (chosen and not self.broker.capabilities.ack):
                back = [Outgoing(delivery.body, delivery.priority) for delivery in chosen + passed]
                self.broker.publish(self.name, back)
            inbox.close()

    def reclaim(self) -> None:
        """Give back what a command that was killed had taken, if its lease has run out. On a queue
        without consumers nobody else does that."""
        inbox = self.broker.open(
            self.name, consumer_id=f"fb-reclaim-{new_task_id()}", prefetch=1, lease=LEASE
        )
        try:
            inbox.keep_alive()
        finally:
            inbox.close()

    def require(self, capability: str, what: str) -> None:
        """Raise `Unsupported` when the broker lacks a capability, which is needed to do `what`."""
        if not getattr(self.broker.capabilities, capability):
            raise self.broker.cannot(what)
