"""Queues in one SQLite file: no server, and safe for any number of processes of one host.

Publishing is on the disk when it returns (`synchronous=FULL`). Claims and settlements are not
waited for: they are in the write-ahead log, in order, so a crash of the process loses none, and a
power failure can only undo the last of them, which means that those messages run again. It never
undoes a publish: the log is a prefix, and a checkpoint syncs it first
(sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from fbcli.broker import ID_SECONDS, Broker, Capabilities, Delayed, Inbox, Outgoing, Size
from fbcli.clients.sqlite import Database, path_of

from .file import file_in_use, open_file
from .tables import (
    BROWSE_DUE,
    BROWSE_READY,
    DELAYED,
    FORGET_IDS,
    LAST,
    PEEK,
    PUBLISH,
    PURGE_READY,
    PURGE_WAITING,
    QUEUES,
    REMEMBER,
    SCHEMA,
    SIZE,
    UNDELAY,
    counted,
    find_number,
    ids,
    later,
    next_id,
    number_of,
)

if TYPE_CHECKING:
    from .inbox import SqliteInbox

PURGED_SECONDS = 2.0
"""How long a purge gives back the file's space."""


class SqliteBroker(Broker):
    """`sqlite:///relative.db` or `sqlite:////absolute/file.db`."""

    also = "sqlite"
    capabilities = Capabilities(
        confirm=True,
        ack=True,
        durable=True,
        fencing=True,
        lease="beat",
        reach="host",
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
    summary = (
        "a file, the embedded default: any number of processes of one host; a push is on the disk"
        " when it returns"
    )

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.path = path_of(url)
        self._database = Database(self.path, SCHEMA)

    def publish(self, queue: str, messages: Sequence[Outgoing]) -> None:
        if not messages:
            return
        with self._database.writing() as connection:
            number, now = number_of(connection, queue), time.time()
            if any(message.id is not None for message in messages):
                messages = _fresh(connection, queue, messages, now)
            rows = [
                (place, number, message.priority, later(message.not_before, now), message.body)
                for place, message in enumerate(messages, next_id(connection))
            ]
            connection.executemany(PUBLISH, rows)
            waiting = sum(row[3] is not None for row in rows)
            counted(connection, number, len(rows) - waiting, waiting)
        file = file_in_use(self.path)
        if file is not None:
            file.tell(queue)

    def open(self, queue: str, *, consumer_id: str, prefetch: int, lease: float) -> Inbox:
        from .inbox import SqliteInbox  # noqa: PLC0415  8 ms that a push does not need

        return SqliteInbox(open_file(self.path), self.path, queue, consumer_id, lease)

    def keep_alive(self, inboxes: Sequence[Inbox]) -> Sequence[int]:
        return open_file(self.path).keep_alive(cast("Sequence[SqliteInbox]", inboxes))

    def size(self, queue: str) -> Size:
        with self._database.reading() as connection:
            row = connection.execute(SIZE, {"name": queue, "now": time.time()}).fetchone()
        if row is None:
            return Size(0, 0, 0)
        ready, held, waiting, due = row
        return Size(ready + due, held, waiting - due)

    def purge(self, queue: str) -> int:
        removed = 0
        with self._database.reading() as connection:
            (last,) = connection.execute(LAST).fetchone()
        left = True
        while left:
            with self._database.writing() as connection:
                which = {"queue": find_number(connection, queue), "last": last}
                ready = connection.execute(PURGE_READY, which).rowcount
                waiting = 0 if ready else connection.execute(PURGE_WAITING, which).rowcount
                left = ready + waiting > 0
                if left:
                    counted(connection, which["queue"], -ready, -waiting)
            removed += ready + waiting
        if removed:
            self._database.give_back_space(PURGED_SECONDS)
        return removed

    def peek(self, queue: str, n: int) -> list[bytes]:
        with self._database.reading() as connection:
            number = find_number(connection, queue)
            rows = connection.execute(PEEK, {"queue": number, "now": time.time(), "n": n})
            return [body for (body,) in rows]

    def browse(self, queue: str) -> Iterator[Sequence[bytes]]:
        """Those that are due by now come last."""
        for priority in range(9, -1, -1):
            number = 0
            while rows := self._rows(BROWSE_READY, name=queue, priority=priority, id=number):
                yield [body for _, body in rows]
                number = rows[-1][0]
        number, due, now = 0, 0.0, time.time()
        while rows := self._rows(BROWSE_DUE, name=queue, now=now, due=due, id=number):
            yield [body for _, body, _ in rows]
            number, _, due = rows[-1]

    def _rows(self, statement: str, **values: Any) -> list[Any]:
        with self._database.reading() as connection:
            return connection.execute(statement, values).fetchall()

    def queues(self) -> list[str]:
        with self._database.reading() as connection:
            return sorted(name for (name,) in connection.execute(QUEUES))

    def delayed(self, queue: str, n: int) -> list[Delayed]:
        with self._database.reading() as connection:
            number = find_number(connection, queue)
            rows = connection.execute(DELAYED, (number, time.time(), n)).fetchall()
        return [Delayed(due, body, handle) for due, body, handle in rows]

    def undelay(self, queue: str, handles: Sequence[Any]) -> int:
        with self._database.writing() as connection:
            number = find_number(connection, queue)
            removed = connection.execute(UNDELAY, (number, ids(handles))).rowcount
            if removed:
                counted(connection, number, waiting=-removed)
        return removed

    def close(self) -> None:
        self._database.close()


def _fresh(
    connection: sqlite3.Connection, queue: str, messages: Sequence[Outgoing], now: float
) -> list[Outgoing]:
    """Return the messages whose ids are new, and remember these. Within a write transaction."""
    connection.execute(FORGET_IDS, {"now": now, "n": 2 * len(messages)})

    def is_new(message: Outgoing) -> bool:
        row = {"queue": queue, "id": message.id, "now": now, "until": now + ID_SECONDS}
        return message.id is None or connection.execute(REMEMBER, row).rowcount > 0

    return [message for message in messages if is_new(message)]
