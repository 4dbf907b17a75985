"""How an SQLite file is reached, for the broker and the store that live in one: its URL, a
connection fit for many processes, a write transaction that nobody starves in, and errors that say
what to do. Knows no tables of its own."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import unquote

from fbcli.clients.sqlite_space import give_back, make_shrinkable
from fbcli.errors import Unavailable, UsageError
from fbcli.platform.forks import close_at_forks

BUSY_SECONDS = 30.0
"""How long to wait for other processes before an operation gives up with `Unavailable`."""

_JOURNAL_BYTES = 16 * 1024 * 1024
"""What the write-ahead log is cut back to once it has grown beyond it (a burst, a long reader)."""


def path_of(url: str) -> Path:
    """Return the absolute path in `sqlite:///relative.db`, `sqlite:////absolute/file.db` or
    `sqlite:///~/file.db`.

    Percent-escapes are decoded. Raises `UsageError` for a URL without a path, with a host, or with
    options.
    """
    rest = url.partition("://")[2]
    host, slash, name = rest.partition("/")
    if host:
        raise UsageError(
            f"{url!r} has too few slashes; write sqlite:///{rest} (or sqlite:////{rest} from the"
            " root)."
        )
    if "?" in name or "#" in name:
        raise UsageError(
            f"{url!r}: an sqlite URL takes no options. If the file is named so, write ? as %3F, #"
            " as %23."
        )
    name = unquote(name)
    if not slash or not name or "\0" in name:
        raise UsageError(
            f"{url!r} names no file; write it like sqlite:///queue.db or"
            " sqlite:////var/lib/fb/queue.db"
        )
    if name == ":memory:":
        raise UsageError(
            f"{url!r}: a database in memory is seen by one connection only; use memory:// instead."
        )
    return (Path(name).expanduser() if name.startswith("~/") else Path(name)).absolute()


def connect(path: Path, schema: str) -> sqlite3.Connection:
    """Return a connection to the file at `path`, made together with its folder if it is not there.

    WAL mode (readers and the one writer do not block each other), `synchronous=FULL` (a commit is
    on the disk when it returns), no transactions but those asked for, usable from any one thread at
    a time. `schema` is made of idempotent statements (`CREATE … IF NOT EXISTS`), applied in one
    transaction. Safe when many processes start at once. Raises `Unavailable`.
    """
    with translating(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            if connection.execute("PRAGMA page_count").fetchone() == (0,):
                make_shrinkable(connection)
            _switch_to_wal(connection, path)
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
            with transaction(connection):
                for statement in _statements(schema):
                    connection.execute(statement)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in one write transaction: committed at its end, rolled back when it raises.

    Note: SQLite has no queue for its write lock; its own busy handler sleeps longer the longer it
    has waited, so that with five busy processes a waiter starved for 2.9 s. Here whoever has waited
    longer asks more often: 0.1 s.
    """
    _begin(connection)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk rolls back by itself
            connection.execute("ROLLBACK")
        raise


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout=0")
    try:
        start = None
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                waited = time.monotonic() - start if start else 0.0
                if "is locked" not in str(error) or waited > BUSY_SECONDS:
                    raise
            start = start or time.monotonic()
            time.sleep(random.uniform(0.0002, 0.002) / (1 + 20 * min(waited, 0.5)))
    finally:
        _be_patient(connection)


