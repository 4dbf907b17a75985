"""A store in an SQLite file, for the processes of one host. May be the file of the sqlite broker,
too.

Three connections. One reads and watches: in WAL mode a reader waits for nobody, so neither do
pauses, results and waits, however busy the writers are. One writes what is on the disk when it
returns. One writes what ends by itself soon (beats, tokens, claims of consumers) and does not wait
for the disk: a crash of the process loses none of it, a power failure perhaps the last. What has
expired is never shown, and removed little by little along the way.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from fbcli.clients.sqlite import ChangeWatch, Database, path_of
from fbcli.clock import SYSTEM, Clock
from fbcli.stores import grid
from fbcli.stores.base import Claim, ConsumerRecord, Limits, News, Parked, Result, Store, Tokens
from fbcli.stores.sqlite import claims

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS store_pauses (queue TEXT PRIMARY KEY, ends REAL);
CREATE TABLE IF NOT EXISTS store_limits (queue TEXT PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS store_cancels (
    task_id TEXT PRIMARY KEY, ends REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS store_grids (
    key TEXT PRIMARY KEY, last REAL NOT NULL, taken REAL NOT NULL, ends REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS store_results (
    number INTEGER PRIMARY KEY, task_id TEXT NOT NULL UNIQUE, queue TEXT NOT NULL,
    expires REAL NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS store_results_by_queue ON store_results (queue);
CREATE INDEX IF NOT EXISTS store_results_by_expiry ON store_results (expires);
CREATE TABLE IF NOT EXISTS store_consumers (
    consumer_id TEXT PRIMARY KEY, beat REAL NOT NULL, expires REAL NOT NULL, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS store_parked (
    scheme TEXT NOT NULL, queue TEXT NOT NULL, parked_id TEXT NOT NULL, at REAL NOT NULL,
    due REAL NOT NULL, priority INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (scheme, queue, parked_id)
);
CREATE INDEX IF NOT EXISTS store_parked_by_time ON store_parked (scheme, queue, at);
{claims.SCHEMA}"""
"""A later result has a higher `number`. `at`: when to hand out a message: its due time, then the
end of its lease. A grid: see `fbcli.stores.grid`."""

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
DELETE FROM store_results
WHERE number IN (SELECT number FROM store_results WHERE expires <= ? LIMIT ?)
"""

SWEEP = 100
"""How many expired results (or marks) one call removes, beside as many as it saves."""

BRIEF = 60.0
"""Seconds. Claims that end by themselves sooner need not be on the disk: whoever holds them is gone
after a power failure."""

SPACE_SECONDS = 0.02
"""How long one beat gives back the file's space."""

POLL_SECONDS = 0.005
"""How often a wait looks whether anything was committed (7 µs a look)."""

_decode_limits = msgspec.json.Decoder(Limits).decode
_decode_result = msgspec.json.Decoder(Result).decode
_decode_record = msgspec.json.Decoder(ConsumerRecord).decode


