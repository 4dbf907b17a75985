"""How the facets of the SQLite store reach the file.

Three connections. One reads and watches: in WAL mode a reader waits for nobody, so neither do
pauses, results and waits, however busy the writers are. One writes what is on the disk when it
returns. One writes what ends by itself soon (beats, tokens, claims of consumers) and does not wait
for the disk: a crash of the process loses none of it, a power failure perhaps the last.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec

from fbcli.clients.sqlite import Database, path_of
from fbcli.clock import Clock

_encode = msgspec.json.Encoder().encode

BRIEF = 60.0
"""Seconds. What ends by itself sooner need not be on the disk: after a power failure nobody wants
it any more."""

SPACE_SECONDS = 0.02
"""How long one sweep gives back the file's space."""


class SqliteFile:
    """A file, for the processes of one host. Thread-safe."""

    def __init__(self, url: str, schema: str, clock: Clock) -> None:
        self.path = path_of(url)
        self.clock = clock
        self._writer = Database(self.path, schema)
        self._scribbler = Database(self.path, schema, synchronous="NORMAL")
        self.reader = Database(self.path, schema, synchronous="NORMAL")

    @contextmanager
    def writing(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """Give a connection in a transaction, and the time at which it got the lock: it may have
        waited long."""
        with self._writer.writing() as connection:
            yield connection, self.clock.now()

    @contextmanager
    def scribbling(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """The same, for what need not be on the disk."""
        with self._scribbler.writing() as connection:
            yield connection, self.clock.now()

    def writing_for(
        self, seconds: float | None
    ) -> AbstractContextManager[tuple[sqlite3.Connection, float]]:
        """The one or the other, for what ends by itself after so long (None: not at all)."""
        return self.scribbling() if seconds is not None and seconds <= BRIEF else self.writing()

    def read(self, query: str, *values: Any) -> list[Any]:
        with self.reader.reading() as connection:
            return connection.execute(query, values).fetchall()

    def be_there(self) -> None:
        """Make the file and its tables, if they are not there."""
        with self._scribbler.reading():
            pass

    def give_back_space(self) -> None:
        self._scribbler.give_back_space(SPACE_SECONDS)

    def close(self) -> None:
        for database in (self._writer, self._scribbler, self.reader):
            database.close()


def listed(names: Sequence[str]) -> str:
    """Return names as one value for `json_each`, which a statement takes however many they are."""
    return _encode(names).decode()


def storable(names: Sequence[str]) -> Sequence[str]:
    """Return names as they are kept. Note: SQLite's JSON cuts a text off at a NUL character, so
    names with one are written otherwise."""
    text = "".join(names)
    if "\0" not in text and "\1" not in text:
        return names
    return [
        "\1" + name.replace("\1", "\1.").replace("\0", "\1,")
        if "\0" in name or "\1" in name
        else name
        for name in names
    ]