def _be_patient(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")


def _switch_to_wal(connection: sqlite3.Connection, path: Path) -> None:
    """Note: while another process does the same, SQLite answers "locked" at once, whatever the busy
    timeout."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if "is locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.01))
    if mode != "wal":
        raise Unavailable(
            f"The file system of {path} cannot share memory between processes, as SQLite's WAL mode"
            " needs (a network folder?). Put the file on a local disk."
        )


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \n;"):
                yield statement
            statement = ""


_REASONS = {
    "disk is full": (
        "The disk that holds {path} is full. Free some space; nothing that was confirmed is lost."
    ),
    "readonly": (
        "{path} cannot be written: the file, its folder or its file system is read-only for this"
        " user. Change the permissions, or use another path."
    ),
    "unable to open": (
        "{path} cannot be opened. Check that it is a file and that this user may write in its"
        " folder."
    ),
    "locked": (
        "{path} was locked by another process for more than {busy:.0f} seconds. "
        "Look who holds it (`fuser {path}`) and try again."
    ),
    "locking protocol": "{path} was too busy to get hold of. Try again.",
    "not a database": "{path} is not an SQLite database. Use another path, or move that file away.",
    "malformed": (
        "{path} is damaged. Stop what uses it, save it with `sqlite3 {path} .recover`, and use a"
        " new file."
    ),
    "disk I/O error": (
        "The disk that holds {path} fails ({error}). Check the disk (`dmesg`), then try again."
    ),
}


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say about `path` into `Unavailable` with a sentence for
    a person."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except (sqlite3.DatabaseError, OSError) as error:
        raise Unavailable(_explain(path, error)) from error


def _explain(path: Path, error: Exception) -> str:
    text = str(error)
    if "disk I/O error" in text and _disk_is_full(
        path
    ):  # how SQLite reports that its shared memory found no room
        text = "disk is full"
    if "unable to open" in text and path.is_dir():
        return f"{path} is a folder. Give the path of a file, such as {path / 'queue.db'}"
    for fragment, sentence in _REASONS.items():
        if fragment in text:
            return sentence.format(path=path, busy=BUSY_SECONDS, error=error)
    if isinstance(error, OSError):
        return (
            f"{path} cannot be used ({error}). Check the path, and that this user may write there."
        )
    return f"SQLite refuses to work on {path}: {error}."


def _disk_is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < 128 * 1024
    except OSError:
        return False


_LOOKS = 32


class ChangeWatch:
    """Tells a poller cheaply (7 µs, no lock) whether another connection, of any process, has
    committed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._version: int | None = None

    def changed(self) -> bool:
        """Return True the first time, and whenever something was committed since the last call.

        Note: what the watch's own connection commits does not count
        (sqlite.org/pragma.html#pragma_data_version).
        """
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        self._version = version
        return True


Version: TypeAlias = tuple[int, int]


class Database:
    """One connection to the file at `path`, shared by threads one at a time.

    Opened when first used, and anew after an error, after a fork, and after the file was deleted or
    replaced: SQLite itself would go on in the deleted file for ever, confirming what nobody else
    will see.
    """

    def __init__(
        self, path: Path, schema: str, *, synchronous: Literal["FULL", "NORMAL"] = "FULL"
    ) -> None:
        self.path = path
        self._schema = schema
        self._synchronous = synchronous
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened = 0
        """How often it was."""
        self._file: tuple[int, int] | None = None
        self._looks = 0
        close_at_forks(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to the block, in no transaction. Raises `Unavailable`; the next use
        connects anew."""
        with self._lock:
            try:
                with translating(self.path):
                    yield self._open()
            except Unavailable:
                self._make_room()
                self._drop()
                raise

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to the block, in one write transaction (see `transaction`). Raises
        `Unavailable`."""
        with self.reading() as connection, transaction(connection):
            yield connection

    def version(self) -> Version:
        """Return what differs from before when another connection has committed since, or this one
        was opened anew. What this one commits does not count (see `ChangeWatch`).

        Made for polling: whether the file is still there is looked at only once in `_LOOKS` calls.
        """
        if self._looks < _LOOKS:
            with self._lock:
                self._looks += 1
                try:
                    if self._connection is not None:
                        return self._version(self._connection)
                except sqlite3.Error:
                    pass  # told below, if it lasts
        with self.reading() as connection:
            self._looks = 0
            return self._version(connection)

    def _version(self, connection: sqlite3.Connection) -> Version:
        return self._opened, connection.execute("PRAGMA data_version").fetchone()[0]

    def give_back_space(self, seconds: float = 0.0) -> None:
        """Give back to the disk what the file holds beyond its content, one short step after the
        other, for about so long (0: one step). Cheap where there is nothing to give back. What it
        cannot do now, a later call does."""
        end = time.monotonic() + seconds
        more = True
        while more:
            with self.reading() as connection:
                try:
                    more = give_back(connection, self.path)
                finally:
                    _be_patient(connection)
            more = more and time.monotonic() < end

    def close(self) -> None:
        """Close the connection. Idempotent; a later use opens it again."""
        with self._lock:
            self._drop()

    def before_fork(self) -> None:
        """Note: a child that inherits a connection, even unused, makes SQLite believe locks that
        this process does not hold (sqlite.org/howtocorrupt.html, 2.6), and the parent's close would
        then delete the log that the child writes."""
        self._lock.acquire()
        self._drop()

    def after_fork(self) -> None:
        self._lock.release()

    def __del__(self) -> None:
        """Close what nobody has closed. Note: since Python 3.13 a connection that is left to itself
        complains."""
        self._drop()

    def _make_room(self) -> None:
        """On a full disk, give back what the write-ahead log holds (up to 4 MiB before SQLite does
        that by itself): what it says goes into the file, over pages that are there already."""
        if self._connection is not None and _disk_is_full(self.path):
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._file != _identity(self.path):
            self._drop()
            self._connection = connect(self.path, self._schema)
            self._connection.execute(f"PRAGMA synchronous={self._synchronous}")
            self._opened += 1
            self._file = _identity(self.path)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