class SqliteStore(Store):
    """`sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite:///~/home.db`."""

    reach = "host"

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        super().__init__(url)
        self._clock = clock
        path = path_of(url)
        self._writer = Database(path, SCHEMA)
        self._scribbler = Database(path, SCHEMA, synchronous="NORMAL")
        self._reader = Database(path, SCHEMA, synchronous="NORMAL")

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
        with self._reader.reading() as connection:
            return _pauses(connection, self._clock.now())

    # limits
    def limit(self, queue: str, limits: Limits) -> None:
        with self._writing() as (connection, _):
            connection.execute(
                "INSERT OR REPLACE INTO store_limits VALUES (?, ?)",
                (queue, msgspec.json.encode(limits)),
            )

    def unlimit(self, queue: str) -> bool:
        with self._writing() as (connection, _):
            return (
                connection.execute("DELETE FROM store_limits WHERE queue = ?", (queue,)).rowcount
                > 0
            )

    def limits(self) -> Mapping[str, Limits]:
        with self._reader.reading() as connection:
            return _limits(connection)

    # cancelled tasks
    def request_cancel(self, task_ids: Sequence[str], ttl: float) -> None:
        with self._writing() as (connection, now):
            rows = ((task_id, now + ttl) for task_id in task_ids)
            connection.executemany("INSERT OR REPLACE INTO store_cancels VALUES (?, ?)", rows)

    def cancels(self) -> Collection[str]:
        with self._reader.reading() as connection:
            return _cancels(connection, self._clock.now())

    def end_cancels(self, task_ids: Sequence[str]) -> None:
        with self._writing() as (connection, _):
            connection.executemany(
                "DELETE FROM store_cancels WHERE task_id = ?", ((task_id,) for task_id in task_ids)
            )

    def news(self) -> News:
        with self._reader.reading() as connection:
            now = self._clock.now()
            return News(_pauses(connection, now), _limits(connection), _cancels(connection, now))

    # shared rates
    def take_tokens(
        self, key: str, qps: float, count: int, *, ahead: float, slack: float
    ) -> Tokens:
        with self._scribbling() as (connection, now):
            row = connection.execute(
                "SELECT last, taken FROM store_grids WHERE key = ?", (key,)
            ).fetchone()
            known = None if row is None else grid.Grid(*row)
            tokens, after = grid.take(known, now, qps, count, ahead=ahead, slack=slack)
            if after is not None:
                kept = (key, *after, grid.forgotten_at(after, qps))
                connection.execute("INSERT OR REPLACE INTO store_grids VALUES (?, ?, ?, ?)", kept)
        return tokens

    # claims
    def claim(
        self, space: str, keys: Sequence[str], *, owner: str, lease: float, limit: int = 1
    ) -> list[Claim]:
        if not keys:
            return []
        with self._scribbling() if lease <= BRIEF else self._writing() as (connection, now):
            return claims.claim(connection, now, space, keys, owner, lease, limit)

    def keep_claims(self, spaces: Sequence[str], owner: str, lease: float) -> None:
        with self._scribbling() if lease <= BRIEF else self._writing() as (connection, now):
            claims.keep(connection, now, spaces, owner, lease)

    def free(self, space: str, keys: Sequence[str], *, owner: str) -> None:
        if not keys:
            return
        lasting = "SELECT 1 FROM store_owners WHERE space = ? AND owner = ? AND ends > ?"
        lasts = self._read(lasting, space, owner, self._clock.now() + BRIEF)
        with self._writing() if lasts else self._scribbling() as (connection, _):
            claims.free(connection, space, keys, owner)

    def drop_claims(self, spaces: Sequence[str], owner: str) -> None:
        with self._writing() as (connection, _):
            claims.drop(connection, [(space, owner) for space in spaces])

    def mark(self, space: str, keys: Sequence[str], *, owner: str, ttl: float | None) -> None:
        if keys:
            with self._writing() as (connection, now):
                claims.mark(connection, now, space, keys, owner, ttl, SWEEP)

    def unmark(self, space: str, keys: Sequence[str] | None = None) -> int:
        with self._writing() as (connection, now):
            return claims.unmark(connection, now, space, keys)

    # results
    def save_results(self, results: Sequence[Result], ttl: float) -> None:
        if not results:
            return
        rows = [(result.task_id, result.queue, msgspec.json.encode(result)) for result in results]
        with self._writing() as (connection, now):
            connection.executemany(
                "INSERT OR REPLACE INTO store_results (task_id, queue, body, expires) VALUES (?, ?,"
                " ?, ?)",
                ((*row, now + ttl) for row in rows),
            )
            connection.execute(_SWEEP, (now, len(rows) + SWEEP))

    def result(self, task_id: str) -> Result | None:
        return self._only(self._read(_RESULT, task_id, self._clock.now()))

    def results_of(self, task_ids: Sequence[str]) -> Mapping[str, Result]:
        with self._reader.reading() as connection:
            now = self._clock.now()
            found = (
                (task_id, connection.execute(_RESULT, (task_id, now)).fetchall())
                for task_id in task_ids
            )
            return {task_id: _decode_result(rows[0][0]) for task_id, rows in found if rows}

    def wait_result(self, task_id: str, timeout: float) -> Result | None:
        deadline = self._clock.monotonic() + timeout
        watched: sqlite3.Connection | None = None
        while True:
            with self._reader.reading() as connection:
                if watched is not connection:
                    watched, watch = connection, ChangeWatch(connection)
                rows = (
                    connection.execute(_RESULT, (task_id, self._clock.now())).fetchall()
                    if watch.changed()
                    else []
                )
            left = deadline - self._clock.monotonic()
            if rows or left <= 0:
                return self._only(rows)
            time.sleep(min(left, POLL_SECONDS))

    def results(self, queue: str | None = None, limit: int = 100) -> list[Result]:
        now, limit = self._clock.now(), max(0, limit)
        newest = "SELECT body FROM store_results WHERE expires > ? ORDER BY number DESC LIMIT ?"
        of_queue = (
            "SELECT body FROM store_results WHERE queue = ? AND expires > ? ORDER BY number DESC"
            " LIMIT ?"
        )
        rows = (
            self._read(newest, now, limit)
            if queue is None
            else self._read(of_queue, queue, now, limit)
        )
        return [_decode_result(body) for (body,) in rows]

    # consumers
    def beat(self, records: Sequence[ConsumerRecord], ttl: float) -> None:
        bodies = [(record.consumer_id, msgspec.json.encode(record)) for record in records]
        with self._scribbling() as (connection, now):
            connection.executemany(
                "INSERT OR REPLACE INTO store_consumers VALUES (?, ?, ?, ?)",
                ((consumer_id, now, now + ttl, body) for consumer_id, body in bodies),
            )
            connection.execute("DELETE FROM store_consumers WHERE expires <= ?", (now,))
            connection.execute("DELETE FROM store_pauses WHERE ends <= ?", (now,))
            connection.execute("DELETE FROM store_cancels WHERE ends <= ?", (now,))
            connection.execute("DELETE FROM store_grids WHERE ends <= ?", (now,))
            connection.execute(_SWEEP, (now, SWEEP))
            claims.sweep(connection, now)
            claims.sweep_marks(connection, now, SWEEP)
        self._scribbler.give_back_space(SPACE_SECONDS)

    def retire(self, consumer_ids: Sequence[str]) -> None:
        with self._scribbling() as (connection, _):
            connection.executemany(
                "DELETE FROM store_consumers WHERE consumer_id = ?",
                ((consumer_id,) for consumer_id in consumer_ids),
            )

    def consumers(self) -> list[ConsumerRecord]:
        alive = "SELECT body, beat FROM store_consumers WHERE expires > ? ORDER BY consumer_id"
        rows = self._read(alive, self._clock.now())
        return [msgspec.structs.replace(_decode_record(body), beat=beat) for body, beat in rows]

    # delayed messages
    def park(self, messages: Sequence[Parked]) -> None:
        rows = [
            (m.scheme, m.queue, m.parked_id, m.due, m.due, m.priority, m.body) for m in messages
        ]
        with self._writing() as (connection, _):
            connection.executemany(
                "INSERT OR REPLACE INTO store_parked VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )

    def due(self, queue: str, scheme: str, limit: int, lease: float) -> list[Parked]:
        ready = "SELECT 1 FROM store_parked WHERE scheme = ? AND queue = ? AND at <= ? LIMIT 1"
        if limit <= 0 or not self._read(ready, scheme, queue, self._clock.now()):
            return []  # the common case, without the write lock
        with self._writing() as (connection, now):
            rows = connection.execute(_DUE, (scheme, queue, now, limit)).fetchall()
            leased = [(now + lease, scheme, queue, row[0]) for row in rows]
            lease_one = (
                "UPDATE store_parked SET at = ? WHERE scheme = ? AND queue = ? AND parked_id = ?"
            )
            connection.executemany(lease_one, leased)
        return _messages(queue, scheme, rows)

    def parked(self, queue: str, scheme: str, limit: int) -> list[Parked]:
        return _messages(queue, scheme, self._read(_PARKED, scheme, queue, max(0, limit)))

    def parked_count(self, queue: str, scheme: str) -> int:
        count = "SELECT COUNT(*) FROM store_parked WHERE scheme = ? AND queue = ?"
        return int(self._read(count, scheme, queue)[0][0])

    def parked_queues(self, scheme: str) -> Collection[str]:
        return [
            queue
            for (queue,) in self._read(
                "SELECT DISTINCT queue FROM store_parked WHERE scheme = ?", scheme
            )
        ]

    def unpark(self, queue: str, scheme: str, parked_ids: Sequence[str]) -> int:
        remove = "DELETE FROM store_parked WHERE scheme = ? AND queue = ? AND parked_id = ?"
        with self._writing() as (connection, _):
            rows = ((scheme, queue, parked_id) for parked_id in parked_ids)
            return max(0, connection.executemany(remove, rows).rowcount)

    def close(self) -> None:
        for database in (self._writer, self._scribbler, self._reader):
            database.close()

    # the file
    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Give a connection in a transaction, and the time at which it got the lock: it may have
        waited long."""
        with self._writer.writing() as connection:
            yield connection, self._clock.now()

    @contextmanager
    def _scribbling(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """The same, for what need not be on the disk."""
        with self._scribbler.writing() as connection:
            yield connection, self._clock.now()

    def _read(self, query: str, *values: Any) -> list[Any]:
        with self._reader.reading() as connection:
            return connection.execute(query, values).fetchall()

    @staticmethod
    def _only(rows: list[Any]) -> Result | None:
        return _decode_result(rows[0][0]) if rows else None


def _messages(queue: str, scheme: str, rows: list[Any]) -> list[Parked]:
    """Order by the due time, the ones that were leased before among them."""
    messages = [
        Parked(parked_id, queue, scheme, due, body, priority)
        for parked_id, due, body, priority in rows
    ]
    return sorted(messages, key=lambda message: message.due)


def _pauses(connection: sqlite3.Connection, now: float) -> dict[str, float | None]:
    rows = connection.execute(
        "SELECT queue, ends FROM store_pauses WHERE ends IS NULL OR ends > ?", (now,)
    )
    return {queue: None if ends is None else ends - now for queue, ends in rows}


def _limits(connection: sqlite3.Connection) -> dict[str, Limits]:
    return {
        queue: _decode_limits(body)
        for queue, body in connection.execute("SELECT queue, body FROM store_limits")
    }


def _cancels(connection: sqlite3.Connection, now: float) -> frozenset[str]:
    return frozenset(
        task_id
        for (task_id,) in connection.execute(
            "SELECT task_id FROM store_cancels WHERE ends > ?", (now,)
        )
    )
