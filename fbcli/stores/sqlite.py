"""A store in an SQLite file, for the processes of one host. May be the file of the sqlite broker, too.

Two connections: one writes, one reads and watches. In WAL mode a reader waits for nobody, so neither do pauses, results
and waits, however busy the writers are. What has expired is never shown, and removed little by little along the way.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from fbcli import sqlite_file
from fbcli.clock import SYSTEM, Clock
from fbcli.sqlite_file import Watch, path_of, transaction, translating
from fbcli.stores.base import Parked, Result, Store, Worker

SCHEMA = """
CREATE TABLE IF NOT EXISTS store_pauses (queue TEXT PRIMARY KEY, ends REAL);
CREATE TABLE IF NOT EXISTS store_results (
    number INTEGER PRIMARY KEY, task_id TEXT NOT NULL UNIQUE, queue TEXT NOT NULL, expires REAL NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS store_results_by_queue ON store_results (queue);
CREATE INDEX IF NOT EXISTS store_results_by_expiry ON store_results (expires);
CREATE TABLE IF NOT EXISTS store_workers (
    worker_id TEXT PRIMARY KEY, beat REAL NOT NULL, expires REAL NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS store_parked (
    scheme TEXT NOT NULL, queue TEXT NOT NULL, parked_id TEXT NOT NULL, at REAL NOT NULL, due REAL NOT NULL,
    priority INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (scheme, queue, parked_id)
);
CREATE INDEX IF NOT EXISTS store_parked_by_time ON store_parked (scheme, queue, at);
"""
"""A later result has a higher `number`. `at`: when to hand out a message: its due time, then the end of its lease."""

_RESULT = "SELECT body FROM store_results WHERE task_id = ? AND expires > ?"
_DUE = """
SELECT parked_id, due, body, priority FROM store_parked
WHERE scheme = ? AND queue = ? AND at <= ? ORDER BY at, due, parked_id LIMIT ?
"""
_PARKED = """
SELECT parked_id, due, body, priority FROM store_parked
WHERE scheme = ? AND queue = ? ORDER BY at, due, parked_id LIMIT ?
"""
_SWEEP = """
DELETE FROM store_results WHERE number IN (SELECT number FROM store_results WHERE expires <= ? LIMIT ?)
"""

SWEEP = 100
"""How many expired results one call removes, beside as many as it saves."""

POLL_SECONDS = 0.005
"""How often a wait looks whether anything was committed (7 µs a look)."""

_decode_result = msgspec.json.Decoder(Result).decode
_decode_worker = msgspec.json.Decoder(Worker).decode


class SqliteStore(Store):
    """`sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite:///~/home.db`."""

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        super().__init__(url)
        self._clock = clock
        self._writer = _Line(url)
        self._reader = _Line(url)

    # pauses
    def pause(self, queue: str, seconds: float | None = None) -> None:
        with self._writing() as (connection, now):
            ends = None if seconds is None else now + seconds
            connection.execute("INSERT OR REPLACE INTO store_pauses VALUES (?, ?)", (queue, ends))

    def resume(self, queue: str) -> bool:
        with self._writing() as (connection, now):
            left = "DELETE FROM store_pauses WHERE queue = ? AND (ends IS NULL OR ends > ?)"
            return connection.execute(left, (queue, now)).rowcount > 0

    def pauses(self) -> Mapping[str, float | None]:
        now = self._clock.now()
        rows = self._read("SELECT queue, ends FROM store_pauses WHERE ends IS NULL OR ends > ?", now)
        return {queue: None if ends is None else ends - now for queue, ends in rows}

    # results
    def save_results(self, results: Sequence[Result], ttl: float) -> None:
        if not results:
            return
        rows = [(result.task_id, result.queue, msgspec.json.encode(result)) for result in results]
        with self._writing() as (connection, now):
            connection.executemany(
                "INSERT OR REPLACE INTO store_results (task_id, queue, body, expires) VALUES (?, ?, ?, ?)",
                ((*row, now + ttl) for row in rows),
            )
            connection.execute(_SWEEP, (now, len(rows) + SWEEP))

    def result(self, task_id: str) -> Result | None:
        return self._only(self._read(_RESULT, task_id, self._clock.now()))

    def wait_result(self, task_id: str, timeout: float) -> Result | None:
        deadline = self._clock.monotonic() + timeout
        watched: sqlite3.Connection | None = None
        while True:
            with self._reader.connected() as connection:
                if watched is not connection:
                    watched, watch = connection, Watch(connection)
                rows = connection.execute(_RESULT, (task_id, self._clock.now())).fetchall() if watch.changed() else []
            left = deadline - self._clock.monotonic()
            if rows or left <= 0:
                return self._only(rows)
            time.sleep(min(left, POLL_SECONDS))

    def results(self, queue: str | None = None, limit: int = 100) -> list[Result]:
        now, limit = self._clock.now(), max(0, limit)
        newest = "SELECT body FROM store_results WHERE expires > ? ORDER BY number DESC LIMIT ?"
        of_queue = "SELECT body FROM store_results WHERE queue = ? AND expires > ? ORDER BY number DESC LIMIT ?"
        rows = self._read(newest, now, limit) if queue is None else self._read(of_queue, queue, now, limit)
        return [_decode_result(body) for (body,) in rows]

    # workers
    def beat(self, worker: Worker, ttl: float) -> None:
        body = msgspec.json.encode(worker)
        with self._writing() as (connection, now):
            row = (worker.worker_id, now, now + ttl, body)
            connection.execute("INSERT OR REPLACE INTO store_workers VALUES (?, ?, ?, ?)", row)
            connection.execute("DELETE FROM store_workers WHERE expires <= ?", (now,))
            connection.execute("DELETE FROM store_pauses WHERE ends <= ?", (now,))
            connection.execute(_SWEEP, (now, SWEEP))

    def retire(self, worker_id: str) -> None:
        with self._writing() as (connection, _):
            connection.execute("DELETE FROM store_workers WHERE worker_id = ?", (worker_id,))

    def workers(self) -> list[Worker]:
        alive = "SELECT body, beat FROM store_workers WHERE expires > ? ORDER BY worker_id"
        rows = self._read(alive, self._clock.now())
        return [msgspec.structs.replace(_decode_worker(body), beat=beat) for body, beat in rows]

    # delayed messages
    def park(self, messages: Sequence[Parked]) -> None:
        rows = [(m.scheme, m.queue, m.parked_id, m.due, m.due, m.priority, m.body) for m in messages]
        with self._writing() as (connection, _):
            connection.executemany("INSERT OR REPLACE INTO store_parked VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def due(self, queue: str, scheme: str, limit: int, lease: float) -> list[Parked]:
        ready = "SELECT 1 FROM store_parked WHERE scheme = ? AND queue = ? AND at <= ? LIMIT 1"
        if limit <= 0 or not self._read(ready, scheme, queue, self._clock.now()):
            return []  # the common case, without the write lock
        with self._writing() as (connection, now):
            rows = connection.execute(_DUE, (scheme, queue, now, limit)).fetchall()
            leased = [(now + lease, scheme, queue, row[0]) for row in rows]
            lease_one = "UPDATE store_parked SET at = ? WHERE scheme = ? AND queue = ? AND parked_id = ?"
            connection.executemany(lease_one, leased)
        return _messages(queue, scheme, rows)

    def parked(self, queue: str, scheme: str, limit: int) -> list[Parked]:
        return _messages(queue, scheme, self._read(_PARKED, scheme, queue, max(0, limit)))

    def parked_count(self, queue: str, scheme: str) -> int:
        count = "SELECT COUNT(*) FROM store_parked WHERE scheme = ? AND queue = ?"
        return int(self._read(count, scheme, queue)[0][0])

    def unpark(self, queue: str, scheme: str, parked_ids: Sequence[str]) -> int:
        remove = "DELETE FROM store_parked WHERE scheme = ? AND queue = ? AND parked_id = ?"
        with self._writing() as (connection, _):
            rows = ((scheme, queue, parked_id) for parked_id in parked_ids)
            return max(0, connection.executemany(remove, rows).rowcount)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    # the file
    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Give the connection in a transaction, and the time at which it got the lock: it may have waited long."""
        with self._writer.connected() as connection, transaction(connection):
            yield connection, self._clock.now()

    def _read(self, query: str, *values: Any) -> list[Any]:
        with self._reader.connected() as connection:
            return connection.execute(query, values).fetchall()

    @staticmethod
    def _only(rows: list[Any]) -> Result | None:
        return _decode_result(rows[0][0]) if rows else None


def _messages(queue: str, scheme: str, rows: list[Any]) -> list[Parked]:
    """Order by the due time, the ones that were leased before among them."""
    messages = [Parked(parked_id, queue, scheme, due, body, priority) for parked_id, due, body, priority in rows]
    return sorted(messages, key=lambda message: message.due)


class _Line:
    """One connection to the file, opened at first use, used by one thread at a time, and never by a forked child."""

    def __init__(self, url: str) -> None:
        self._path = path_of(url)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._inherited: list[sqlite3.Connection] = []

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; after an error the next use opens another."""
        with self._lock, translating(self._path):
            if self._connection is not None and self._process != os.getpid():
                self._inherited.append(self._connection)  # not even to be closed: sqlite.org/howtocorrupt.html
                self._connection = None
            if self._connection is None:
                self._connection, self._process = sqlite_file.connect(self._path, SCHEMA), os.getpid()
            try:
                yield self._connection
            except sqlite3.DatabaseError:
                self._close()
                raise

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
            self._connection = None
