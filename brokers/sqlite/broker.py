"""Queues in one SQLite file: no server, and safe for any number of processes of one host.

Publishing is on the disk when it returns (`synchronous=FULL`). Claims and settlements are not
waited for: they are in the write-ahead log, in order, so a crash of the process loses none, and a
power failure can only undo the last of them, which means that those messages run again. It never
undoes a publish: the log is a prefix, and a checkpoint syncs it first
(sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

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
from fbcli.clients.sqlite import Database, path_of
from fbcli.platform import FileWatch, system

from ..waiting import Waker

SCHEMA = """
CREATE TABLE IF NOT EXISTS fb_queues(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS fb_owners(
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, consumer TEXT NOT NULL, lease REAL NOT NULL,
    beat REAL NOT NULL);
CREATE TABLE IF NOT EXISTS fb_messages(
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL, due REAL,
    owner INTEGER, lost INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS fb_ready ON fb_messages(queue, priority DESC)
    WHERE owner IS NULL AND due IS NULL;
CREATE INDEX IF NOT EXISTS fb_waiting ON fb_messages(queue, due) WHERE due IS NOT NULL;
CREATE INDEX IF NOT EXISTS fb_held ON fb_messages(owner) WHERE owner IS NOT NULL;
"""
"""A message is ready (no `owner`, no `due`), waiting (`due`, Unix time) or held (`owner`). `id` is
the order of arrival: a message that comes back keeps it, and so is ahead of all that came later.
`lost` counts the consumers that died with it. An owner is one lease of one consumer; its id is
random and never used again, so what it held can be told from what another holds now. Whoever
removes an owner gives back, in the same transaction, all that it held: so what an owner claimed is
its own as long as its row is there, and all of it is somebody else's once the row is gone. `beat`
is `time.monotonic()`, which all processes of a host share and no clock adjustment moves."""

READY = "queue = :queue AND owner IS NULL AND due IS NULL"
FIND_QUEUE = "SELECT id FROM fb_queues WHERE name = ?"
ADD_QUEUE = "INSERT INTO fb_queues(name) VALUES (?)"
LAST = "SELECT max(id) FROM fb_messages"
PUBLISH = "INSERT INTO fb_messages(id, queue, priority, due, body) VALUES (?, ?, ?, ?, ?)"
LOOK = """SELECT
    EXISTS (SELECT 1 FROM fb_messages WHERE queue = q.id AND owner IS NULL AND due IS NULL),
    (SELECT min(due) FROM fb_messages WHERE queue = q.id AND due IS NOT NULL)
    FROM fb_queues q WHERE name = ?"""
"""Whether anything is ready, and when the next that waits is due."""
RIPEN = """UPDATE fb_messages SET due = NULL WHERE id IN
    (SELECT id FROM fb_messages WHERE queue = :queue AND due <= :now ORDER BY due LIMIT 5000)"""
FIRST = "ORDER BY priority DESC, id LIMIT :n"
SELECT_READY = f"SELECT id, priority, lost, body FROM fb_messages WHERE {READY} {FIRST}"  # noqa: S608 - made of constants
CLAIM = "UPDATE fb_messages SET owner = ? WHERE id IN (SELECT value FROM json_each(?))"
ACK = "DELETE FROM fb_messages WHERE id IN (SELECT value FROM json_each(?)) AND +owner = ?"
RELEASE = (
    "UPDATE fb_messages SET owner = NULL, due = ?, body = coalesce(?, body) WHERE id = ? AND"
    " +owner = ?"
)
BURY = """INSERT INTO fb_messages(id, queue, priority, body)
    SELECT ?, ?, priority, coalesce(?, body) FROM fb_messages WHERE id = ? AND +owner = ?"""
IS_REGISTERED = "SELECT 1 FROM fb_owners WHERE id = ?"
REGISTER = "INSERT INTO fb_owners(id, queue, consumer, lease, beat) VALUES (?, ?, ?, ?, ?)"
BEAT = "UPDATE fb_owners SET beat = ? WHERE id = ?"
FIND_DEAD = (
    "SELECT id FROM fb_owners WHERE queue = :queue AND (beat + lease < :now OR beat > :now + 1)"
)
"""Note: a beat from the future was left by a process from before the host was restarted. That holds
only while each beat is read off the clock within the transaction that writes it: one read before
waiting for the lock would be older than the beats that others have written meanwhile, and take
their leases."""
FORGET = "DELETE FROM fb_owners WHERE id IN (SELECT value FROM json_each(?))"
RECLAIM = (
    "UPDATE fb_messages SET owner = NULL, lost = lost + 1 WHERE owner IN (SELECT value FROM"
    " json_each(?))"
)
GIVE_BACK = "UPDATE fb_messages SET owner = NULL WHERE owner = ?"
SIZE = """SELECT
    (SELECT count(*) FROM fb_messages WHERE queue = q.id AND owner IS NULL AND due IS NULL)
        + (SELECT count(*) FROM fb_messages WHERE queue = q.id AND due <= :now),
    (SELECT count(*) FROM fb_messages WHERE owner IN (SELECT id FROM fb_owners WHERE queue = q.id)),
    (SELECT count(*) FROM fb_messages WHERE queue = q.id AND due > :now)
    FROM fb_queues q WHERE name = :name"""
QUEUES = """SELECT name FROM fb_queues q WHERE
    EXISTS (SELECT 1 FROM fb_messages WHERE queue = q.id AND owner IS NULL AND due IS NULL)
    OR EXISTS (SELECT 1 FROM fb_messages WHERE queue = q.id AND due IS NOT NULL)
    OR EXISTS (SELECT 1 FROM fb_messages
        WHERE owner IN (SELECT id FROM fb_owners WHERE queue = q.id))"""
PEEK = f"""SELECT body FROM (
    SELECT * FROM (SELECT priority, id, body FROM fb_messages WHERE {READY} {FIRST})
    UNION ALL SELECT * FROM (
        SELECT priority, id, body FROM fb_messages WHERE queue = :queue AND due <= :now {FIRST}))
    {FIRST}"""  # noqa: S608 - made of constants
PURGE = [
    f"""DELETE FROM fb_messages WHERE id IN
    (SELECT id FROM fb_messages WHERE {which} AND id <= :last LIMIT 10000)"""  # noqa: S608 - made of constants
    for which in (READY, "queue = :queue AND due IS NOT NULL")
]
"""In steps, each using the index of what it removes, so that nobody is kept out for long."""
DELAYED = (
    "SELECT due, body, id FROM fb_messages WHERE queue = ? AND due > ? ORDER BY due, id LIMIT ?"
)
UNDELAY = (
    "DELETE FROM fb_messages WHERE queue = ? AND due IS NOT NULL AND id IN (SELECT value FROM"
    " json_each(?))"
)

POLL = 0.012
"""Seconds between two looks at the file's version while a consumer idles and the system does not
tell of writes: a hundredth of a core, and a push by another process is seen within about that time.
Pushes through the same `Broker` object are told at once."""

QUIET = 0.5
"""The same where the system tells: for what it may not tell, such as another file in the place of
this one."""
EAGER = 0.0005
"""Seconds from a write to the first look whether it was a commit."""


class SqliteBroker(Broker):
    """`sqlite:///relative.db` or `sqlite:////absolute/file.db`."""

    capabilities = Capabilities(
        reach="host",
        delay=True,
        priority=True,
        rewrite=True,
        delivery_count=True,
        peek=True,
        purge=True,
        size=True,
        queues=True,
    )
    summary = (
        "a file, the embedded default: any number of processes of one host; a push is on the disk"
        " when it returns"
    )

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.path = path_of(url)
        self._database = Database(self.path, SCHEMA)
        self._wakers: defaultdict[str, weakref.WeakSet[Waker]] = defaultdict(weakref.WeakSet)
        self._wakers_lock = threading.Lock()

    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        if not messages:
            return
        with self._database.writing() as connection:
            number, now = _number(connection, queue), time.time()
            rows = (
                (place, number, message.priority, _later(message.not_before, now), message.body)
                for place, message in enumerate(messages, _next_id(connection))
            )
            connection.executemany(PUBLISH, rows)
        self.tell(queue)

    def tell(self, queue: str) -> None:
        """Tell the consumers of this process that there is news."""
        with self._wakers_lock:
            wakers = list(self._wakers.get(queue, ()))
        for waker in wakers:
            waker.notify()

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        waker = Waker()
        with self._wakers_lock:
            self._wakers[queue].add(waker)
        return SqliteInbox(self, queue, consumer_id, lease, waker)

    def size(self, queue: str) -> Size | None:
        with self._database.reading() as connection:
            row = connection.execute(SIZE, {"name": queue, "now": time.time()}).fetchone()
        return Size(0, 0, 0) if row is None else Size(*row)

    def purge(self, queue: str) -> int:
        removed = 0
        with self._database.reading() as connection:
            number = connection.execute(FIND_QUEUE, (queue,)).fetchone()
            (last,) = connection.execute(LAST).fetchone()
        if number is None:
            return 0
        for step in PURGE:
            count = -1
            while count:
                with self._database.writing() as connection:
                    count = connection.execute(step, {"queue": number[0], "last": last}).rowcount
                removed += count
        return removed

    def peek(self, queue: str, n: int) -> list[bytes]:
        with self._database.reading() as connection:
            number = connection.execute(FIND_QUEUE, (queue,)).fetchone()
            if number is None:
                return []
            rows = connection.execute(PEEK, {"queue": number[0], "now": time.time(), "n": n})
            return [body for (body,) in rows]

    def queues(self) -> list[str]:
        with self._database.reading() as connection:
            return sorted(name for (name,) in connection.execute(QUEUES))

    def delayed(self, queue: str, n: int) -> list[Delayed]:
        with self._database.reading() as connection:
            number = connection.execute(FIND_QUEUE, (queue,)).fetchone()
            rows = (
                connection.execute(DELAYED, (number[0], time.time(), n)).fetchall()
                if number
                else []
            )
        return [Delayed(due, body, handle) for due, body, handle in rows]

    def undelay(self, queue: str, handles: Sequence[Any]) -> int:
        with self._database.writing() as connection:
            number = connection.execute(FIND_QUEUE, (queue,)).fetchone()
            return connection.execute(UNDELAY, (number[0], _ids(handles))).rowcount if number else 0

    def close(self) -> None:
        self._database.close()


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
        self._consumer_id = consumer_id
        self._lease = lease
        self._waker = waker
        self._database = Database(broker.path, SCHEMA, synchronous="NORMAL")
        self._beats = Database(broker.path, SCHEMA, synchronous="NORMAL")
        self._beats_lock = threading.Lock()
        self._owner = _new_owner()
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
            ready, self._next_due = connection.execute(LOOK, (self._queue,)).fetchone() or (0, None)
        now = time.time()
        due = self._next_due is not None and self._next_due <= now
        if not due and not (ready and limit):
            self._look = bool(ready)
            return []
        rows: list[Any] = []
        owner = 0
        with self._database.writing() as connection:
            queue = _number(connection, self._queue)
            if due:
                connection.execute(RIPEN, {"queue": queue, "now": now})
            if limit:
                rows = connection.execute(SELECT_READY, {"queue": queue, "n": limit}).fetchall()
            if rows:
                owner = self._registered(connection, queue)
                connection.execute(CLAIM, (owner, _ids([row[0] for row in rows])))
        self._look = due or len(rows) == limit
        if due:
            self._next_due = None
        return [
            Delivery(body, SqliteHandle(owner, number), lost + 1, priority)
            for number, priority, lost, body in rows
        ]

    def _registered(self, connection: sqlite3.Connection, queue: int) -> int:
        """Return the owner of what is claimed now; a new one when the lease was lost. Within a
        write transaction."""
        if not _is_registered(connection, self._owner):
            self._owner = _new_owner()
            row = (self._owner, queue, self._consumer_id, self._lease, time.monotonic())
            connection.execute(REGISTER, row)
        return self._owner

    def settle(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        settlements = [
            settlement for settlement in settlements if not settlement.delivery.handle.settled
        ]
        if not settlements or self._closed:
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
            owners = acks.keys() | {settlement.delivery.handle.owner for settlement in others}
            lost = {owner for owner in owners if not _is_registered(connection, owner)}
            for owner in acks.keys() - lost:
                connection.execute(ACK, (_ids(acks[owner]), owner))
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

    def _part(self, connection: sqlite3.Connection, settlement: Settlement) -> None:
        """Release or bury one message that is ours."""
        claim: SqliteHandle = settlement.delivery.handle
        if settlement.action == Action.RELEASE:
            due = time.time() + settlement.delay if settlement.delay > 0 else None
            connection.execute(RELEASE, (due, settlement.body, claim.message, claim.owner))
        else:
            place = _next_id(connection), _number(connection, dead_queue(self._queue))
            connection.execute(BURY, (*place, settlement.body, claim.message, claim.owner))
            connection.execute(ACK, (_ids([claim.message]), claim.owner))

    def wake(self) -> None:
        self._waker.wake()

    def keep_alive(self) -> int:
        with self._beats_lock:
            if self._closed:
                return 0
            with self._beats.writing() as connection:
                queue, now = _number(connection, self._queue), time.monotonic()
                if connection.execute(BEAT, (now, self._owner)).rowcount == 0:
                    self._registered(connection, queue)
                dead = _ids(
                    owner
                    for (owner,) in connection.execute(FIND_DEAD, {"queue": queue, "now": now})
                )
                given_back = connection.execute(RECLAIM, (dead,)).rowcount
                connection.execute(FORGET, (dead,))
        if given_back:
            self._broker.tell(self._queue)
        return given_back

    def close(self) -> None:
        with self._beats_lock:  # the heartbeat may outlive the inbox, and must not open it again
            if self._closed:
                return
            self._closed = True
            self._beats.close()
        try:
            with self._database.writing() as connection:
                connection.execute(GIVE_BACK, (self._owner,))
                connection.execute(FORGET, (_ids([self._owner]),))
            self._broker.tell(self._queue)
        finally:
            self._database.close()
            self._file_watch = None


def _number(connection: sqlite3.Connection, queue: str) -> int:
    """Return the number of a queue, which gets one when it has none. Within a write transaction."""
    row = connection.execute(FIND_QUEUE, (queue,)).fetchone()
    return row[0] if row else connection.execute(ADD_QUEUE, (queue,)).lastrowid or 0


def _later(not_before: float | None, now: float) -> float | None:
    return not_before if not_before is not None and not_before > now else None


def _next_id(connection: sqlite3.Connection) -> int:
    """Return the first of the ids to give to messages that arrive now. Within a write transaction.

    Microseconds of Unix time, unless the clock went back or many came at once. So an id is not used
    again when its message is gone, as SQLite's own would be: whoever still has it, to cancel a
    delayed message, must not hit another one.
    """
    (last,) = connection.execute(LAST).fetchone()
    return max(time.time_ns() // 1000, (last or 0) + 1)


def _is_registered(connection: sqlite3.Connection, owner: int) -> bool:
    return connection.execute(IS_REGISTERED, (owner,)).fetchone() is not None


def _new_owner() -> int:
    """Return a number that no owner ever had."""
    return int.from_bytes(os.urandom(8), "big") >> 1


def _ids(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"
