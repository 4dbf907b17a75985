"""A broker and, above it, what it lacks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from fbcli.broker import DEAD_SUFFIX, Broker, Capabilities, Delayed, Inbox, Outgoing, Size
from fbcli.clock import SYSTEM, Clock
from fbcli.emulation.counts import LossCounts
from fbcli.emulation.inbox import EmulatedInbox
from fbcli.emulation.mover import Mover
from fbcli.errors import BadMessage, PartlyPublished, Unavailable, Unsupported
from fbcli.message import new_task_id
from fbcli.stores.base import Parked, Store

OpenStore = Callable[[str], Store]
"""Returns the store for something that is to be done in it. Raises `Unsupported` where it reaches
less far than the broker."""

ROOM_FOR_DEATH = 64 * 1024
"""Bytes below the largest body that a server takes, kept for what a dead letter says of its death.
"""

LOOK_THROUGH = 1000
"""Of waiting messages that are due and that nobody moves, so many are told from the others."""


class ParkedHandle(str):
    """The handle of a message that waits in the store."""

    __slots__ = ()


class EmulatedBroker(Broker):
    """Note: a key and headers do not survive that a message waits in the store."""

    def __init__(self, inner: Broker, open_store: OpenStore, clock: Clock = SYSTEM) -> None:
        super().__init__(inner.url)
        self.inner = inner
        self.summary, self.library, self.also = inner.summary, inner.library, inner.also
        self._can = can = inner.capabilities
        to_front = can.release in ("front", "both")
        self.capabilities: Capabilities = msgspec.structs.replace(
            can,
            delay_publish=math.inf,
            delay_release=math.inf,
            delay_view=True,
            release="both" if to_front else "back",
            rewrite=True,
            delivery_count="lost" if can.ack else "none",
        )
        self._open_store = open_store
        self._clock = clock
        self._mover = Mover(inner, self.store)

    def store(self) -> Store:
        """Return the store in which delayed messages wait. Raises `Unsupported`."""
        return self._open_store("delay messages")

    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        self._check_size(queue, messages)
        now = self._clock.now()
        parked = [place for place, message in enumerate(messages) if self._waits(message, now)]
        if not parked:
            self.inner.publish(queue, messages)
            return
        self.park(queue, [messages[place] for place in parked])
        rest = sorted(set(range(len(messages))) - set(parked))
        try:
            if rest:
                self.inner.publish(queue, [messages[place] for place in rest])
        except Unavailable as error:
            got_in = error.accepted if isinstance(error, PartlyPublished) else ()
            accepted = sorted([*parked, *(rest[place] for place in got_in)])
            raise PartlyPublished(str(error), accepted) from error

    def _waits(self, message: Outgoing, now: float) -> bool:
        """Whether a message is to wait in the store. One that nobody could list or cancel in the
        server waits there only where no store is."""
        if message.not_before is None or message.not_before <= now:
            return False
        if message.not_before - now > self._can.delay_publish:
            return True
        if self._can.delay_view:
            return False
        try:
            self.store()
        except Unsupported:
            return False
        return True

    def _check_size(self, queue: str, messages: Sequence[Outgoing]) -> None:
        """Raise `BadMessage` for a body that the server would not take, or would not take as a dead
        letter."""
        most = self._can.max_bytes
        if most is None:
            return
        most -= 0 if queue.endswith(DEAD_SUFFIX) else ROOM_FOR_DEATH
        longest = max((len(message.body) for message in messages), default=0)
        if longest > most:
            raise BadMessage(
                f"The message is {longest:,} bytes; {self.scheme}:// takes {most:,}. Put large data"
                " into a file or object store and its path into the message."
            )

    def park(self, queue: str, messages: Sequence[Outgoing]) -> None:
        """Have messages wait in the store until they are due."""
        now, stem = self._clock.now(), new_task_id()
        self.store().park(
            [
                Parked(
                    message.id or f"{stem}-{place:06d}",
                    queue,
                    self.scheme,
                    message.not_before or now,
                    message.body,
                    message.priority,
                )
                for place, message in enumerate(messages)
            ]
        )

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        inbox = self.inner.open(queue, consumer_id=consumer_id, prefetch=prefetch, lease=lease)
        counts = None
        if self._can.ack and self._can.delivery_count != "lost":
            counts = LossCounts(
                lambda: self._open_store("count lost deliveries"),
                f"{self.scheme}:{queue}",
                all_counted=self._can.delivery_count == "all",
            )
        self._mover.begin(queue)
        return EmulatedInbox(
            self, inbox, queue, counts, lambda: self._mover.end(queue), self._clock
        )

    def keep_alive(self, inboxes: Sequence[Inbox]) -> Sequence[int]:
        return self.inner.keep_alive(
            [inbox.inner if isinstance(inbox, EmulatedInbox) else inbox for inbox in inboxes]
        )

    def lease_group(self, queue: str) -> str:
        return self.inner.lease_group(queue)

    def size(self, queue: str) -> Size:
        size = self.inner.size(queue)
        due, later = self._parked(queue)
        return Size(size.ready + due, size.in_flight, (size.delayed or 0) + later)

    def _parked(self, queue: str) -> tuple[int, int]:
        """Return how many messages wait in the store though they are due, and how many others."""
        try:
            store = self.store()
        except Unsupported:
            return 0, 0
        count = store.parked_count(queue, self.scheme)
        if not count:
            return 0, 0
        now = self._clock.now()
        first = store.parked(queue, self.scheme, LOOK_THROUGH)
        due = sum(message.due <= now for message in first)
        return due, max(0, count - due)

    def purge(self, queue: str) -> int:
        removed = self.inner.purge(queue)
        with contextlib.suppress(Unsupported):
            store = self.store()
            while parked := store.parked(queue, self.scheme, LOOK_THROUGH):
                removed += store.unpark(queue, self.scheme, [each.parked_id for each in parked])
        return removed

    def peek(self, queue: str, n: int) -> list[bytes]:
        bodies, now = self.inner.peek(queue, n), self._clock.now()
        if len(bodies) < n:
            with contextlib.suppress(Unsupported):
                parked = self.store().parked(queue, self.scheme, n - len(bodies))
                bodies += [message.body for message in parked if message.due <= now]
        return bodies

    def browse(self, queue: str) -> Iterator[Sequence[bytes]]:
        yield from self.inner.browse(queue)
        with contextlib.suppress(Unsupported):
            store, now, n = self.store(), self._clock.now(), LOOK_THROUGH
            parked = store.parked(queue, self.scheme, n)
            while len(parked) == n and parked[-1].due <= now:  # there may be more of them
                n *= 10
                parked = store.parked(queue, self.scheme, n)
            yield [message.body for message in parked if message.due <= now]

    def queues(self) -> list[str]:
        names = set(self.inner.queues())
        with contextlib.suppress(Unsupported):
            names.update(self.store().parked_queues(self.scheme))
        return sorted(names)

    def delayed(self, queue: str, n: int) -> list[Delayed]:
        found = self.inner.delayed(queue, n) if self._can.delay_view else []
        now = self._clock.now()
        parked = self.store().parked(queue, self.scheme, n + LOOK_THROUGH) if n > 0 else []
        found += [
            Delayed(message.due, message.body, ParkedHandle(message.parked_id))
            for message in parked
            if message.due > now
        ]
        return sorted(found, key=lambda message: message.due)[: max(0, n)]

    def undelay(self, queue: str, handles: Sequence[Any]) -> int:
        parked = [handle for handle in handles if isinstance(handle, ParkedHandle)]
        native = [handle for handle in handles if not isinstance(handle, ParkedHandle)]
        removed = self.inner.undelay(queue, native) if native else 0
        return removed + (self.store().unpark(queue, self.scheme, parked) if parked else 0)

    def wire_name(self, queue: str) -> str:
        return self.inner.wire_name(queue)

    def queue_name(self, wire: str) -> str:
        return self.inner.queue_name(wire)

    def close(self) -> None:
        self._mover.close()
        self.inner.close()
