"""Grids in an SQLite file (`fbcli.stores.grid`)."""

from __future__ import annotations

from fbcli.stores import grid
from fbcli.stores.facets import RateFacet, Tokens
from fbcli.stores.sqlite.file import SqliteFile

SCHEMA = """
CREATE TABLE IF NOT EXISTS fb_store_grids (
    key TEXT PRIMARY KEY, last REAL NOT NULL, taken REAL NOT NULL, ends REAL NOT NULL
) WITHOUT ROWID;
"""

FORGOTTEN = "SELECT 1 FROM fb_store_grids WHERE ends <= ?"
SWEEP = "DELETE FROM fb_store_grids WHERE ends <= ?"


class SqliteRates(RateFacet):
    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def take(self, key: str, qps: float, count: int, *, ahead: float, slack: float) -> Tokens:
        with self._file.scribbling() as (connection, now):
            row = connection.execute(
                "SELECT last, taken FROM fb_store_grids WHERE key = ?", (key,)
            ).fetchone()
            known = None if row is None else grid.Grid(*row)
            tokens, after = grid.take(known, now, qps, count, ahead=ahead, slack=slack)
            if after is not None:
                kept = (key, *after, grid.forgotten_at(after, qps))
                connection.execute(
                    "INSERT OR REPLACE INTO fb_store_grids VALUES (?, ?, ?, ?)", kept
                )
        return tokens
