"""Queues inside one process: for tests, and for a pipeline that may die with its process. The
plainest form of the contract."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from fbcli.broker import (
    ID_SECONDS,
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

from .waiting import Waker


@dataclass(eq=False)
class _Message:
    number: int
    """The order of arrival. A message that comes back keeps it, and so is ahead of all that came
    later."""
    body: bytes
    priority: int
    due: float | None = None
    key: str | None = None
    headers: Mapping[str, str] | None = None
    lost: int = 0


@dataclass(eq=False)
class _Handle:
    """The handle of a delivery: a message in somebody's hands."""

    message: _Message
    settled: bool = False
    """Settling it once more changes nothing, whoever holds the message by then."""


@dataclass
class _MemoryQueue:
    """One queue: what is ready, what waits for its time, and who is to be told. Used holding the
    broker's lock."""

    ready: list[tuple[int, int, _Message]] = field(default_factory=list)
    """A heap by priority, then arrival."""
    waiting: dict[int, _Message] = field(default_factory=dict)
    """By arrival."""
    dues: list[tuple[float, int]] = field(default_factory=list)
    """A heap of when each is due, and its number; also of some that wait no more."""
    inboxes: list[MemoryInbox] = field(default_factory=list)
    ids: dict[str, float] = field(default_factory=dict)
    """Those of messages that have arrived, each with the time until when it is remembered, the
    oldest first."""

    def is_known(self, name: str, now: float) -> bool:
        """Return whether a message with this id has arrived before, and remember it."""
        while self.ids:
            oldest = next(iter(self.ids))
            if self.ids[oldest] > now:
                break
            del self.ids[oldest]
        if name in self.ids:
            return True
        self.ids[name] = now + ID_SECONDS
        return False

    def add(self, message: _Message, now: float) -> None:
        if message.due is not None and message.due > now:
            self.waiting[message.number] = message
            heapq.heappush(self.dues, (message.due, message.number))
        else:
            message.due = None
            heapq.heappush(self.ready, (-message.priority, message.number, message))

    def tell(self) -> None:
        for inbox in self.inboxes:
            inbox.waker.notify()

    def ripen(self, now: float) -> float | None:
        """Make ready what is due; return when the next one is."""
        while self.dues:
            due, number = self.dues[0]
            message = self.waiting.get(number)
            if message is not None and message.due == due:
                if due > now:
                    return due
                self.add(self.waiting.pop(number), now)
            heapq.heappop(self.dues)
        return None


class MemoryBroker(Broker):
    """`memory://`, or `memory://name` for another one. The same URL in one process is the same
    broker (`Settings.open_broker`)."""

    also = "call"
    capabilities = Capabilities(
        confirm=True,
        ack=True,
        durable=False,
        fencing=True,
        lease="beat",
        reach="process",
        delay_publish=math.inf,
        delay_release=math.inf,
        delay_view=True,
        release="both",
        priority=True,
        rewrite=True,
        delivery_count="lost",
        idempotent=True,
        key=True,
        headers=True,
        max_bytes=None,
        max_hold=math.inf,
        group=False,
        peek=True,
        purge=True,
        size=True,
        queues=True,
        ordered=True,
        broadcast=False,
    )
    summary = "inside one process: for tests; gone with the process"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.lock = threading.RLock()
        self.lines: defaultdict[str, _MemoryQueue] = defaultdict(_MemoryQueue)
        self._numbers = itertools.count(1)

    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        now = time.time()
        with self.lock:
            line = self.lines[queue]
            for message in messages:
                if message.id is not None and line.is_known(message.id, now):
                    continue
                arrived = _Message(
                    next(self._numbers),
                    message.body,
                    message.priority,
                    message.not_before,
                    message.key,
                    message.headers,
                )
                line.add(arrived, now)
            line.tell()

    def next_number(self) -> int:
        """Return the place of a message that arrives now."""
        return next(self._numbers)

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        with self.lock:
            inbox = MemoryInbox(self, queue, lease)
            self.lines[queue].inboxes.append(inbox)
            inbox.keep_alive()
            return inbox

    def size(self, queue: str) -> Size:
        with self.lock:
            line = self._look(queue)
            return Size(
                len(line.ready), sum(len(inbox.held) for inbox in line.inboxes), len(line.waiting)
            )

    def purge(self, queue: str) -> int:
        with self.lock:
            line = self._look(queue)
            removed = len(line.ready) + len(line.waiting)
            line.ready.clear()
            line.waiting.clear()
            line.dues.clear()
            return removed

    def peek(self, queue: str, n: int) -> list[bytes]:
        with self.lock:
            return [message.body for *_, message in heapq.nsmallest(n, self._look(queue).ready)]

    def queues(self) -> list[str]:
        with self.lock:
            held = {
                name
                for name, line in self.lines.items()
                if any(inbox.held for inbox in line.inboxes)
            }
            return sorted(
                held | {name for name, line in self.lines.items() if line.ready or line.waiting}
            )

    def delayed(self, queue: str, n: int) -> list[Delayed]:
        with self.lock:
            waiting = self._look(queue).waiting.values()
            soonest = heapq.nsmallest(n, waiting, key=lambda message: (message.due, message.number))
            return [
                Delayed(message.due or 0.0, message.body, message.number) for message in soonest
            ]

    def undelay(self, queue: str, handles: Sequence[Any]) -> int:
        with self.lock:
            waiting = self._look(queue).waiting
            return sum(waiting.pop(handle, None) is not None for handle in handles)

    def close(self) -> None:
        """Nothing is open."""

    def _look(self, queue: str) -> _MemoryQueue:
        """Return the queue with what is due made ready; an empty one, known to nobody, when there
        is none."""
        line = self.lines.get(queue) or _MemoryQueue()
        line.ripen(time.time())
        return line


