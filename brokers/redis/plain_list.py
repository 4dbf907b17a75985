"""The plain Redis list: RPOP and BRPOP, nothing around them. The fastest way, for work that may be
lost with its consumer.

The list is the same as that of `redis://`; either may publish for the other. What is not plain
(priority, delay) is refused above, by the capabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from fbcli.broker import Action, Capabilities, Delivery, Inbox, Outgoing, Settlement, dead_queue
from fbcli.clients.redis import translating

from ..waiting import Waker, readable
from .blocked import BlockedPop
from .broker import RedisBroker
from .connections import Reach, RedisConnection
from .scripts import BELL

BLOCK_SECONDS = 5.0
"""How long one BRPOP waits in the server before it is asked again."""


class RedisListBroker(RedisBroker):
    """`redis+list://[user:pass@]host[:port][/db]`."""

    capabilities = Capabilities(
        ack=False, rewrite=True, peek=True, purge=True, size=True, queues=True
    )
    summary = (
        "A plain Redis list: the fastest. No acknowledgement: what a consumer holds is lost when it"
        " dies."
    )

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        with self._translating:
            self.announce(queue)
        return RedisListInbox(self, self._reach, queue)


class RedisListInbox(Inbox):
    """What it has fetched is gone from the server; settling with anything but ACK pushes it
    back."""

    def __init__(self, broker: RedisListBroker, reach: Reach, queue: str) -> None:
        self._broker, self._queue = broker, queue
        self._link, self._blocked, self._waker = (
            RedisConnection(reach, queue),
            BlockedPop(reach, queue),
            Waker(),
        )
        self._translating = translating(broker.url)
        self._closed = False

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        if self._closed:
            return []
        deadline = monotonic() + wait
        with self._translating:
            while True:
                found = self._look(limit)
                if found or self._waker.was_woken():
                    return found
                now = monotonic()
                if now >= deadline:
                    return self._popped(self._blocked.cancel(self._link))
                if limit and self._blocked.expires is None:
                    self._blocked.begin("BRPOP", self._queue, timeout=BLOCK_SECONDS)
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

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        others = [s for s in settlements if s.action is not Action.ACK]
        if others:
            bodies = {
                action: [
                    s.delivery.body if s.body is None else s.body
                    for s in others
                    if s.action is action
                ]
                for action in (Action.RELEASE, Action.BURY)
            }
            with self._translating:
                if bodies[Action.RELEASE]:
                    self._push_back(bodies[Action.RELEASE])
            if bodies[Action.BURY]:
                self._broker.publish(
                    dead_queue(self._queue), [Outgoing(body) for body in bodies[Action.BURY]]
                )
        return []

    def wake(self) -> None:
        self._waker.wake()

    def keep_alive(self) -> int:
        """There is no lease; only the name of the queue is kept known."""
        with self._translating:
            self._broker.announce(self._queue)
        return 0

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with self._translating:
                self._give_back(self._blocked.cancel(self._link))
        finally:
            self._blocked.drop()
            self._link.close()
            self._waker.close()

    def _look(self, limit: int) -> list[Delivery]:
        """Return what there is now, waiting for nothing."""
        blocked = self._blocked.socket()
        if blocked is not None:
            answered = readable((blocked,), 0)
            if limit and not answered:
                return []
            popped = self._blocked.finish() if answered else self._blocked.cancel(self._link)
            if limit:
                found = self._popped(popped)
                if found:
                    return found
            else:
                self._give_back(popped)
        if not limit:
            return []
        bodies = self._link.call(("RPOP", self._queue, limit))[0] or ()
        return [Delivery(body, None) for body in bodies if body != BELL]

    def _popped(self, reply: list[bytes] | None) -> list[Delivery]:
        return [Delivery(reply[1], None)] if reply is not None and reply[1] != BELL else []

    def _give_back(self, reply: list[bytes] | None) -> None:
        if reply is not None and reply[1] != BELL:
            self._push_back([reply[1]])

    def _push_back(self, bodies: Sequence[bytes]) -> None:
        """To the front, the first of them foremost."""
        self._link.call(("RPUSH", self._queue, *reversed(bodies)))
