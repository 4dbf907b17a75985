"""Results in an SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from itertools import repeat

from fbcli.clients.sqlite import ChangeWatch
from fbcli.stores.facets import ResultFacet
from fbcli.stores.sqlite.file import SqliteFile
from fbcli.stores.writes import Save

SCHEMA = """
CREATE TABLE IF NOT EXISTS fb_store_results (
    number INTEGER PRIMARY KEY, task_id TEXT NOT NULL UNIQUE, expires REAL NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS fb_store_saves (
    id INTEGER PRIMARY KEY, queue TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    expires REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS fb_store_saves_by_queue ON fb_store_saves (queue);
CREATE INDEX IF NOT EXISTS fb_store_saves_by_expiry ON fb_store_saves (expires);
"""
"""A later result has a higher `number`. Those of a queue that were saved together have numbers from
`first` to `last`: so those of a queue, and what has expired, are found without an index of single
results."""

POLL_SECONDS = 0.005
"""How often a wait looks whether anything was committed (7 µs a look)."""

GET = "SELECT body FROM fb_store_results WHERE task_id = ? AND expires > ?"
LAST = """
SELECT max(
    coalesce((SELECT max(number) FROM fb_store_results), 0),
    coalesce((SELECT last FROM fb_store_saves ORDER BY id DESC LIMIT 1), 0)
)
"""
"""The last number that was given. Note: not only of what is there, lest a number is given twice."""
SAVE = (
    "INSERT OR REPLACE INTO fb_store_results (number, task_id, body, expires) VALUES (?, ?, ?, ?)"
)
NOTE = "INSERT INTO fb_store_saves (queue, first, last, expires) VALUES (?, ?, ?, ?)"
NEWEST = "SELECT body FROM fb_store_results WHERE expires > ? ORDER BY number DESC LIMIT ?"
SAVES = "SELECT first, last FROM fb_store_saves WHERE queue = ? AND expires > ? ORDER BY id DESC"
OF_SAVE = """
SELECT body FROM fb_store_results
WHERE number BETWEEN ? AND ? AND expires > ? ORDER BY number DESC LIMIT ?
"""
EXPIRED = "SELECT id, first, last FROM fb_store_saves WHERE expires <= ? ORDER BY expires LIMIT 1"


def save(connection: sqlite3.Connection, now: float, write: Save) -> None:
    """See `Save`. Within a write transaction, begun at `now`."""
    (last,) = connection.execute(LAST).fetchone()
    expires = now + write.ttl
    numbers = range(last + 1, last + 1 + len(write.task_ids))
    connection.executemany(SAVE, zip(numbers, write.task_ids, write.bodies, repeat(expires)))
    connection.execute(NOTE, (write.queue, numbers[0], numbers[-1], expires))


def sweep(connection: sqlite3.Connection, now: float, most: int) -> int:
    """Remove up to `most` results that have expired; return how many that were, at most. Within a
    write transaction."""
    removed = 0
    while removed < most and (found := connection.execute(EXPIRED, (now,)).fetchone()):
        number, first, last = found
        end = min(last, first + most - removed - 1)
        connection.execute(
            "DELETE FROM fb_store_results WHERE number BETWEEN ? AND ? AND expires <= ?",
            (first, end, now),
        )
        removed += end - first + 1
        if end < last:
            connection.execute(
                "UPDATE fb_store_saves SET first = ? WHERE id = ?", (end + 1, number)
            )
        else:
            connection.execute("DELETE FROM fb_store_saves WHERE id = ?", (number,))
    return removed


class SqliteResults(ResultFacet):
    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        with self._file.reader.reading() as connection:
            now = self._file.clock.now()
            found = (
                (task_id, connection.execute(GET, (task_id, now)).fetchone())
                for task_id in task_ids
            )
            return {task_id: row[0] for task_id, row in found if row is not None}

    def wait(self, task_id: str, timeout: float) -> bytes | None:
        clock = self._file.clock
        deadline = clock.monotonic() + timeout
        watched: sqlite3.Connection | None = None
        while True:
            with self._file.reader.reading() as connection:
                if watched is not connection:
                    watched, watch = connection, ChangeWatch(connection)
                row = (
                    connection.execute(GET, (task_id, clock.now())).fetchone()
                    if watch.changed()
                    else None
                )
            left = deadline - clock.monotonic()
            if row is not None or left <= 0:
                return row[0] if row else None
            time.sleep(min(left, POLL_SECONDS))

    def newest(self, queue: str | None, limit: int) -> list[bytes]:
        now = self._file.clock.now()
        if queue is None:
            return [body for (body,) in self._file.read(NEWEST, now, limit)]
        found: list[bytes] = []
        with self._file.reader.reading() as connection:
            for first, last in connection.execute(SAVES, (queue, now)):
                rows = connection.execute(OF_SAVE, (first, last, now, limit - len(found)))
                found += (body for (body,) in rows)
                if len(found) >= limit:
                    break
        return found
