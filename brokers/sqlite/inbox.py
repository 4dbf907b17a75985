"""One consumer's mouth on one queue of an SQLite file: it claims, settles, and extends its
lease."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fbcli.broker import Action, Delivery, Inbox, Settlement, dead_queue
from fbcli.clients.sqlite import Version
from fbcli.lease import Beat

from ..waiting import Waker
from .lease import SqliteBeat
from .tables import (
    ACK,
    BEAT,
    BURY,
    CLAIM,
    COUNT_ANEW,
    FIND_DEAD,
    FORGET,
    FORGET_IDLE_DEAD,
    GIVE_BACK,
    LOOK,
    RECLAIM,
    REGISTER,
    RELEASE,
    RIPEN,
    SELECT_READY,
    TO_THE_BACK,
    counted,
    ids,
    is_registered,
    new_owner,
    next_id,
    number_of,
)

if TYPE_CHECKING:
    from .file import QueueFile


class SqliteHandle(msgspec.Struct, gc=False):
    """The handle of a delivery."""

    owner: int
    message: int
    settled: bool = False
    """Settling it once more changes nothing, whoever holds the message by then."""


class SqliteInbox(Inbox):
    """One lease after the other of one consumer."""

    def __init__(
        self, file: QueueFile, path: Path, queue: str, consumer_id: str, lease: float
    ) -> None:
        self._file = file
        self._path = path
        self.queue = queue
        self.waker = Waker()
        self._name = f"{consumer_id}:{os.urandom(4).hex()}"
        self._lease = lease
        self._owner = new_owner()
        """Both threads replace it when its row is gone; within a write transaction, so one after
        the other."""
        self.next_due: float | None = None
        """When the next message that waits is due (Unix time)."""
        self.seen: Version | None = None
        """The version of the file at the last look."""
        self._look = True
        """Whether there may be something that the last look did not see."""
        self.closed = False
        file.enter(queue, self.waker)
        try:
            self.keep_alive()
        except BaseException:
            file.leave()
            raise

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        deadline = time.monotonic() + wait
        while not self.closed:
            batch = self._take(limit)
            if batch or self.waker.was_woken():
                return batch
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if self.next_due is not None:
                left = min(left, max(0.0005, self.next_due - time.time()))
            if not limit:
                self.waker.wait(left)
            elif not self._look and self._file.commits.wait(self, left):
                self._look = True
        return []

    def _take(self, limit: int) -> list[Delivery]:
        """SqliteHandle what is ready, after making ready what is due."""
        due = self.next_due is not None and self.next_due <= time.time()
        if not due and not limit:
            return []
        version = self._file.claims.version()
        if self.waker.has_news() or version != self.seen:
            self._look = True
            self.seen = version
        if not due and not self._look:
            return []
        with self._file.claims.reading() as connection:
            looked = connection.execute(LOOK, (self.queue,)).fetchone()
        ready, self.next_due, many_ready, many_waiting = looked or (0, None, 0, 0)
        if (many_ready and not ready) or (many_waiting and self.next_due is None):
            self._count_anew()
        now = time.time()
        due = self.next_due is not None and self.next_due <= now
        if not due and not (ready and limit):
            self._look = bool(ready)
            return []
        rows: list[Any] = []
        owner = 0
        with self._file.claims.writing() as connection:
            queue = number_of(connection, self.queue)
            ripe = connection.execute(RIPEN, {"queue": queue, "now": now}).rowcount if due else 0
            if limit:
                rows = connection.execute(SELECT_READY, {"queue": queue, "n": limit}).fetchall()
            if rows:
                owner = self._registered(connection, queue)
                connection.execute(CLAIM, (owner, ids([row[0] for row in rows])))
            if rows or ripe:
                left = None if len(rows) < limit else ripe - len(rows)
                counted(connection, queue, left, -ripe)
        if ripe > len(rows):
            self._file.tell(self.queue)  # whoever shares this connection is told by nothing else
        self._look = due or len(rows) == limit
        if due:
            self.next_due = None
        return [
            Delivery(body, SqliteHandle(owner, number), lost + 1, priority)
            for number, priority, lost, body in rows
        ]

    def _count_anew(self) -> None:
        """Set right what an older fbcli, which does not count, has left wrong in the same file."""
        with self._file.claims.writing() as connection:
            connection.execute(COUNT_ANEW, {"queue": number_of(connection, self.queue)})

    def _registered(self, connection: sqlite3.Connection, queue: int) -> int:
        """Return the owner of what is claimed now; a new one when the lease was lost. Within a
        write transaction."""
        if not is_registered(connection, self._owner):
            self._owner = new_owner()
            row = (self._owner, queue, self._name, self._lease, time.monotonic())
            connection.execute(REGISTER, row)
            connection.execute(FORGET_IDLE_DEAD, {"now": time.monotonic()})
        return self._owner

    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        """`also`: what a store in the same file writes, called with the connection in the
        transaction that settles."""
        settlements = [
            settlement for settlement in settlements if not settlement.delivery.handle.settled
        ]
        if not (settlements or also) or self.closed:
            return settlements  # closing gave them back
        acks: defaultdict[int, list[int]] = defaultdict(list)
        others: list[Settlement] = []
        for settlement in settlements:
            if settlement.action == Action.ACK:
                claim = settlement.delivery.handle
                acks[claim.owner].append(claim.message)
            else:
                others.append(settlement)
        with self._file.claims.writing() as connection:
            if also is not None:
                cast("Callable[[sqlite3.Connection], None]", also)(connection)
            owners = acks.keys() | {settlement.delivery.handle.owner for settlement in others}
            lost = {owner for owner in owners if not is_registered(connection, owner)}
            for owner in acks.keys() - lost:
                connection.execute(ACK, (ids(acks[owner]), owner))
            for settlement in others:
                if settlement.delivery.handle.owner not in lost:
                    self._part(connection, settlement)
        late: list[Settlement] = []
        for settlement in settlements:
            if settlement.delivery.handle.owner in lost:
                late.append(settlement)
            else:
                settlement.delivery.handle.settled = True
        if others:
            self._look = True
            self._file.tell(self.queue)
            self._file.tell(dead_queue(self.queue))
        return late

    def late(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        open_ones = [delivery for delivery in deliveries if not delivery.handle.settled]
        with self._file.claims.reading() as connection:
            owners = {delivery.handle.owner for delivery in open_ones}
            lost = {owner for owner in owners if not is_registered(connection, owner)}
        return [delivery for delivery in open_ones if delivery.handle.owner in lost]

    def _part(self, connection: sqlite3.Connection, settlement: Settlement) -> None:
        """Release or bury one message that is ours."""
        claim: SqliteHandle = settlement.delivery.handle
        if settlement.action == Action.RELEASE:
            due = time.time() + settlement.delay if settlement.delay > 0 else None
            place = claim.message
            if settlement.back:
                place = next_id(connection)
                connection.execute(TO_THE_BACK, (place, claim.message, claim.owner))
            released = (due, settlement.body, place, claim.owner)
            if connection.execute(RELEASE, released).rowcount:
                queue = number_of(connection, self.queue)
                counted(connection, queue, int(due is None), int(due is not None))
        else:
            dead = number_of(connection, dead_queue(self.queue))
            buried = (next_id(connection), dead, settlement.body, claim.message, claim.owner)
            if connection.execute(BURY, buried).rowcount:
                counted(connection, dead, 1)
            connection.execute(ACK, (ids([claim.message]), claim.owner))

    def wake(self) -> None:
        self.waker.wake()

    def keep_alive(self) -> int:
        return self._file.keep_alive([self])[0]

    def extend(self, connection: sqlite3.Connection, now: float) -> int:
        """Extend the lease, and take back what the dead left in the queue; return how much. Within
        a write transaction, in which `now` was read."""
        queue = number_of(connection, self.queue)
        if connection.execute(BEAT, (now, self._owner)).rowcount == 0:
            self._registered(connection, queue)
        dead = connection.execute(FIND_DEAD, {"queue": queue, "now": now}).fetchall()
        if not dead:
            return 0
        owners = ids(owner for (owner,) in dead)
        given_back = connection.execute(RECLAIM, (owners,)).rowcount
        counted(connection, queue, given_back)
        connection.execute(FORGET, (owners,))
        return given_back

    def beat(self) -> Beat:
        return SqliteBeat(str(self._path), self._name)

    def close(self) -> None:
        with self._file.beating:  # the heartbeat may outlive the inbox, and must not begin it anew
            if self.closed:
                return
            self.closed = True
        try:
            with self._file.claims.writing() as connection:
                given_back = connection.execute(GIVE_BACK, (self._owner,)).rowcount
                if given_back:
                    counted(connection, number_of(connection, self.queue), given_back)
                connection.execute(FORGET, (ids([self._owner]),))
            self._file.tell(self.queue)
        finally:
            self._file.leave()
