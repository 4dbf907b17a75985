"""Notices in an SQLite file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fbcli.stores.facets import Notice, NoticeFacet
from fbcli.stores.sqlite.file import SqliteFile, listed

SCHEMA = """
CREATE TABLE IF NOT EXISTS fb_store_notices (
    kind TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, ends REAL, body BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fb_store_notices_by_end ON fb_store_notices (ends)
    WHERE ends IS NOT NULL;
"""

READ = """
SELECT kind, name, at, ends, body FROM fb_store_notices
WHERE kind IN (SELECT value FROM json_each(?)) AND (ends IS NULL OR ends > ?)
"""
REMOVE = """
DELETE FROM fb_store_notices
WHERE kind = ? AND name = ? AND (ends IS NULL OR ends > ?)
"""
ENDED = "SELECT 1 FROM fb_store_notices WHERE ends <= ? LIMIT 1"
SWEEP = """
DELETE FROM fb_store_notices
WHERE (kind, name) IN (SELECT kind, name FROM fb_store_notices WHERE ends <= ? LIMIT ?)
"""


class SqliteNotices(NoticeFacet):
    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def put(self, kind: str, bodies: Mapping[str, bytes], ttl: float | None) -> None:
        with self._file.writing_for(ttl) as (connection, now):
            ends = None if ttl is None else now + ttl
            connection.executemany(
                "INSERT OR REPLACE INTO fb_store_notices VALUES (?, ?, ?, ?, ?)",
                ((kind, name, now, ends, body) for name, body in bodies.items()),
            )

    def remove(self, kind: str, names: Collection[str]) -> int:
        with self._file.writing() as (connection, now):
            rows = ((kind, name, now) for name in names)
            return max(0, connection.executemany(REMOVE, rows).rowcount)

    def read(self, kinds: Sequence[str]) -> list[dict[str, Notice]]:
        found: dict[str, dict[str, Notice]] = {kind: {} for kind in kinds}
        now = self._file.clock.now()
        for kind, name, at, ends, body in self._file.read(READ, listed(kinds), now):
            found[kind][name] = Notice(body, at, None if ends is None else ends - now)
        return [found[kind] for kind in kinds]
