"""How another process keeps the lease of a consumer of an SQLite file."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from fbcli.clients.sqlite import Database
from fbcli.lease import Beat, LeaseKeeper

from .tables import BEAT_FOR


class SqliteBeat(Beat):
    """The file, and what the inbox is called in it."""

    def __init__(self, place: str, name: str) -> None:
        self.place = place
        self.name = name

    def keeper(self) -> LeaseKeeper:
        return SqliteLeaseKeeper(self.place)


class SqliteLeaseKeeper(LeaseKeeper):
    """Beats for inboxes of one file, all in one transaction."""

    def __init__(self, path: str) -> None:
        self._database = Database(Path(path), "", synchronous="NORMAL")

    def extend(self, beats: Sequence[Beat]) -> None:
        names = json.dumps([beat.name for beat in beats if isinstance(beat, SqliteBeat)])
        with self._database.writing() as connection:
            connection.execute(BEAT_FOR, (time.monotonic(), names))

    def close(self) -> None:
        self._database.close()
