"""A store in an SQLite file, for the processes of one host. May be the file of the sqlite broker,
too. What has ended is never shown, and removed by and by (`sweep`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from fbcli.broker import Broker
from fbcli.clients.sqlite import path_of
from fbcli.clock import SYSTEM, Clock
from fbcli.stores.facets import Backend
from fbcli.stores.sqlite import claims, notices, parked, rates, results
from fbcli.stores.sqlite.claims import SqliteClaims
from fbcli.stores.sqlite.file import SqliteFile
from fbcli.stores.sqlite.notices import SqliteNotices
from fbcli.stores.sqlite.parked import SqliteParked
from fbcli.stores.sqlite.rates import SqliteRates
from fbcli.stores.sqlite.results import SqliteResults
from fbcli.stores.writes import Free, Mark, Save, Write

SCHEMA = notices.SCHEMA + results.SCHEMA + claims.SCHEMA + rates.SCHEMA + parked.SCHEMA


class SqliteBackend(Backend):
    """`sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite:///~/home.db`."""

    reach = "host"

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        super().__init__(url)
        self._file = file = SqliteFile(url, SCHEMA, clock)
        self.notices = SqliteNotices(file)
        self.results = SqliteResults(file)
        self.claims: SqliteClaims = SqliteClaims(file)
        self.rates = SqliteRates(file)
        self.parked = SqliteParked(file)

    def write(self, writes: Sequence[Write]) -> None:
        lasting = any(not isinstance(write, Free) or self.claims.lasts(write) for write in writes)
        with self._file.writing() if lasting else self._file.scribbling() as (connection, now):
            _carry_out(connection, now, writes)

    def shares(self, broker: Broker) -> bool:
        return broker.also == "sqlite" and path_of(broker.url) == self._file.path

    def prepared(self, writes: Sequence[Write]) -> Callable[[sqlite3.Connection], None]:
        """Note: whoever settles waits for no disk, and so neither do these writes: they are in the
        log before what is settled by them, and a power failure can undo them only with it."""
        self._file.be_there()
        clock = self._file.clock
        return lambda connection: _carry_out(connection, clock.now(), writes)

    def sweep(self, kinds: Sequence[str], spaces: Sequence[str], most: int) -> int:
        if not self._has_ended():
            self._file.give_back_space()
            return 0
        with self._file.scribbling() as (connection, now):
            removed = results.sweep(connection, now, most)
            removed += claims.sweep(connection, now, most - removed)
            removed += connection.execute(notices.SWEEP, (now, max(0, most - removed))).rowcount
            connection.execute(rates.SWEEP, (now,))
        return removed

    def _has_ended(self) -> bool:
        """Look for what is to be removed, which keeps nobody from writing."""
        with self._file.reader.reading() as connection:
            now = self._file.clock.now()
            return any(
                connection.execute(query, (now,)).fetchone()
                for query in (
                    results.EXPIRED,
                    claims.ENDED,
                    claims.OVER,
                    notices.ENDED,
                    rates.FORGOTTEN,
                )
            )

    def close(self) -> None:
        self._file.close()


def _carry_out(connection: sqlite3.Connection, now: float, writes: Sequence[Write]) -> None:
    for write in writes:
        if isinstance(write, Save):
            results.save(connection, now, write)
        elif isinstance(write, Mark):
            claims.mark(connection, now, write)
        else:
            claims.free(connection, write)
