"""How an SQLite file is reached: its URL, its errors, its connection."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fbcli.clients.sqlite import ChangeWatch, Database, connect, path_of, transaction, translating
from fbcli.errors import Unavailable, UsageError

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS numbers(n INTEGER);\nCREATE INDEX IF NOT EXISTS by_n ON numbers(n);"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sub" / "a.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path, SCHEMA)) as database:
        yield database


def add(database: Database, number: int) -> None:
    with database.writing() as connection:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))


def numbers(database: Database) -> list[int]:
    with database.reading() as connection:
        return [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


class TestUrl:
    def test_relative_absolute_and_at_home(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/home/somebody")
        assert path_of("sqlite:///queue.db") == tmp_path / "queue.db"
        assert path_of("sqlite:////var/lib/queue.db") == Path("/var/lib/queue.db")
        assert path_of("sqlite:///~/queue.db") == Path("/home/somebody/queue.db")
        assert path_of("sqlite:////tmp/what%3F%20%23.db") == Path("/tmp/what? #.db")

    @pytest.mark.parametrize(
        "url",
        [
            "sqlite://",
            "sqlite:///",
            "sqlite://queue.db",
            "sqlite://host/queue.db",
            "sqlite:///:memory:",
            "sqlite:///a?b=c",
        ],
    )
    def test_what_makes_no_sense(self, url: str) -> None:
        with pytest.raises(UsageError, match="sqlite"):
            path_of(url)


class TestErrors:
    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("database or disk is full", "Free some space"),
            ("attempt to write a readonly database", "read-only"),
            ("database is locked", "locked by another process"),
            ("file is not a database", "not an SQLite database"),
            ("database disk image is malformed", "damaged"),
            ("disk I/O error", "Check the disk"),
            ("something never heard of", "something never heard of"),
        ],
    )
    def test_each_says_what_to_do(self, path: Path, said: str, told: str) -> None:
        with pytest.raises(Unavailable, match=told) as caught, translating(path):
            raise sqlite3.OperationalError(said)
        assert str(path) in str(caught.value)

    def test_mistakes_of_ours_stay_what_they_are(self, path: Path) -> None:
        with pytest.raises(sqlite3.IntegrityError), translating(path):
            raise sqlite3.IntegrityError("UNIQUE constraint failed")


class TestTransaction:
    def test_it_is_undone_by_an_error(self, database: Database) -> None:
        add(database, 1)

        def fail() -> None:
            with database.writing() as connection:
                connection.execute("INSERT INTO numbers VALUES (2)")
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert numbers(database) == [1]
        add(database, 3)
        assert numbers(database) == [1, 3]

    def test_nobody_starves(self, path: Path) -> None:
        """Six threads with a connection each, always at it: each gets its turns."""
        turns, ended = [0] * 6, threading.Event()

        def work(i: int) -> None:
            with closing(connect(path, SCHEMA)) as connection:
                while not ended.is_set():
                    with transaction(connection):
                        connection.execute("INSERT INTO numbers VALUES (1)")
                    turns[i] += 1

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while min(turns) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        ended.set()
        for thread in threads:
            thread.join()
        assert min(turns) >= 5

    def test_waiting_gives_up(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fbcli.clients.sqlite.BUSY_SECONDS", 0.2)
        with (
            closing(connect(path, SCHEMA)) as one,
            closing(connect(path, "")) as other,
            transaction(one),
        ):
            started = time.monotonic()
            with pytest.raises(sqlite3.OperationalError, match="locked"), transaction(other):
                pass
            assert 0.15 < time.monotonic() - started < 5


class TestDatabase:
    def test_the_folder_is_made(self, database: Database, path: Path) -> None:
        add(database, 1)
        assert path.exists()
        assert numbers(database) == [1]

    def test_a_commit_is_on_the_disk(self, database: Database, path: Path) -> None:
        with database.reading() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        with (
            closing(Database(path, SCHEMA, synchronous="NORMAL")) as easy,
            easy.reading() as connection,
        ):
            assert connection.execute("PRAGMA synchronous").fetchone() == (1,)

    def test_opening_a_file_that_is_there_writes_nothing(
        self, path: Path, database: Database
    ) -> None:
        """It would wait for the disk once more."""
        add(database, 1)
        log = path.with_name("a.db-wal")
        before = log.stat()
        with closing(connect(path, SCHEMA)), closing(connect(path, SCHEMA)):
            after = log.stat()
        assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)

    def test_it_opens_again_after_being_closed(self, database: Database) -> None:
        add(database, 1)
        database.close()
        database.close()
        assert numbers(database) == [1]

    def test_changes_of_others_are_noticed(self, database: Database, path: Path) -> None:
        with closing(Database(path, SCHEMA)) as other:
            seen = database.version()
            assert database.version() == seen
            for n in range(100):
                add(other, n)
                before, seen = seen, database.version()
                assert seen != before
                assert database.version() == seen
            numbers(other)
            add(database, 1)
            assert database.version() == seen, "its own are none"

    def test_one_that_is_opened_anew_may_have_missed_something(self, database: Database) -> None:
        seen = database.version()
        database.close()
        assert database.version() != seen

    def test_a_new_file_in_its_place_is_noticed(self, database: Database, path: Path) -> None:
        add(database, 1)
        for name in ("a.db", "a.db-wal", "a.db-shm"):
            (path.parent / name).unlink(missing_ok=True)
        with closing(Database(path, SCHEMA)) as other:
            add(other, 2)
            seen = database.version()
            assert any(database.version() != seen for _ in range(100))
            assert numbers(database) == [2]
            add(database, 3)
            assert numbers(other) == [2, 3]

    def test_an_error_is_told_once_it_lasts(self, tmp_path: Path) -> None:
        (tmp_path / "in the way").write_text("")
        with closing(Database(tmp_path / "in the way" / "a.db", SCHEMA)) as database:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    database.version()
            (tmp_path / "in the way").unlink()
            assert database.version()

    def test_a_watch_of_its_own(self, path: Path) -> None:
        with closing(connect(path, SCHEMA)) as one, closing(connect(path, "")) as other:
            watch = ChangeWatch(one)
            assert watch.changed()
            assert not watch.changed()
            other.execute("INSERT INTO numbers VALUES (1)")
            assert watch.changed()
