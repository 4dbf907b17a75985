"""One consumer's mouth on one queue of the Redis broker. `redis_scripts` has the keys and what each
step does in the server.

Every message a consumer has in flight is filed in the server under a token that this inbox never
uses twice; settling removes the token. A consumer whose lease was lost finds its tokens gone: that
is the whole fence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic
from typing import Any, Protocol, cast

from fbcli.broker import Action, Delivery, Inbox, Outgoing, Settlement, dead_queue
from fbcli.clients.lua import Step, packed, together
from fbcli.clients.redis import translating
from fbcli.lease import Beat

from ..waiting import Waker, readable
from .blocked import BlockedPop
from .connections import RedisConnections
from .lease import RedisBeat
from .scripts import ACKNOWLEDGE, BELL, BURY, CLAIM, LEAVE, RELEASE, headed

_ACK = Action.ACK

CLAIM_AT_ONCE = 2000
"""Most messages one claim takes. Lua passes at most 8,000 values to one command (LUAI_MAXCSTACK),
two for each message."""

BLOCK_SECONDS = 2.0
"""How long one BLMOVE waits in the server, at most a third of the lease: one that outlives its
consumer must have ended before the consumer's messages are taken back."""

LOOK_SECONDS = 60.0
"""After so long an idle inbox claims, whatever the server has told it."""


class InboxOwner(Protocol):
    """What an inbox asks of its broker."""

    url: str

    def keys(self, queue: str) -> tuple[str, str, str, str]: ...
    def prefixes(self, queue: str) -> tuple[str, str]: ...
    def announce(self, *queues: str) -> None: ...
    def keep_alive(self, inboxes: Sequence[Inbox]) -> Sequence[int]: ...
    def new_id(self) -> str: ...
    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None: ...
    def withdraw(self, queue: str, messages: Sequence[Outgoing]) -> None: ...


