"""One consumer's mouth on one queue of an SQLite file: it claims, settles, and waits for news of
other processes."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fbcli.broker import Action, Delivery, Inbox, Settlement, dead_queue
from fbcli.clients.sqlite import Database
from fbcli.lease import Beat
from fbcli.platform import FileWatch, system

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
    SCHEMA,
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
    from .broker import SqliteBroker

POLL = 0.012
"""Seconds between two looks at the file's version while a consumer idles and the system does not
tell of writes: a hundredth of a core, and a push by another process is seen within about that time.
Pushes through the same `Broker` object are told at once."""

QUIET = 0.5
"""The same where the system tells: for what it may not tell, such as another file in the place of
this one."""
LAST_SPACE_SECONDS = 0.5
"""How long the end of a consumer gives back the file's space, if there is so much of it."""
EAGER = 0.0005
"""Seconds from a write to the first look whether it was a commit."""


class SqliteHandle(msgspec.Struct, gc=False):
    """The handle of a delivery."""

    owner: int
    message: int
    settled: bool = False
    """Settling it once more changes nothing, whoever holds the message by then."""


class SqliteInbox(Inbox):
    """One lease after the other of one consumer."""

    def __init__(
        self, broker: SqliteBroker, queue: str, consumer_id: str, lease: float, waker: Waker
    ) -> None:
        self._broker = broker
        self._queue = queue
        self._name = f"{consumer_id}:{os.urandom(4).hex()}"
        self._lease = lease
        self._waker = waker
        self._database = Database(broker.path, SCHEMA, synchronous="NORMAL")
        self._beats = Database(broker.path, SCHEMA, synchronous="NORMAL")
        self._beats_lock = threading.Lock()
        self._owner = new_owner()
        """Both threads replace it when its row is gone; within a write transaction, so one after
        the other."""
        self._next_due: float | None = None
        self._look = True
        """Whether there may be something that the last look did not see."""
        self._file_watch: FileWatch | None = None
        self._closed = False
        self.keep_alive()

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        deadline = time.monotonic() + wait
        while not self._closed:
            batch = self._take(limit)
            if batch or self._waker.was_woken():
                return batch
            left = deadline - time.monotonic()
            if left <= 0:
                break
            if self._next_due is not None:
                left = min(left, max(0.0005, self._next_due - time.time()))
            if limit:
                self._poll(left)
            else:
                self._waker.wait(left)
        return []

    def _poll(self, seconds: float) -> None:
        """Wait for news from other processes too. This is where an idle consumer lives."""
        if self._file_watch is None:
            self._file_watch = system.watch_file(Path(f"{self._broker.path}-wal"))
        if self._file_watch is not None:
            self._listen(self._file_watch, seconds)
            return
        wait, changed, clock = self._waker.wait, self._database.changed, time.monotonic
        end = clock() + seconds
        while not wait(min(seconds, POLL)) and not self._look:
            seconds = end - clock()
            if seconds <= 0:
                return
            if changed():
                self._look = True
                return

    def _listen(self, watch: FileWatch, seconds: float) -> None:
        """As `_poll`, where the system tells of writes to the write-ahead log.

        Note: it tells when the log is written, which is before the commit can be seen, on a slow
        disk long before. So after each write one looks again and again, less and less often.
        """
        end, pause = time.monotonic() + seconds, QUIET
        while not self._look:
            left = end - time.monotonic()
            if left <= 0:
                return
            heard = self._waker.wait_for_file(watch, min(left, pause))
            if heard == "waker":
                return
            if self._database.changed() or watch.is_stale():
                self._look = True
                if watch.is_stale():
                    self._file_watch = None
                return
            pause = EAGER if heard == "source" else min(QUIET, pause * 1.6)

    def _take(self, limit: int) -> list[Delivery]:
        """SqliteHandle what is ready, after making ready what is due."""
        due = self._next_due is not None and self._next_due <= time.time()
        if not due and not limit:
            return []
        if self._waker.has_news() or self._database.changed():
            self._look = True
        if not due and not self._look:
            return []
        with self._database.reading() as connection:
            looked = connection.execute(LOOK, (self._queue,)).fetchone()
        ready, self._next_due, many_ready, many_waiting = looked or (0, None, 0, 0)
        if (many_ready and not ready) or (many_waiting and self._next_due is None):
            self._count_anew()
        now = time.time()
        due = self._next_due is not None and self._next_due <= now
        if not due and not (ready and limit):
            self._look = bool(ready)
            return []
        rows: list[Any] = []
        owner = 0
        with self._database.writing() as connection:
            queue = number_of(connection, self._queue)
            ripe = connection.execute(RIPEN, {"queue": queue, "now": now}).rowcount if due else 0
            if limit:
                rows = connection.execute(SELECT_READY, {"queue": queue, "n": limit}).fetchall()
            if rows:
                owner = self._registered(connection, queue)
                connection.execute(CLAIM, (owner, ids([row[0] for row in rows])))
            if rows or ripe:
                left = None if len(rows) < limit else ripe - len(rows)
                counted(connection, queue, left, -ripe)
        self._look = due or len(rows) == limit
        if due:
            self._next_due = None
        return [
            Delivery(body, SqliteHandle(owner, number), lost + 1, priority)
            for number, priority, lost, body in rows
        ]

    def _count_anew(self) -> None:
        """Set right what an older fbcli, which does not count, has left wrong in the same file."""
        with self._database.writing() as connection:
            connection.execute(COUNT_ANEW, {"queue": number_of(connection, self._queue)})

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
        """`also`: statements with their values, for a store in the same file."""
        settlements = [
            settlement for settlement in settlements if not settlement.delivery.handle.settled
        ]
        statements: Any = also or ()
        if not (settlements or statements) or self._closed:
            return settlements  # closing gave them back
        acks: defaultdict[int, list[int]] = defaultdict(list)
        others: list[Settlement] = []
        for settlement in settlements:
            if settlement.action == Action.ACK:
                claim = settlement.delivery.handle
                acks[claim.owner].append(claim.message)
            else:
                others.append(settlement)
        with self._database.writing() as connection:
            for statement, values in statements:
                connection.execute(statement, values)
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
            self._broker.tell(self._queue)
            self._broker.tell(dead_queue(self._queue))
        return late

    def late(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        open_ones = [delivery for delivery in deliveries if not delivery.handle.settled]
        with self._database.reading() as connection:
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
                queue = number_of(connection, self._queue)
                counted(connection, queue, int(due is None), int(due is not None))
        else:
            dead = number_of(connection, dead_queue(self._queue))
            buried = (next_id(connection), dead, settlement.body, claim.message, claim.owner)
            if connection.execute(BURY, buried).rowcount:
                counted(connection, dead, 1)
            connection.execute(ACK, (ids([claim.message]), claim.owner))

    def wake(self) -> None:
        self._waker.wake()

    def keep_alive(self) -> int:
        with self._beats_lock:
            if self._closed:
                return 0
            with self._beats.writing() as connection:
                queue, now = number_of(connection, self._queue), time.monotonic()
                if connection.execute(BEAT, (now, self._owner)).rowcount == 0:
                    self._registered(connection, queue)
                dead = connection.execute(FIND_DEAD, {"queue": queue, "now": now}).fetchall()
                given_back = 0
                if dead:
                    owners = ids(owner for (owner,) in dead)
                    given_back = connection.execute(RECLAIM, (owners,)).rowcount
                    counted(connection, queue, given_back)
                    connection.execute(FORGET, (owners,))
            self._broker.give_back_space(self._beats)
        if given_back:
            self._broker.tell(self._queue)
        return given_back

    def beat(self) -> Beat:
        return SqliteBeat(str(self._broker.path), self._name)

    def close(self) -> None:
        with self._beats_lock:  # the heartbeat may outlive the inbox, and must not open it again
            if self._closed:
                return
            self._closed = True
            self._beats.close()
        try:
            with self._database.writing() as connection:
                given_back = connection.execute(GIVE_BACK, (self._owner,)).rowcount
                if given_back:
                    counted(connection, number_of(connection, self._queue), given_back)
                connection.execute(FORGET, (ids([self._owner]),))
            self._broker.tell(self._queue)
            self._database.give_back_space(LAST_SPACE_SECONDS)
        finally:
            self._database.close()
            self._file_watch = None
