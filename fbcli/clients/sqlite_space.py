"""How an SQLite file gives back to the disk what a backlog has left: in steps so short that no
writer notices, taken by whoever has time. Knows no tables."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

SLACK_BYTES = 1024 * 1024
"""So much a file may hold beyond its content; what comes next fills it."""

REWRITTEN_BYTES = 2 * 1024 * 1024
"""Content up to this size is written anew at once, which takes about 5 ms, however much else the
file held."""

STEP_PAGES = 500
"""Of a file with more content, so many pages are moved and cut off in one step: 2 to 10 ms."""

LOG_BYTES = 6 * 1024 * 1024
"""A write-ahead log that is larger is cut; SQLite keeps it at 4 MiB as long as readers let it."""

PATIENCE_MS = 10
"""How long cutting the log may keep writers out, waiting for readers."""


def make_shrinkable(connection: sqlite3.Connection) -> None:
    """Let a file that holds nothing yet be cut page by page later. One that holds something stays
    as it is until it is written anew (sqlite.org/pragma.html#pragma_auto_vacuum); to say it again
    to one that can be cut writes to it, though."""
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")


def give_back(connection: sqlite3.Connection, path: Path) -> bool:
    """Take one step, in no transaction; return whether the next one may follow at once.

    Does nothing while others write, or when there is little to gain. Leaves the busy timeout of the
    connection at 0. Note: a file without incremental vacuum (made by an older fbcli) is cut only
    when it is nearly empty, since to write much anew would keep writers out for seconds.
    """
    page, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    content = (pages - free) * page
    wasted = free * page > max(SLACK_BYTES, content // 2)
    connection.execute("PRAGMA busy_timeout=0")
    with suppress(sqlite3.OperationalError):  # somebody else writes just now, or the disk is full
        can_be_cut = bool(connection.execute("PRAGMA auto_vacuum").fetchone()[0])
        if wasted and (can_be_cut or content <= REWRITTEN_BYTES):
            _write_log(connection)
            if content > REWRITTEN_BYTES:
                # One page each time it is stepped, which `execute` does only once: hence a script.
                connection.executescript(f"PRAGMA incremental_vacuum({STEP_PAGES})")
                _write_log(connection)
            else:
                if not can_be_cut:
                    make_shrinkable(connection)
                connection.execute("VACUUM")
                _cut_log(connection)
            return True
        if _size(path) > pages * page + SLACK_BYTES or _size(f"{path}-wal") > LOG_BYTES:
            _cut_log(connection)
    return False


def _write_log(connection: sqlite3.Connection) -> bool:
    """Write what the log holds into the file, which thereby gets its new size; keeps nobody out.
    Return whether all of it was written; else somebody still reads the rest.

    Note: who commits when the log has become long does that, too, and waits for it. Where the file
    shrinks by 100 MB, the file system takes 0.2 s, which must not fall to somebody who pushes.
    """
    _, logged, written = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return bool(logged == written)


def _cut_log(connection: sqlite3.Connection) -> None:
    """Note: that keeps writers out, but there is next to nothing left to write then."""
    if _write_log(connection):
        connection.execute(f"PRAGMA busy_timeout={PATIENCE_MS}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _size(path: Path | str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