class RedisInbox(Inbox):
    """Used by one thread, `wake` and `keep_alive` apart."""

    def __init__(
        self,
        broker: InboxOwner,
        links: RedisConnections,
        queue: str,
        consumer_id: str,
        lease: float,
    ) -> None:
        self._broker, self._links, self._reach = broker, links, links.reach
        self.queue, self.lease = queue, lease
        self.owner = f"{consumer_id}:{os.urandom(4).hex()}"
        self._prefixes = broker.prefixes(queue)
        self._held, self._handed = (prefix + self.owner for prefix in self._prefixes)
        self._keys = (*broker.keys(queue), self._held, self._handed)
        self.lease_keys = self._keys[:4]
        """What a heartbeat needs."""
        self._translating = translating(broker.url)
        self._blocked, self._waker = BlockedPop(links.reach, queue), Waker()
        self._block = max(0.01, min(BLOCK_SECONDS, lease / 3))  # 0 would mean for ever
        self.closed = False

        self._token = 1
        """The next one to give out."""
        self._lost_before = 0
        """Deliveries with a smaller token are somebody else's."""
        self._generation = 1
        """Counts the claims whose reply was lost; the server refuses one of an earlier generation
        that arrives late."""
        self._doubt: int | None = None
        """A claim whose reply was lost may have filed messages under this token and later ones."""
        self._unfiled: Delivery | None = None
        """Handed over by BLMOVE and delivered, not yet filed under its token (it lies in `handed`).
        """
        self._recovered: list[Delivery] = []
        """Filed by a claim whose reply was lost; to be delivered before anything else."""
        self._look_at = 0.0
        """Monotonic time at which the next delayed message is due, or it claims in any case."""
        self._unregistered = False
        """Set by the heartbeat when the lease is lost: only a claim begins another."""

    def enter(self) -> None:
        """Register with the server, and take back what dead consumers left."""
        with self._translating:
            self._claim(0)
        self.keep_alive()

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        if self.closed:
            return []
        deadline = monotonic() + wait
        limit = min(limit, CLAIM_AT_ONCE)
        with self._translating:
            while True:
                found = self._look(limit, waits=monotonic() < deadline)
                if found or self._waker.was_woken():
                    return found
                now = monotonic()
                if now >= deadline:
                    return self._end_waiting()
                if limit and self._blocked.expires is None:
                    self._blocked.begin(
                        "BLMOVE", self.queue, self._handed, "RIGHT", "LEFT", timeout=self._block
                    )
                self._sleep(min(deadline, self._look_at) - now)
                if self._waker.was_woken():
                    # The BLMOVE stays outstanding: whoever woke us mostly has something to settle,
                    # and then comes back.
                    return self._look(limit) if limit else []

    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        """`also`: a list of `fbcli.clients.lua.Step`, whose keys are where this queue's are."""
        late: list[Settlement] = []
        if self.closed:
            return settlements
        if self._lost_before:
            late = [s for s in settlements if int(s.delivery.handle) < self._lost_before]
            settlements = [s for s in settlements if int(s.delivery.handle) >= self._lost_before]
        acks = [s for s in settlements if s.action is _ACK]
        with self._translating:
            if also is not None:
                late += self._acknowledge_with(acks, cast("Sequence[Step]", also))
            elif acks:
                late += self._acknowledge(acks)
            if len(acks) < len(settlements):
                if any(s.delivery is self._unfiled for s in settlements):
                    self._claim(0)
                late += self._release([s for s in settlements if s.action is Action.RELEASE])
                late += self._bury([s for s in settlements if s.action is Action.BURY])
        return late

    def late(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        with self._translating:
            registered = not self.closed and self._registered()
        return [d for d in deliveries if not registered or int(d.handle) < self._lost_before]

    def wake(self) -> None:
        self._waker.wake()

    def keep_alive(self) -> int:
        return self._broker.keep_alive([self])[0]

    def lose(self) -> None:
        """The lease is lost. From the heartbeat's thread."""
        self._unregistered = True
        self._waker.wake()

    def beat(self) -> Beat:
        """Note: made for the server that has the queue now. After that has moved (a cluster, a
        failover), another one is needed."""
        with self._translating:
            return RedisBeat(
                self._reach.server(self.queue), self._keys[3], self._held, self.owner, self.lease
            )

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            with self._translating:
                self._blocked.cancel(self._links)
                self._links.run(
                    LEAVE, self._keys, self.owner, "0" if self._blocked.lingers() else "1"
                )
        finally:
            self.hang_up()

    def hang_up(self) -> None:
        """Close the connections, telling the server nothing."""
        self._blocked.drop()
        self._waker.close()

    def _look(self, limit: int, *, waits: bool = False) -> list[Delivery]:
        """Return what there is now, waiting for nothing. `waits`: it is asked for with a BLMOVE
        next."""
        if self._recovered:
            found, self._recovered = self._recovered[:limit], self._recovered[limit:]
            return found
        at_rest = monotonic() < self._look_at and not self._unregistered
        blocked = self._blocked.socket()
        if blocked is not None:
            answered = readable((blocked,), 0)
            if limit and not answered and at_rest:
                return []
            # With no room, somebody else must get the next message; what came in the last moment is
            # put back by the claim.
            found = self._handed_over(
                self._blocked.finish() if answered else self._blocked.cancel(self._links), limit
            )
            if found:
                return found
        if limit and waits and at_rest and self._blocked.in_vain:
            return []  # where the last BLMOVE found nothing (see the doorbell), the next one tells
        return self._claim(limit)

    def _end_waiting(self) -> list[Delivery]:
        """Ask for nothing while nobody waits for it: it would be missing elsewhere."""
        return (
            self._handed_over(self._blocked.cancel(self._links), 1)
            if self._blocked.expires is not None
            else []
        )

    def _handed_over(self, body: bytes | None, limit: int) -> list[Delivery]:
        """Deliver what BLMOVE brought at once; it is filed by the next claim, or settled where it
        lies."""
        if body is None or body == BELL or not limit:
            return []
        self._unfiled = Delivery(body, self._take_tokens(1)[0])
        return [self._unfiled]

    def _sleep(self, seconds: float) -> None:
        """Until woken, or answered by the server."""
        sock, expires = self._blocked.socket(), self._blocked.expires
        if sock is None or expires is None:
            self._waker.wait(seconds)
        elif (
            self._waker.wait_for_sockets((sock,), min(seconds, expires - monotonic())) == "nothing"
            and monotonic() >= expires
        ):
            self._blocked.drop()

    def _claim(self, limit: int) -> list[Delivery]:
        """Move what is due, and take up to `limit` messages. The first claim registers, and so does
        one after a lost lease.

        Note: never while a BLMOVE is outstanding. Whatever lies in `handed` and was not delivered
        goes back to the queue.
        """
        unfiled, self._blocked.in_vain = self._unfiled, False
        try:
            lost, wait, bodies, members, recovered = self._links.run(
                CLAIM,
                self._keys,
                limit,
                self._token,
                # Longer than hash-max-listpack-value: a hash of small fields would be searched
                # field by field.
                f"{self._generation:080d}",
                self.owner,
                self.lease,
                "" if self._doubt is None else self._doubt,
                *(("", "") if unfiled is None else (unfiled.handle, unfiled.body)),
            )
        except BaseException:
            # It may have been carried out or not, or may be later: the next claim finds out. The
            # same holds for a BLMOVE.
            self._blocked.drop()
            self._generation += 1
            self._doubt = self._token if self._doubt is None else self._doubt
            self._token += limit
            raise
        self._unfiled = self._doubt = None
        if lost:
            self._lost_before = self._token if self._token > 1 else 0
            self._recovered.clear()
        self._unregistered = False
        due_in = wait / 1000 if wait >= 0 else LOOK_SECONDS
        self._look_at = monotonic() + min(due_in, LOOK_SECONDS)
        deliveries = list(map(headed, members, self._take_tokens(len(members), "+")))
        deliveries += map(Delivery, bodies, self._take_tokens(len(bodies)))
        if recovered:
            pairs = zip(recovered[1::2], recovered[::2], strict=True)
            found = [
                headed(body, t.decode()) if t[:1] == b"+" else Delivery(body, t.decode())
                for body, t in pairs
            ]
            self._recovered = sorted(found, key=lambda delivery: int(delivery.handle)) + deliveries
            deliveries, self._recovered = self._recovered[:limit], self._recovered[limit:]
        return deliveries

    def _take_tokens(self, count: int, mark: str = "") -> list[str]:
        first, self._token = self._token, self._token + count
        if mark:
            return [f"+{token}" for token in range(first, self._token)]
        return list(map(str, range(first, self._token)))

    def _acknowledge(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        tokens = [s.delivery.handle for s in settlements]
        removal = ("HDEL", self._held, *tokens)
        unfiled = self._unfiled
        if unfiled is None or unfiled.handle not in tokens:
            removed = self._links.call(self.queue, removal)[0]
        else:
            # A claim whose reply was lost may have filed it already: so both places are asked.
            removed = sum(
                self._links.call(self.queue, ("LREM", self._handed, 1, unfiled.body), removal)
            )
            self._unfiled = None
        return [] if removed == len(tokens) or self._registered() else list(settlements)

    def _acknowledge_with(
        self, settlements: Sequence[Settlement], also: Sequence[Step]
    ) -> list[Settlement]:
        """As `_acknowledge`, in one step with what a store in the same server has to do first."""
        tokens = [s.delivery.handle for s in settlements]
        unfiled = self._unfiled if self._unfiled and self._unfiled.handle in tokens else None
        lies = (0, b"") if unfiled is None else (1, unfiled.body)
        step = Step(ACKNOWLEDGE.source, self._keys, [*lies, packed(*tokens)])
        script, keys, words = together([*also, step])
        removed = self._links.run(script, keys, *words)
        if unfiled is not None:
            self._unfiled = None
        return [] if removed == len(tokens) or self._registered() else list(settlements)

    def _release(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        if not settlements:
            return []
        arguments: list[Any] = []
        numbered = [(s, self._broker.new_id()) for s in settlements]
        to_front = [pair for pair in reversed(numbered) if not pair[0].back]
        for s, new_id in to_front + [pair for pair in numbered if pair[0].back]:
            new_body = ("0", b"") if s.body is None else ("1", s.body)
            arguments += (s.delivery.handle, max(0.0, s.delay), new_id, *new_body, int(s.back))
        missing = self._links.run(RELEASE, self._keys, *arguments)
        return self._late(settlements, [token.decode() for token in missing])

    def _bury(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        if not settlements:
            return []
        grave = dead_queue(self.queue)
        if self._reach.cluster:
            return self._bury_elsewhere(settlements, grave)
        self._broker.announce(grave)
        arguments: list[Any] = []
        for s in settlements:
            arguments += (s.delivery.handle, *(("0", b"") if s.body is None else ("1", s.body)))
        missing = self._links.run(BURY, (*self._keys, *self._broker.keys(grave)[:2]), *arguments)
        return self._late(settlements, [token.decode() for token in missing])

    def _bury_elsewhere(self, settlements: Sequence[Settlement], grave: str) -> list[Settlement]:
        """Copy to the dead letters on another node, then remove: a crash in between leaves two
        copies, never none."""
        tokens = [s.delivery.handle for s in settlements]
        there = self._links.call(self.queue, *(("HEXISTS", self._held, token) for token in tokens))
        held = [s for s, exists in zip(settlements, there, strict=True) if exists]
        missing = [token for token, exists in zip(tokens, there, strict=True) if not exists]
        if held:
            letters = [
                Outgoing(s.delivery.body if s.body is None else s.body, s.delivery.priority)
                for s in held
            ]
            self._broker.publish(grave, letters)
            removed = self._links.call(
                self.queue, *(("HDEL", self._held, s.delivery.handle) for s in held)
            )
            lost = [place for place, count in enumerate(removed) if not count]
            if lost:  # the lease, in between
                self._broker.withdraw(grave, [letters[place] for place in lost])
                missing += [held[place].delivery.handle for place in lost]
        return self._late(settlements, missing)

    def _late(self, settlements: Sequence[Settlement], missing: Sequence[str]) -> list[Settlement]:
        if not missing or self._registered():
            return []
        gone = set(missing)
        return [s for s in settlements if s.delivery.handle in gone]

    def _registered(self) -> bool:
        """A token that is gone while the lease holds was settled before, by a call whose reply was
        lost: not too late."""
        return bool(self._links.call(self.queue, ("HEXISTS", self._held, ""))[0])
