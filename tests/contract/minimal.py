"""A broker that can do next to nothing: publish, fetch, acknowledge. It refuses whatever else it is
asked for, so what works on it is made up for above it.

Its queues live in this process, as long as that does. Each group (`minimal://name?group=…`) reads
all of a queue. What a consumer held comes back when its connection breaks; that a message is not
delivered for the first time is marked, and not counted.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from urllib.parse import parse_qs, urlsplit

from fbcli.broker import (
    DEFAULT_GROUP,
    Action,
    Broker,
    Capabilities,
    Delivery,
    Inbox,
    Outgoing,
    Settlement,
)


@dataclass
class Line:
    """One queue as one group sees it."""

    ready: deque[tuple[int, bool]] = field(default_factory=deque)
    """Places in the log, and whether each was delivered before."""


class World:
    """What the brokers of one name share."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.logs: defaultdict[str, list[bytes]] = defaultdict(list)
        self.lines: dict[tuple[str, str], Line] = {}

    def line(self, queue: str, group: str) -> Line:
        if (queue, group) not in self.lines:
            places = range(len(self.logs[queue]))
            self.lines[queue, group] = Line(deque((place, False) for place in places))
        return self.lines[queue, group]

    def publish(self, queue: str, bodies: Sequence[bytes]) -> None:
        log = self.logs[queue]
        for (name, _), line in self.lines.items():
            if name == queue:
                line.ready.extend((len(log) + i, False) for i in range(len(bodies)))
        log.extend(bodies)
        self.changed.notify_all()


_worlds: defaultdict[str, World] = defaultdict(World)


class MinimalBroker(Broker):
    """`minimal://name[?group=…]`."""

    capabilities = Capabilities(
        confirm=True,
        ack=True,
        durable=False,
        fencing=True,
        lease="connection",
        reach="process",
        delay_publish=0,
        delay_release=0,
        delay_view=False,
        release="none",
        priority=False,
        rewrite=False,
        delivery_count="none",
        idempotent=False,
        key=False,
        headers=False,
        max_bytes=4_000_000,
        max_hold=math.inf,
        group=True,
        peek=False,
        purge=False,
        size=False,
        queues=False,
        ordered=True,
        broadcast=False,
    )
    summary = "publish, fetch, acknowledge"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(url)
        self.world = _worlds[parts.netloc]
        self.group = parse_qs(parts.query).get("group", [DEFAULT_GROUP])[0]

    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        for message in messages:
            assert not message.priority
            assert message.not_before is None or message.not_before <= time()
            assert message.id is message.key is message.headers is None
        with self.world.changed:
            self.world.publish(queue, [message.body for message in messages])

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        return MinimalInbox(self, queue)

    def close(self) -> None:
        """Nothing is open."""


class MinimalInbox(Inbox):
    """A handle is the connection, by its number, and the place in the log."""

    def __init__(self, broker: MinimalBroker, queue: str) -> None:
        self._world, self._queue = broker.world, queue
        with self._world.changed:
            self._line = self._world.line(queue, broker.group)
        self._connection = 0
        self._held: dict[int, None] = {}
        self._settled: set[tuple[int, int]] = set()
        self._woken = False
        self._closed = False

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        end = monotonic() + wait
        with self._world.changed:
            while not self._closed:
                found = [self._take() for _ in range(min(limit, len(self._line.ready)))]
                left = end - monotonic()
                if found or self._woken or left <= 0:
                    self._woken = False
                    return found
                self._world.changed.wait(left)
        return []

    def _take(self) -> Delivery:
        place, again = self._line.ready.popleft()
        self._held[place] = None
        body = self._world.logs[self._queue][place]
        return Delivery(body, (self._connection, place), 2 if again else 1, identity=str(place))

    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        assert also is None
        late = []
        with self._world.changed:
            for each in settlements:
                assert each.action is Action.ACK, "all that it can do"
                assert each.body is None
                connection, place = each.delivery.handle
                if connection == self._connection and place in self._held and not self._closed:
                    del self._held[place]
                    self._settled.add((connection, place))
                elif (connection, place) not in self._settled:
                    late.append(each)
        return late

    def late(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        with self._world.changed:
            return [
                each
                for each in deliveries
                if each.handle not in self._settled
                and (each.handle[0] != self._connection or self._closed)
            ]

    def wake(self) -> None:
        with self._world.changed:
            self._woken = True
            self._world.changed.notify_all()

    def keep_alive(self) -> int:
        """Its connection does that."""
        return 0

    def sever(self) -> None:
        """Break its connection; the next fetch makes another."""
        with self._world.changed:
            self._line.ready.extendleft((place, True) for place in sorted(self._held, reverse=True))
            self._held.clear()
            self._connection += 1
            self._world.changed.notify_all()

    def close(self) -> None:
        self.sever()
        self._closed = True