class MemoryInbox(Inbox):
    """What is not in `held` any more belongs to somebody else."""

    def __init__(self, broker: MemoryBroker, queue: str, lease: float) -> None:
        self._broker = broker
        self._queue = queue
        self._lease = lease
        self._closed = False
        self.last_beat = time.monotonic()
        self.lapsed = False
        """The lease was lost; the next fetch or heartbeat begins another."""
        self.waker = Waker()
        self.held: dict[int, _Handle] = {}

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        deadline = time.monotonic() + wait
        while True:
            with self._broker.lock:
                if self._closed:
                    return []
                line = self._broker.lines[self._queue]
                next_due = line.ripen(time.time())
                if self.lapsed and limit:
                    self.lapsed, self.last_beat = False, time.monotonic()
                batch = [
                    self._hold(heapq.heappop(line.ready)[2])
                    for _ in range(min(limit, len(line.ready)))
                ]
            left = deadline - time.monotonic()
            if batch or self.waker.was_woken() or left <= 0:
                return batch
            self.waker.wait(
                left if next_due is None else min(left, max(0.0005, next_due - time.time()))
            )

    def _hold(self, message: _Message) -> Delivery:
        claim = self.held[message.number] = _Handle(message)
        return Delivery(
            message.body,
            claim,
            message.lost + 1,
            message.priority,
            key=message.key,
            headers=message.headers,
        )

    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        """`also`: what is to be called."""
        with self._broker.lock:
            if also is not None:
                cast("Callable[[], None]", also)()
            return [settlement for settlement in settlements if not self._settle(settlement)]

    def late(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        with self._broker.lock:
            return [delivery for delivery in deliveries if self._is_lost(delivery.handle)]

    def _is_lost(self, claim: _Handle) -> bool:
        return not claim.settled and self.held.get(claim.message.number) is not claim

    def _settle(self, settlement: Settlement) -> bool:
        """Return False when it comes too late."""
        claim: _Handle = settlement.delivery.handle
        if claim.settled:
            return True
        message = claim.message
        if self._is_lost(claim):
            return False
        del self.held[message.number]
        claim.settled = True
        if settlement.action == Action.ACK:
            return True
        if settlement.body is not None:
            message.body = settlement.body
        if settlement.action == Action.RELEASE:
            now = time.time()
            message.due = now + settlement.delay if settlement.delay > 0 else None
            if settlement.back:
                message.number = self._broker.next_number()
            line = self._broker.lines[self._queue]
            line.add(message, now)
            line.tell()
        else:
            self._broker.publish(
                dead_queue(self._queue),
                [
                    Outgoing(
                        message.body, message.priority, key=message.key, headers=message.headers
                    )
                ],
            )
        return True

    def wake(self) -> None:
        self.waker.wake()

    def keep_alive(self) -> int:
        with self._broker.lock:
            self.lapsed, self.last_beat = False, (now := time.monotonic())
            dead = [
                inbox
                for inbox in self._broker.lines[self._queue].inboxes
                if inbox.last_beat + inbox._lease < now
            ]
            for inbox in dead:
                inbox.lapsed = True
            return sum(inbox.give_back(lost=1) for inbox in dead)

    def give_back(self, lost: int) -> int:
        """Make ready all that is held. Holding the broker's lock."""
        line, claims, now = self._broker.lines[self._queue], list(self.held.values()), time.time()
        self.held.clear()
        for claim in claims:
            claim.message.lost += lost
            line.add(claim.message, now)
        if claims:
            line.tell()
        return len(claims)

    def close(self) -> None:
        with self._broker.lock:
            if self._closed:
                return
            self._closed = True
            self.give_back(lost=0)
            self._broker.lines[self._queue].inboxes.remove(self)
