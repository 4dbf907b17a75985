"""The plain Redis list: RPOP and BRPOP, nothing around them. The fastest way, for work that may be
lost with its consumer.

The list is the same as that of `redis://`; either may publish for the other. What is not plain
(priority, delay) is refused above, by the capabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import monotonic
from typing import cast

from fbcli.broker import (
    Action,
    Broker,
    Capabilities,
    Delivery,
    Inbox,
    Outgoing,
    Settlement,
    dead_queue,
)
from fbcli.clients.lua import Step, together
from fbcli.clients.redis import translating

from ..waiting import Waker, readable
from .blocked import BlockedPop
from .broker import RedisBroker
from .connections import RedisConnections
from .scripts import BELL

BLOCK_SECONDS = 5.0
"""How long one BRPOP waits in the server before it is asked again."""


class RedisListBroker(RedisBroker):
    """`redis+list://[user:pass@]host[:port][/db]`."""

    capabilities = Capabilities(
        confirm=True,
        ack=False,
        durable=True,
        fencing=False,
        lease="none",
        reach="network",
        delay_publish=0,
        delay_release=0,
        delay_view=False,
        release="both",
        priority=False,
        rewrite=True,
        delivery_count="none",
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
    summary = (
        "A plain Redis list: the fastest. No acknowledgement: what a consumer holds is lost when it"
        " dies."
    )

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        with self._translating:
            self.announce(queue)
        return RedisListInbox(self, self._links, queue)

    def keep_alive(self, inboxes: Sequence[Inbox]) -> Sequence[int]:
        """There are no leases; only the names of the queues are kept known."""
        with self._translating:
            self._links.trim()
            self.announce(*(inbox.queue for inbox in cast("Sequence[RedisListInbox]", inboxes)))
        return [0] * len(inboxes)

    delayed = Broker.delayed
    undelay = Broker.undelay


class RedisListInbox(Inbox):
    """What it has fetched is gone from the server; settling with anything but ACK pushes it
    back."""

    def __init__(self, broker: RedisListBroker, links: RedisConnections, queue: str) -> None:
        self._broker, self._links, self.queue = broker, links, queue
        self._blocked, self._waker = BlockedPop(links.reach, queue), Waker()
        self._translating = translating(broker.url)
        self.closed = False

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        if self.closed:
            return []
        deadline = monotonic() + wait
        with self._translating:
            while True:
                found = self._look(limit)
                if found or self._waker.was_woken():
                    return found
                now = monotonic()
                if now >= deadline:
                    return self._popped(self._blocked.cancel(self._links))
                if limit and self._blocked.expires is None:
                    self._blocked.begin("BRPOP", self.queue, timeout=BLOCK_SECONDS)
                blocked, expires = self._blocked.socket(), self._blocked.expires
                if blocked is None or expires is None:
                    self._waker.wait(deadline - now)
                elif (
                    self._waker.wait_for_sockets((blocked,), min(deadline, expires) - now)
                    == "nothing"
                    and monotonic() >= expires
                ):
                    self._blocked.drop()
                if self._waker.was_woken():
                    return self._look(limit) if limit else []

    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        """`also`: a list of `fbcli.clients.lua.Step`."""
        others = [s for s in settlements if s.action is not Action.ACK]
        with self._translating:
            if also is not None:
                script, keys, words = together(cast("Sequence[Step]", also))
                self._links.run(script, keys, *words)
            self._push_back([_body(s) for s in others if s.action is Action.RELEASE and not s.back])
            back = [Outgoing(_body(s)) for s in others if s.action is Action.RELEASE and s.back]
            buried = [Outgoing(_body(s)) for s in others if s.action is Action.BURY]
            for queue, messages in ((self.queue, back), (dead_queue(self.queue), buried)):
                if messages:
                    self._broker.publish(queue, messages)
        return []

    def wake(self) -> None:
        self._waker.wake()

    def keep_alive(self) -> int:
        return self._broker.keep_alive([self])[0]

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            with self._translating:
                self._give_back(self._blocked.cancel(self._links))
        finally:
            self._blocked.drop()
            self._waker.close()

    def _look(self, limit: int) -> list[Delivery]:
        """Return what there is now, waiting for nothing."""
        blocked = self._blocked.socket()
        if blocked is not None:
            answered = readable((blocked,), 0)
            if limit and not answered:
                return []
            popped = self._blocked.finish() if answered else self._blocked.cancel(self._links)
            if limit:
                found = self._popped(popped)
                if found:
                    return found
            else:
                self._give_back(popped)
        if not limit:
            return []
        bodies = self._links.call(self.queue, ("RPOP", self.queue, limit))[0] or ()
        return [Delivery(body, None) for body in bodies if body != BELL]

    def _popped(self, reply: list[bytes] | None) -> list[Delivery]:
        return [Delivery(reply[1], None)] if reply is not None and reply[1] != BELL else []

    def _give_back(self, reply: list[bytes] | None) -> None:
        if reply is not None and reply[1] != BELL:
            self._push_back([reply[1]])

    def _push_back(self, bodies: Sequence[bytes]) -> None:
        """To the front, the first of them foremost."""
        if bodies:
            self._links.call(self.queue, ("RPUSH", self.queue, *reversed(bodies)))


def _body(settlement: Settlement) -> bytes:
    return settlement.delivery.body if settlement.body is None else settlement.body
