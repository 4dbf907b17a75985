"""Queues inside one process: for tests, and for a pipeline that may die with its process. The plainest form of the contract."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fbcli.broker import (
    Action,
    Broker,
    Capabilities,
    Delayed,
    Delivery,
    Inbox,
    Outgoing,
    Settlement,
    Size,
    dead_queue,
)

from .waiting import Alarm


@dataclass
class _Message:
    number: int
    body: bytes
    priority: int
    due: float | None = None
    lost: int = 0

    @property
    def order(self) -> tuple[int, int]:
        return -self.priority, self.number


@dataclass
class _Line:
    """One queue: a heap of what is ready, what waits by its number, who holds what, and who is to be told."""

    ready: list[tuple[tuple[int, int], _Message]] = field(default_factory=list)
    waiting: dict[int, _Message] = field(default_factory=dict)
    inboxes: list[MemoryInbox] = field(default_factory=list)

    def add(self, message: _Message, now: float) -> None:
        if message.due is not None and message.due > now:
            self.waiting[message.number] = message
        else:
            message.due = None
            heapq.heappush(self.ready, (message.order, message))
        for inbox in self.inboxes:
            inbox.alarm.tell()

    def ripen(self, now: float) -> float | None:
        """Make ready what is due; return when the next one is."""
        for message in sorted(self.waiting.values(), key=lambda message: message.due or 0.0):
            if message.due is not None and message.due > now:
                return message.due
            del self.waiting[message.number]
            self.add(message, now)
        return None


class MemoryBroker(Broker):
    """`memory://`, or `memory://name` for another one. The same URL in one process is the same broker (`Settings.open_broker`)."""

    capabilities = Capabilities(
        durable=False,
        reach="process",
        delay=True,
        priority=True,
        rewrite=True,
        delivery_count=True,
        peek=True,
        purge=True,
        size=True,
        queues=True,
    )
    summary = "inside one process: for tests; gone with the process"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.lock = threading.RLock()
        self.lines: defaultdict[str, _Line] = defaultdict(_Line)
        self._numbers = itertools.count(1)

    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        now = time.time()
        with self.lock:
            for message in messages:
                made = _Message(next(self._numbers), message.body, message.priority, message.not_before)
                self.lines[queue].add(made, now)

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        with self.lock:
            inbox = MemoryInbox(self, queue, lease)
            self.lines[queue].inboxes.append(inbox)
        inbox.keep_alive()
        return inbox

    def size(self, queue: str) -> Size | None:
        with self.lock:
            line = self.lines[queue]
            line.ripen(time.time())
            return Size(len(line.ready), sum(len(inbox.held) for inbox in line.inboxes), len(line.waiting))

    def purge(self, queue: str) -> int:
        with self.lock:
            line = self.lines[queue]
            removed = len(line.ready) + len(line.waiting)
            line.ready.clear()
            line.waiting.clear()
            return removed

    def peek(self, queue: str, n: int) -> list[bytes]:
        with self.lock:
            line = self.lines[queue]
            line.ripen(time.time())
            return [message.body for _, message in heapq.nsmallest(n, line.ready)]

    def queues(self) -> list[str]:
        with self.lock:
            held = {name for name, line in self.lines.items() if any(inbox.held for inbox in line.inboxes)}
            return sorted(held | {name for name, line in self.lines.items() if line.ready or line.waiting})

    def delayed(self, queue: str, n: int) -> list[Delayed]:
        with self.lock:
            self.lines[queue].ripen(time.time())
            soonest = sorted(self.lines[queue].waiting.values(), key=lambda message: (message.due, message.number))
            return [Delayed(message.due or 0.0, message.body, message.number) for message in soonest[:n]]

    def undelay(self, queue: str, handles: Sequence[Any]) -> int:
        with self.lock:
            waiting = self.lines[queue].waiting
            return sum(waiting.pop(handle, None) is not None for handle in handles)

    def close(self) -> None:
        """Nothing is open."""


class MemoryInbox(Inbox):
    """A handle is the message itself; what is not in `held` any more belongs to somebody else."""

    def __init__(self, broker: MemoryBroker, queue: str, lease: float) -> None:
        self._broker = broker
        self._queue = queue
        self._lease = lease
        self._beat = time.monotonic()
        self.alarm = Alarm()
        self.held: dict[int, Delivery] = {}

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        deadline = time.monotonic() + wait
        while True:
            with self._broker.lock:
                line = self._broker.lines[self._queue]
                next_due = line.ripen(time.time())
                batch = [self._hold(heapq.heappop(line.ready)[1]) for _ in range(min(limit, len(line.ready)))]
            left = deadline - time.monotonic()
            if batch or self.alarm.was_woken() or left <= 0:
                return batch
            self.alarm.wait(left if next_due is None else min(left, max(0.0005, next_due - time.time())))

    def _hold(self, message: _Message) -> Delivery:
        delivery = Delivery(message.body, message, message.lost + 1, message.priority)
        self.held[message.number] = delivery
        return delivery

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        with self._broker.lock:
            return [settlement for settlement in settlements if not self._settle(settlement)]

    def _settle(self, settlement: Settlement) -> bool:
        message: _Message = settlement.delivery.handle
        if self.held.get(message.number) is not settlement.delivery:
            return False
        del self.held[message.number]
        if settlement.action == Action.ACK:
            return True
        if settlement.body is not None:
            message.body = settlement.body
        now = time.time()
        if settlement.action == Action.RELEASE:
            message.due = now + settlement.delay if settlement.delay > 0 else None
            self._broker.lines[self._queue].add(message, now)
        else:
            self._broker.publish(dead_queue(self._queue), [Outgoing(message.body, message.priority)])
        return True

    def wake(self) -> None:
        self.alarm.wake()

    def keep_alive(self) -> int:
        now = time.monotonic()
        with self._broker.lock:
            self._beat = now
            line = self._broker.lines[self._queue]
            return sum(inbox.give_back(lost=1) for inbox in line.inboxes if inbox._beat + inbox._lease < now)

    def give_back(self, lost: int) -> int:
        """Make ready all that is held. Holding the broker's lock."""
        count, now = len(self.held), time.time()
        for delivery in self.held.values():
            delivery.handle.lost += lost
            self._broker.lines[self._queue].add(delivery.handle, now)
        self.held.clear()
        return count

    def close(self) -> None:
        with self._broker.lock:
            self.give_back(lost=0)
            inboxes = self._broker.lines[self._queue].inboxes
            if self in inboxes:
                inboxes.remove(self)
