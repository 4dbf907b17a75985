"""Claims and marks in an SQLite file. The functions belong into a write transaction of the caller,
begun at `now`."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence

from fbcli.stores.facets import BUSY, DONE, GRANTED, ClaimFacet
from fbcli.stores.sqlite.file import BRIEF, SqliteFile, listed, storable
from fbcli.stores.writes import Free, Mark

SCHEMA = """
CREATE TABLE IF NOT EXISTS fb_store_spaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS fb_store_owners (
    id INTEGER PRIMARY KEY, space INTEGER NOT NULL, name TEXT NOT NULL, ends REAL NOT NULL,
    UNIQUE (space, name)
);
CREATE TABLE IF NOT EXISTS fb_store_claims (
    space INTEGER NOT NULL, key TEXT NOT NULL, owner INTEGER NOT NULL, token TEXT NOT NULL,
    PRIMARY KEY (space, key, owner, token)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fb_store_marks (
    space INTEGER NOT NULL, key TEXT NOT NULL, ends REAL, PRIMARY KEY (space, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fb_store_markings (
    id INTEGER PRIMARY KEY, space INTEGER NOT NULL, ends REAL NOT NULL, keys TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS fb_store_markings_by_end ON fb_store_markings (ends);
"""
"""Whoever removes an owner removes, in the same transaction, its claims. Keys that were marked
together stand together once more with their end: so what has ended is found without an index of
single marks."""

MARKED_AT_ONCE = 1000
"""How many keys stand together at most."""

MARKED = """
SELECT key FROM fb_store_marks
WHERE space = ? AND key IN (SELECT value FROM json_each(?)) AND (ends IS NULL OR ends > ?)
"""
ANY_MARK = "SELECT 1 FROM fb_store_marks WHERE space = ? LIMIT 1"
CLAIMED = """
SELECT key, owner, token FROM fb_store_claims
WHERE space = ? AND key IN (SELECT value FROM json_each(?))
"""
GRANT = "INSERT INTO fb_store_claims VALUES (?, ?, ?, ?)"
GRANT_COUNTED = """
INSERT INTO fb_store_claims SELECT ?, value, ?, CAST(? + key AS TEXT) FROM json_each(?)
"""
OWN = """
INSERT INTO fb_store_owners (space, name, ends) VALUES (?, ?, ?)
ON CONFLICT (space, name) DO UPDATE SET ends = excluded.ends
"""
OWNER = "SELECT id FROM fb_store_owners WHERE space = ? AND name = ?"
DEAD = "SELECT id FROM fb_store_owners WHERE space = ? AND ends <= ?"
OVER = "SELECT space, id FROM fb_store_owners WHERE ends <= ?"
KEEP = """
UPDATE fb_store_owners SET ends = ?
WHERE space = (SELECT id FROM fb_store_spaces WHERE name = ?) AND name = ? AND ends > ?
"""
LASTING = """
SELECT 1 FROM fb_store_owners
WHERE space = (SELECT id FROM fb_store_spaces WHERE name = ?) AND name = ? AND ends > ?
"""
FREE = "DELETE FROM fb_store_claims WHERE space = ? AND key = ? AND owner = ? AND token = ?"
MARK = "INSERT OR REPLACE INTO fb_store_marks SELECT ?, value, ? FROM json_each(?)"
UNMARK = """
DELETE FROM fb_store_marks
WHERE space = ? AND key IN (SELECT value FROM json_each(?)) AND (ends IS NULL OR ends > ?)
"""
UNMARK_ALL = "DELETE FROM fb_store_marks WHERE space = ? AND (ends IS NULL OR ends > ?)"
ENDED = "SELECT id, space, keys FROM fb_store_markings WHERE ends <= ? ORDER BY ends LIMIT 1"
FORGET = """
DELETE FROM fb_store_marks
WHERE space = ? AND key IN (SELECT value FROM json_each(?)) AND ends <= ?
"""
FORGET_SPACES = """
DELETE FROM fb_store_spaces WHERE
    NOT EXISTS (SELECT 1 FROM fb_store_owners WHERE space = fb_store_spaces.id)
    AND NOT EXISTS (SELECT 1 FROM fb_store_claims WHERE space = fb_store_spaces.id)
    AND NOT EXISTS (SELECT 1 FROM fb_store_marks WHERE space = fb_store_spaces.id)
    AND NOT EXISTS (SELECT 1 FROM fb_store_markings WHERE space = fb_store_spaces.id)
"""


def claim(
    connection: sqlite3.Connection,
    now: float,
    space: str,
    keys: Sequence[str],
    tokens: Sequence[str],
    owner: str,
    lease: float,
    limit: int,
    repeat: bool,
) -> Sequence[int]:
    """See `ClaimFacet.claim`."""
    number = _number(connection, space)
    drop_dead(connection, now, number)
    connection.execute(OWN, (number, owner, now + lease))
    (holder,) = connection.execute(OWNER, (number, owner)).fetchone()
    names = storable(keys)
    asked = listed(names)
    done = {
        key
        for (key,) in (
            connection.execute(MARKED, (number, asked, now))
            if connection.execute(ANY_MARK, (number,)).fetchone()
            else ()
        )
    }
    held: dict[str, set[tuple[int, str]]] = {}
    for key, other, token in connection.execute(CLAIMED, (number, asked)):
        held.setdefault(key, set()).add((other, token))
    if limit > 0 and not done and not held and len(set(names)) == len(names):
        _grant(connection, number, holder, names, asked, tokens)  # nearly always so
        return bytes((GRANTED,)) * len(names)
    answers = bytearray()
    granted = []
    for key, token in zip(names, tokens, strict=True):
        claims = held.setdefault(key, set())
        if key in done:
            answers.append(DONE)
        elif (holder, token) in claims:
            answers.append(GRANTED if repeat else BUSY)
        elif len(claims) < limit:
            claims.add((holder, token))
            granted.append((number, key, holder, token))
            answers.append(GRANTED)
        else:
            answers.append(BUSY)
    connection.executemany(GRANT, granted)
    return answers


def _grant(
    connection: sqlite3.Connection,
    number: int,
    holder: int,
    names: Sequence[str],
    asked: str,
    tokens: Sequence[str],
) -> None:
    """Grant all keys. Note: where the tokens count up, one statement does it in half the time."""
    first = tokens[0]
    if first.isdecimal() and len(first) < 15:
        start = int(first)
        if list(tokens) == [str(each) for each in range(start, start + len(tokens))]:
            connection.execute(GRANT_COUNTED, (number, holder, start, asked))
            return
    connection.executemany(
        GRANT, zip(itertools.repeat(number), names, itertools.repeat(holder), tokens)
    )


def free(connection: sqlite3.Connection, write: Free | Mark) -> None:
    """Give claims back: see `Free`."""
    number = _number(connection, write.space)
    owner = connection.execute(OWNER, (number, write.owner)).fetchone()
    if owner is not None:
        names, owners = storable(write.keys), itertools.repeat(owner[0])
        connection.executemany(FREE, zip(itertools.repeat(number), names, owners, write.tokens))


def mark(connection: sqlite3.Connection, now: float, write: Mark) -> None:
    """See `Mark`."""
    number = _number(connection, write.space)
    ends = None if write.ttl is None else now + write.ttl
    names = storable(write.keys)
    for start in range(0, len(names), MARKED_AT_ONCE):
        together = listed(names[start : start + MARKED_AT_ONCE])
        connection.execute(MARK, (number, ends, together))
        if ends is not None:
            connection.execute(
                "INSERT INTO fb_store_markings (space, ends, keys) VALUES (?, ?, ?)",
                (number, ends, together),
            )
    free(connection, write)


def drop(connection: sqlite3.Connection, owners: Sequence[tuple[int, int]]) -> None:
    """Remove owners, each given after its space, and their claims."""
    connection.executemany("DELETE FROM fb_store_claims WHERE space = ? AND owner = ?", owners)
    connection.executemany("DELETE FROM fb_store_owners WHERE space = ? AND id = ?", owners)


def drop_dead(connection: sqlite3.Connection, now: float, number: int) -> None:
    """Remove the owners of a space whose time is over."""
    dead = connection.execute(DEAD, (number, now)).fetchall()
    if dead:
        drop(connection, [(number, owner) for (owner,) in dead])


def sweep(connection: sqlite3.Connection, now: float, most: int) -> int:
    """Remove the owners whose time is over, and up to about `most` marks; return how many these
    were, about."""
    drop(connection, connection.execute(OVER, (now,)).fetchall())
    removed = 0
    while removed < most and (found := connection.execute(ENDED, (now,)).fetchone()):
        number, space, keys = found
        removed += 1 + connection.execute(FORGET, (space, keys, now)).rowcount
        connection.execute("DELETE FROM fb_store_markings WHERE id = ?", (number,))
    connection.execute(FORGET_SPACES)
    return removed


class SqliteClaims(ClaimFacet):
    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def claim(
        self,
        space: str,
        keys: Sequence[str],
        tokens: Sequence[str],
        *,
        owner: str,
        lease: float,
        limit: int,
        repeat: bool,
    ) -> Sequence[int]:
        with self._file.writing_for(lease) as (connection, now):
            return claim(connection, now, space, keys, tokens, owner, lease, limit, repeat)

    def keep(self, held: Sequence[tuple[str, str]], lease: float) -> None:
        with self._file.writing_for(lease) as (connection, now):
            rows = ((now + lease, space, owner, now) for space, owner in held)
            connection.executemany(KEEP, rows)

    def drop(self, spaces: Sequence[str], owner: str) -> None:
        with self._file.writing() as (connection, _):
            for space in spaces:
                number = _number(connection, space)
                found = connection.execute(OWNER, (number, owner)).fetchall()
                drop(connection, [(number, each) for (each,) in found])

    def unmark(self, space: str, keys: Sequence[str] | None) -> int:
        with self._file.writing() as (connection, now):
            number = _number(connection, space)
            if keys is None:
                return connection.execute(UNMARK_ALL, (number, now)).rowcount
            return connection.execute(UNMARK, (number, listed(storable(keys)), now)).rowcount

    def lasts(self, write: Free) -> bool:
        """Whether claims of so long a lease are given back that they are on the disk."""
        until = self._file.clock.now() + BRIEF
        return bool(self._file.read(LASTING, write.space, write.owner, until))


def _number(connection: sqlite3.Connection, space: str) -> int:
    """Return the number of a space, which gets one when it has none."""
    found = "SELECT id FROM fb_store_spaces WHERE name = ?"
    row = connection.execute(found, (space,)).fetchone()
    if row is None:
        connection.execute("INSERT INTO fb_store_spaces (name) VALUES (?)", (space,))
        row = connection.execute(found, (space,)).fetchone()
    return int(row[0])
