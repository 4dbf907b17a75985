"""Parked messages in an SQLite file."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fbcli.stores.facets import ParkedFacet, Waiting
from fbcli.stores.sqlite.file import SqliteFile

SCHEMA = """
CREATE TABLE IF NOT EXISTS fb_store_parked (
    line TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, due REAL NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (line, name)
);
CREATE INDEX IF NOT EXISTS fb_store_parked_by_time ON fb_store_parked (line, at);
"""
"""`at`: when to hand it out: its due time, then the end of its lease."""

READY = "SELECT 1 FROM fb_store_parked WHERE line = ? AND at <= ? LIMIT 1"
DUE = """
SELECT name, due, body FROM fb_store_parked
WHERE line = ? AND at <= ? ORDER BY at, due, name LIMIT ?
"""
FIRST = """
SELECT name, due, body FROM fb_store_parked WHERE line = ? ORDER BY at, due, name LIMIT ?
"""


class SqliteParked(ParkedFacet):
    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def park(self, line: str, waiting: Sequence[Waiting]) -> None:
        with self._file.writing() as (connection, _):
            connection.executemany(
                "INSERT OR REPLACE INTO fb_store_parked VALUES (?, ?, ?, ?, ?)",
                ((line, each.name, each.due, each.due, each.body) for each in waiting),
            )

    def due(self, line: str, limit: int, lease: float) -> list[Waiting]:
        if not self._file.read(READY, line, self._file.clock.now()):
            return []  # the common case, without the write lock
        with self._file.writing() as (connection, now):
            rows = connection.execute(DUE, (line, now, limit)).fetchall()
            connection.executemany(
                "UPDATE fb_store_parked SET at = ? WHERE line = ? AND name = ?",
                ((now + lease, line, row[0]) for row in rows),
            )
        return _in_order(rows)

    def waiting(self, line: str, limit: int) -> list[Waiting]:
        return _in_order(self._file.read(FIRST, line, limit))

    def count(self, line: str) -> int:
        query = "SELECT COUNT(*) FROM fb_store_parked WHERE line = ?"
        return int(self._file.read(query, line)[0][0])

    def lines(self) -> Collection[str]:
        return [line for (line,) in self._file.read("SELECT DISTINCT line FROM fb_store_parked")]

    def unpark(self, line: str, names: Sequence[str]) -> int:
        remove = "DELETE FROM fb_store_parked WHERE line = ? AND name = ?"
        with self._file.writing() as (connection, _):
            rows = ((line, name) for name in names)
            return max(0, connection.executemany(remove, rows).rowcount)


def _in_order(rows: list[tuple[str, float, bytes]]) -> list[Waiting]:
    """Order by the due time, those that were leased before among them."""
    return sorted((Waiting(*row) for row in rows), key=lambda each: each.due)
