"""One queue by name: publishing to it and looking into it, without any function. What a broker cannot do (delay) is done here with
the store, once for all brokers; what cannot be done at all raises `Unsupported`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fbcli.broker import Broker, Delivery, Outgoing, Settlement, Size, dead_queue
from fbcli.clock import SYSTEM, Clock
from fbcli.errors import BadMessage, Unsupported
from fbcli.message import decode, new_task_id, replace_extra
from fbcli.stores.base import Parked, Store

LEASE = 30.0
"""Seconds that messages taken out by hand (replay, edit) stay owned without a heartbeat."""

BATCH = 500


class Waiting:
    """A delayed message, wherever it waits."""

    __slots__ = ("body", "due", "handle")

    def __init__(self, due: float, body: bytes, handle: Any) -> None:
        self.due = due
        self.body = body
        self.handle = handle

    @property
    def task_id(self) -> str:
        return task_id_of(self.body)


class Queue:
    """A named line of messages on one broker."""

    def __init__(self, name: str, broker: Broker, open_store: Callable[[], Store], clock: Clock = SYSTEM) -> None:
        self.name = name
        self.broker = broker
        self._open_store = open_store
        self._clock = clock
        self._delays = broker.capabilities.delay
        self._scheme = broker.url.partition("://")[0]

    @property
    def dead(self) -> Queue:
        """The queue of its dead letters."""
        return Queue(dead_queue(self.name), self.broker, self._open_store, self._clock)

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish a batch; returns once broker (or, for delayed ones where the broker cannot, the store) has confirmed all."""
        if not self._delays:
            later = [message for message in messages if message.not_before is not None]
            if later:
                self._park(later)
                messages = [message for message in messages if message.not_before is None]
        if messages:
            self.broker.publish(self.name, messages)

    def _park(self, messages: Sequence[Outgoing]) -> None:
        self._open_store().park(
            [
                Parked(new_task_id(), self.name, self._scheme, message.not_before or 0.0, message.body, message.priority)
                for message in messages
            ]
        )

    def size(self) -> Size | None:
        """Count what it holds; None: the broker cannot tell."""
        size = self.broker.size(self.name)
        if size is not None and not self._delays:
            size.delayed = self._open_store().parked_count(self.name, self._scheme)
        return size

    def clear(self) -> int:
        """Remove all that is ready or delayed; return how many."""
        self._need("purge", "clear a queue")
        removed = self.broker.purge(self.name)
        if not self._delays:
            store = self._open_store()
            while parked := store.parked(self.name, self._scheme, BATCH):
                removed += store.unpark(self.name, self._scheme, [message.parked_id for message in parked])
        return removed

    def peek(self, n: int) -> list[bytes]:
        """Return the next `n` ready bodies, taking none."""
        self._need("peek", "show messages without taking them")
        return self.broker.peek(self.name, n)

    def delayed(self, n: int) -> list[Waiting]:
        """Return up to `n` delayed messages, soonest first."""
        if self._delays:
            return [Waiting(message.due, message.body, message.handle) for message in self.broker.delayed(self.name, n)]
        parked = self._open_store().parked(self.name, self._scheme, n)
        return [Waiting(message.due, message.body, message.parked_id) for message in parked]

    def cancel_delayed(self, waiting: Sequence[Waiting]) -> int:
        """Remove delayed messages; return how many were still waiting."""
        handles = [message.handle for message in waiting]
        if self._delays:
            return self.broker.undelay(self.name, handles)
        return self._open_store().unpark(self.name, self._scheme, handles)

    def take(self, wanted: Callable[[bytes], bool], handle: Callable[[list[Delivery]], None], limit: int) -> int:
        """Take the ready messages that are `wanted`, up to `limit`, and acknowledge each batch after `handle` has returned.

        The others go back to where they were. With a broker that cannot acknowledge, what is taken when the process dies is lost.
        Returns how many were taken.
        """
        inbox = self.broker.open(self.name, consumer_id=f"fb-take-{new_task_id()}", prefetch=BATCH, lease=LEASE)
        taken = 0
        passed: list[Delivery] = []
        try:
            while taken < limit and (batch := inbox.fetch(BATCH, 0.0)):
                inbox.keep_alive()
                chosen: list[Delivery] = []
                for delivery in batch:
                    (chosen if len(chosen) + taken < limit and wanted(delivery.body) else passed).append(delivery)
                if chosen:
                    handle(chosen)
                    inbox.settle([Settlement(delivery) for delivery in chosen])
                    taken += len(chosen)
            return taken
        finally:
            if not self.broker.capabilities.ack and passed:
                self.broker.publish(self.name, [Outgoing(delivery.body, delivery.priority) for delivery in passed])
            inbox.close()

    def _need(self, capability: str, what: str) -> None:
        if not getattr(self.broker.capabilities, capability):
            raise Unsupported(f"{self._scheme}:// cannot {what}. `fb brokers` shows what each broker can.")


def task_id_of(body: bytes) -> str:
    """Return the task id in a body, or an empty text."""
    try:
        return str(decode(body)[1].get("task_id", ""))
    except BadMessage:
        return ""


def replay(queue: Queue, wanted: Callable[[bytes], bool], limit: int) -> Iterator[int]:
    """Move dead letters back to `queue`, as good as new. Yields the running total after each batch."""
    total = 0
    while total < limit:
        moved = queue.dead.take(wanted, lambda chosen: queue.publish([Outgoing(revived(d.body)) for d in chosen]), min(limit - total, BATCH))
        total += moved
        yield total
        if moved == 0:
            return


def revived(body: bytes) -> bytes:
    """Return a dead letter's body without its obituary and past attempts. A message that never was one goes back as it came."""
    arguments, extra = decode(body)
    if set(arguments) == {"raw"} and "dead" in extra and "task_id" not in extra:
        return str(arguments["raw"]).encode()
    return replace_extra(body, {"dead": None, "attempts": None, "delay_until": None})
