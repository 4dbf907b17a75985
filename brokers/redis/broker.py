"""The Redis broker: a plain list that any language can LPUSH to, with acknowledgement, priority,
delay and leases around it.

This file publishes and shows; `redis_inbox` consumes; `redis_scripts` says how it lies in the
server.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from fbcli.broker import ID_SECONDS, Broker, Capabilities, Delayed, Inbox, Outgoing, Size
from fbcli.clients.redis import translating
from fbcli.errors import PartlyPublished, Unavailable, UsageError

from .connections import Word, shared_connections
from .queue_scripts import PUBLISH, PURGE, SIZE, WITHDRAW
from .scripts import BELL, MOVE_AT_ONCE, headed

if TYPE_CHECKING:
    from .beats import Beats
    from .inbox import RedisInbox

NAMES = "fb:queues"
"""The zset of known queue names, by when somebody last said that he uses them. So listing them
needs no SCAN."""

ANNOUNCE_SECONDS = 60.0
FORGET_SECONDS = 3600.0
"""An empty queue that nobody announced for so long is forgotten. Much longer than the former: see
`queues`."""

MOST_ANNOUNCED = 10_000

BROWSED_AT_ONCE = 500
BATCH_MESSAGES = 1000
BATCH_BYTES = 1_000_000


class RedisBroker(Broker):
    """`redis://`, `rediss://`, `redis+sentinel://`, `redis+cluster://`
    (`fbcli.clients.redis.connect` has the forms)."""

    also = "lua"
    capabilities = Capabilities(
        confirm=True,
        ack=True,
        durable=True,
        fencing=True,
        lease="beat",
        reach="network",
        delay_publish=math.inf,
        delay_release=math.inf,
        delay_view=True,
        release="both",
        priority=True,
        rewrite=True,
        delivery_count="lost",
        idempotent=True,
        key=False,
        headers=False,
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
    library = ("redis", "redis")
    summary = (
        "Redis 6.2+ or Valkey: fast, complete. As durable as its persistence: `appendfsync"
        " everysec` may lose a second."
    )

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._links = shared_connections(url)
        self._reach = self._links.reach
        self._beats: dict[str, Beats] = {}
        """By server."""
        self._closed = False
        self._translating = translating(url)
        self._announced: dict[str, float] = {}
        self._ids = itertools.count()
        self._id_suffix = os.urandom(3).hex()

    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        plain = [
            m.body for m in messages if not m.priority and m.not_before is None and m.id is None
        ]
        sent = 0
        try:
            with self._translating:
                self.announce(queue)
                if len(plain) == len(messages):
                    for bodies in _batches(plain):
                        self._links.call(queue, ("LPUSH", queue, *bodies))
                        sent += len(bodies)
                else:
                    for batch in _batches(messages, _length):
                        self._publish_one_by_one(queue, batch)
                        sent += len(batch)
        except Unavailable as error:
            if sent:
                raise PartlyPublished(str(error), range(sent)) from error
            raise

    def withdraw(self, queue: str, messages: Sequence[Outgoing]) -> None:
        """Take back what was published a moment ago, unless somebody has it by now."""
        arguments = [part for message in messages for part in (message.priority, message.body)]
        with self._translating:
            self._links.run(WITHDRAW, self.keys(queue), *arguments)

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        from .inbox import RedisInbox  # noqa: PLC0415  a push needs none

        with self._translating:
            self.announce(queue)
        inbox = RedisInbox(self, self._links, queue, consumer_id, lease)
        try:
            inbox.enter()
        except BaseException:
            inbox.hang_up()
            raise
        return inbox

    def keep_alive(self, inboxes: Sequence[Inbox]) -> Sequence[int]:
        from .beats import Beats  # noqa: PLC0415  a push needs none

        given_back = dict.fromkeys(map(id, inboxes), 0)
        by_server: dict[str, list[RedisInbox]] = {}
        with self._translating:
            for inbox in cast("Sequence[RedisInbox]", inboxes):
                if not inbox.closed:
                    by_server.setdefault(self._reach.where(inbox.queue), []).append(inbox)
            self._links.trim()
            self.announce(*(inbox.queue for alive in by_server.values() for inbox in alive))
            for server, alive in by_server.items():
                if server not in self._beats:
                    self._beats.setdefault(server, Beats(self._reach))
                counts = self._beats[server].extend(alive)
                given_back |= zip(map(id, alive), counts, strict=True)
        return [given_back[id(inbox)] for inbox in inboxes]

    def lease_group(self, queue: str) -> str:
        with self._translating:
            return self._reach.where(queue)

    def size(self, queue: str) -> Size:
        with self._translating:
            ready, in_flight, delayed = self._links.run(
                SIZE, self.keys(queue), *self.prefixes(queue)
            )
        return Size(ready, in_flight, delayed)

    def purge(self, queue: str) -> int:
        with self._translating:
            return int(self._links.run(PURGE, self.keys(queue)))

    def peek(self, queue: str, n: int) -> list[bytes]:
        if n <= 0:
            return []
        ready, urgent, delayed, _ = self.keys(queue)
        with self._translating:
            members, bodies, due = self._links.call(
                queue,
                ("ZRANGE", urgent, 0, n - 1),
                ("LRANGE", ready, -n - 1, -1),
                # By priority, the last that is due may be the first; the next claim, too, looks
                # through so many.
                ("ZRANGEBYSCORE", delayed, "-inf", time.time(), "LIMIT", 0, max(n, MOVE_AT_ONCE)),
            )
        # Sorted by what decides in the server: the priority first, then the place within it.
        found = [(-headed(member).priority, 1, headed(member).body) for member in members]
        found += ((0, 3, body) for body in reversed(bodies) if body != BELL)
        for member in due:
            _, priority, deliveries, front, body = member.split(b":", 4)
            above_the_list = int(priority) or int(deliveries)
            found.append((-int(priority), 4 if front != b"1" else 0 if above_the_list else 2, body))
        found.sort(key=lambda message: message[:2])
        return [body for _, _, body in found[:n]]

    def browse(self, queue: str) -> Iterator[Sequence[bytes]]:
        """Those that are due by now come last."""
        ready, urgent, delayed, _ = self.keys(queue)
        now, n = time.time(), BROWSED_AT_ONCE
        for members in self._pages(queue, lambda first: ("ZRANGE", urgent, first, first + n - 1)):
            yield [headed(member).body for member in members]
        for bodies in self._pages(queue, lambda first: ("LRANGE", ready, -first - n, -first - 1)):
            yield [body for body in reversed(bodies) if body != BELL]
        for members in self._pages(
            queue, lambda first: ("ZRANGEBYSCORE", delayed, "-inf", now, "LIMIT", first, n)
        ):
            yield [member.split(b":", 4)[4] for member in members]

    def _pages(
        self, queue: str, command: Callable[[int], Sequence[Word]]
    ) -> Iterator[Sequence[bytes]]:
        """Yield what `command` finds from the first on, then from so many on as it has found."""
        first, found = 0, [b""]
        while found:
            with self._translating:
                found = self._links.call(queue, command(first))[0]
            first += len(found)
            if found:
                yield found

    def queues(self) -> list[str]:
        """Those that hold anything or have consumers.

        A name is forgotten only long after its last announcement: its publisher, who announces it
        every minute that he publishes, would otherwise go on publishing to a queue that nobody
        sees.
        """
        with self._translating:
            names = [name.decode() for name in self._links.call(NAMES, ("ZRANGE", NAMES, 0, -1))[0]]
            if self._reach.cluster:
                in_use = [self._links.call(name, ("EXISTS", *self.keys(name)))[0] for name in names]
            else:
                in_use = (
                    self._links.call(NAMES, *(("EXISTS", *self.keys(name)) for name in names))
                    if names
                    else []
                )
            empty = {name for name, keys in zip(names, in_use, strict=True) if not keys}
            if empty:
                long_ago = time.time() - FORGET_SECONDS
                old = self._links.call(NAMES, ("ZRANGEBYSCORE", NAMES, "-inf", f"({long_ago}"))[0]
                forget = [name for name in old if name.decode() in empty]
                if forget:
                    self._links.call(NAMES, ("ZREM", NAMES, *forget))
        return sorted(set(names) - empty)

    def delayed(self, queue: str, n: int) -> list[Delayed]:
        if n <= 0:
            return []
        with self._translating:
            window = (f"({time.time()}", "+inf", "WITHSCORES", "LIMIT", 0, n)
            found = self._links.call(queue, ("ZRANGEBYSCORE", self.keys(queue)[2], *window))[0]
        return [
            Delayed(float(due), member.split(b":", 4)[4], member)
            for member, due in zip(found[::2], found[1::2], strict=True)
        ]

    def undelay(self, queue: str, handles: Sequence[Any]) -> int:
        removed = 0
        with self._translating:
            for members in _batches(list(handles)):
                removed += self._links.call(queue, ("ZREM", self.keys(queue)[2], *members))[0]
        return removed

    def close(self) -> None:
        for beats in self._beats.values():
            beats.close()
        if not self._closed:
            self._closed = True
            self._links.leave()

    def keys(self, queue: str) -> tuple[str, str, str, str]:
        """Return the keys of the ready list, the urgent, the delayed and the owners of `queue`."""
        _check_name(queue)
        tag = f"fb:{{{queue}}}:"
        return queue, tag + "urgent", tag + "delayed", tag + "owners"

    def prefixes(self, queue: str) -> tuple[str, str]:
        """Return what the names of `held` and `handed` begin with; the owner's name follows."""
        return f"fb:{{{queue}}}:held:", f"fb:{{{queue}}}:handed:"

    def announce(self, *queues: str) -> None:
        """Make these known to `queues`; each at most once a minute."""
        now = time.monotonic()
        long_ago, known = now - ANNOUNCE_SECONDS, self._announced
        new = [queue for queue in queues if known.get(queue, long_ago) <= long_ago]
        if new:
            for queue in new:
                _check_name(queue)
            at = time.time()
            self._links.call(
                NAMES, ("ZADD", NAMES, *(word for queue in new for word in (at, queue)))
            )
            if len(known) > MOST_ANNOUNCED:
                known.clear()
            known.update(dict.fromkeys(new, now))

    def new_id(self) -> str:
        """Return hexadecimal digits, never the same again, and sorted by time: equally due messages
        keep their order."""
        return f"{time.time_ns() // 1000:015x}{next(self._ids) & 0xFFFFFF:06x}{self._id_suffix}"

    def _publish_one_by_one(self, queue: str, messages: Sequence[Outgoing]) -> None:
        """Publish what is not plain, and what came with it, so that all keep their order. When the
        reply is lost, it is done once more, if every message has an id."""
        now = time.time()
        arguments: list[Any] = [int(ID_SECONDS)]
        for message in messages:
            due = message.not_before
            later = "" if due is None or due <= now else repr(due)
            priority = min(9, max(0, message.priority))
            arguments += (later, priority, self.new_id(), message.id or "", message.body)
        keys = (*self.keys(queue), f"fb:{{{queue}}}:ids")
        try:
            self._links.run(PUBLISH, keys, *arguments)
        except (self._reach.errors.ConnectionError, self._reach.errors.TimeoutError):
            if any(message.id is None for message in messages):
                raise
            self._links.run(PUBLISH, keys, *arguments)


def _length(message: Outgoing) -> int:
    return len(message.body)


def _check_name(queue: str) -> None:
    if not queue or "{" in queue or "}" in queue or queue.startswith("fb:"):
        raise UsageError(
            f"{queue!r} cannot be the name of a queue on Redis: not empty, no braces, not beginning"
            " with 'fb:', please."
        )


def _batches(items: Sequence[Any], size: Any = len) -> Iterator[Sequence[Any]]:
    """Cut into pieces that neither block the server for long nor fill its buffers."""
    start = total = 0
    for i, item in enumerate(items):
        total += size(item)
        if total > BATCH_BYTES or i - start >= BATCH_MESSAGES:
            if i > start:
                yield items[start:i]
            start, total = i, size(item)
    if start < len(items):
        yield items[start:]
