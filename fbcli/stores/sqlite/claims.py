"""Claims and marks in the tables of an SQLite store. Each function belongs into a write transaction
of the caller, begun at `now`."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence

from fbcli.stores.base import Claim

_GRANTED, _DONE = Claim("granted"), Claim("done")

SCHEMA = """
CREATE TABLE IF NOT EXISTS store_owners (
    space TEXT NOT NULL, owner TEXT NOT NULL, ends REAL NOT NULL, PRIMARY KEY (space, owner)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS store_claims (
    space TEXT NOT NULL, key TEXT NOT NULL, owner TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (space, key, owner)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS store_claims_by_owner ON store_claims (space, owner);
CREATE TABLE IF NOT EXISTS store_marks (
    space TEXT NOT NULL, key TEXT NOT NULL, ends REAL, PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS store_marks_by_expiry ON store_marks (ends) WHERE ends IS NOT NULL;
"""
"""Whoever removes an owner removes, in the same transaction, its claims."""

AT_ONCE = 500
"""How many keys are asked about in one statement."""

_MARKED = (
    "SELECT key FROM store_marks WHERE space = ? AND key IN ({keys}) AND (ends IS NULL OR ends > ?)"
)
_CLAIMED = "SELECT key, owner, count FROM store_claims WHERE space = ? AND key IN ({keys})"
_OWN = "SELECT key, count FROM store_claims WHERE space = ? AND key IN ({keys}) AND owner = ?"
_LOWER = "UPDATE store_claims SET count = ? WHERE space = ? AND key = ? AND owner = ?"
_REMOVE = "DELETE FROM store_claims WHERE space = ? AND key IN ({keys}) AND owner = ?"
_GRANT = """
INSERT INTO store_claims VALUES (?, ?, ?, 1)
ON CONFLICT (space, key, owner) DO UPDATE SET count = count + 1
"""
_SWEEP_MARKS = """
DELETE FROM store_marks
WHERE (space, key) IN (SELECT space, key FROM store_marks WHERE ends <= ? LIMIT ?)
"""


def claim(
    connection: sqlite3.Connection,
    now: float,
    space: str,
    keys: Sequence[str],
    owner: str,
    lease: float,
    limit: int,
) -> list[Claim]:
    """See `Store.claim`."""
    sweep(connection, now, space)
    connection.execute(
        "INSERT OR REPLACE INTO store_owners VALUES (?, ?, ?)", (space, owner, now + lease)
    )
    done: set[str] = set()
    holders: dict[str, str] = {}
    totals: Counter[str] = Counter()
    for part, marks in _asked(keys):
        done.update(
            key for (key,) in connection.execute(_MARKED.format(keys=marks), (space, *part, now))
        )
        for key, holder, count in connection.execute(_CLAIMED.format(keys=marks), (space, *part)):
            totals[key] += count
            holders[key] = holder
    answers, granted = [], []
    for key in keys:
        if key in done:
            answers.append(_DONE)
        elif totals[key] < limit:
            totals[key] += 1
            holders[key] = owner
            granted.append((space, key, owner))
            answers.append(_GRANTED)
        else:
            answers.append(Claim("busy", holders.get(key, "")))
    connection.executemany(_GRANT, granted)
    return answers


def keep(
    connection: sqlite3.Connection, now: float, spaces: Sequence[str], owner: str, lease: float
) -> None:
    """See `Store.keep_claims`."""
    prolong = "UPDATE store_owners SET ends = ? WHERE space = ? AND owner = ? AND ends > ?"
    connection.executemany(prolong, ((now + lease, space, owner, now) for space in spaces))


def free(connection: sqlite3.Connection, space: str, keys: Sequence[str], owner: str) -> None:
    """See `Store.free`."""
    wanted = Counter(keys)
    for part, marks in _asked(list(wanted)):
        held = connection.execute(_OWN.format(keys=marks), (space, *part, owner))
        left = {key: count - wanted[key] for key, count in held}
        connection.executemany(
            _LOWER, [(count, space, key, owner) for key, count in left.items() if count > 0]
        )
        gone = [key for key, count in left.items() if count <= 0]
        connection.execute(_REMOVE.format(keys=_marks(gone)), (space, *gone, owner))


def drop(connection: sqlite3.Connection, owners: Sequence[tuple[str, str]]) -> None:
    """Remove owners, each with its space, and their claims."""
    connection.executemany("DELETE FROM store_owners WHERE space = ? AND owner = ?", owners)
    connection.executemany("DELETE FROM store_claims WHERE space = ? AND owner = ?", owners)


def mark(
    connection: sqlite3.Connection,
    now: float,
    space: str,
    keys: Sequence[str],
    owner: str,
    ttl: float | None,
    sweep: int,
) -> None:
    """See `Store.mark`. Removes up to `sweep` expired marks, beside as many as it makes."""
    ends = None if ttl is None else now + ttl
    connection.executemany(
        "INSERT OR REPLACE INTO store_marks VALUES (?, ?, ?)", ((space, key, ends) for key in keys)
    )
    free(connection, space, keys, owner)
    sweep_marks(connection, now, len(keys) + sweep)


def unmark(
    connection: sqlite3.Connection, now: float, space: str, keys: Sequence[str] | None
) -> int:
    """See `Store.unmark`."""
    if keys is None:
        of_space = "DELETE FROM store_marks WHERE space = ? AND (ends IS NULL OR ends > ?)"
        return connection.execute(of_space, (space, now)).rowcount
    one = "DELETE FROM store_marks WHERE space = ? AND key = ? AND (ends IS NULL OR ends > ?)"
    return max(0, connection.executemany(one, ((space, key, now) for key in keys)).rowcount)


def sweep(connection: sqlite3.Connection, now: float, space: str | None = None) -> None:
    """Remove the owners whose time is over, in one space or (None) in all."""
    over = "SELECT space, owner FROM store_owners WHERE ends <= ?"
    if space is None:
        drop(connection, connection.execute(over, (now,)).fetchall())
    else:
        drop(connection, connection.execute(f"{over} AND space = ?", (now, space)).fetchall())


def sweep_marks(connection: sqlite3.Connection, now: float, most: int) -> None:
    """Remove up to `most` expired marks."""
    connection.execute(_SWEEP_MARKS, (now, most))


def _asked(keys: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    """Yield keys in parts that one statement can take, each with its placeholders."""
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        yield part, _marks(part)


def _marks(keys: Sequence[str]) -> str:
    return ",".join("?" * len(keys))
