"""An SQLite file gives back what a backlog has left, and keeps nobody out meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fbcli.clients.sqlite import Database, connect
from fbcli.clients.sqlite_space import LOG_BYTES, REWRITTEN_BYTES, SLACK_BYTES, STEP_PAGES

SCHEMA = "CREATE TABLE IF NOT EXISTS letters(n INTEGER PRIMARY KEY, text BLOB);"
KILOBYTE = b"x" * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    with closing(Database(path, SCHEMA, synchronous="NORMAL")) as database:
        yield database


def fill(database: Database, kilobytes: int) -> None:
    with database.writing() as connection:
        connection.executemany(
            "INSERT INTO letters VALUES (?, ?)", ((n, KILOBYTE) for n in range(kilobytes))
        )


def remove(database: Database, condition: str) -> None:
    with database.writing() as connection:
        connection.execute(f"DELETE FROM letters WHERE {condition}")


def left(database: Database) -> list[int]:
    with database.reading() as connection:
        return [n for (n,) in connection.execute("SELECT n FROM letters ORDER BY n")]


def pages(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])


def on_disk(path: Path) -> int:
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def make_old(path: Path) -> None:
    """Make a file as fbcli did that knew nothing of this."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(SCHEMA)


@pytest.mark.parametrize("old", [False, True])
def test_an_emptied_file_is_small_again(path: Path, database: Database, old: bool) -> None:
    if old:
        make_old(path)
    fill(database, 8000)
    remove(database, "n > 10")
    assert on_disk(path) > 8_000_000
    database.give_back_space(5)
    assert on_disk(path) < 200_000
    assert left(database) == list(range(11))
    with database.reading() as connection:  # and from now on even an old one is cut step by step
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_what_is_in_use_is_kept_while_the_rest_goes(path: Path, database: Database) -> None:
    kept = REWRITTEN_BYTES // 1000 + 1000
    fill(database, 4 * kept)
    remove(database, "n % 4")
    database.give_back_space(30)
    assert left(database) == list(range(0, 4 * kept, 4))
    assert on_disk(path) < 1.6 * 1000 * kept + 2 * SLACK_BYTES + LOG_BYTES
    with database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_one_step_is_a_short_one(path: Path, database: Database) -> None:
    fill(database, 16_000)
    remove(database, "n < 8000")
    before = pages(database)
    database.give_back_space()
    assert before - STEP_PAGES - 10 <= pages(database) < before


def test_an_old_file_with_much_in_it_is_left_alone(path: Path, database: Database) -> None:
    """To write it anew would keep its writers out for seconds."""
    make_old(path)
    fill(database, 16_000)
    remove(database, "n % 4")
    before = pages(database)
    database.give_back_space(5)
    assert pages(database) == before
    assert left(database) == list(range(0, 16_000, 4))


def test_nothing_is_written_where_little_is_to_gain(path: Path, database: Database) -> None:
    fill(database, 3000)
    remove(database, "n < 900")
    with closing(connect(path, "")) as other:
        version = other.execute("PRAGMA data_version").fetchone()
        database.give_back_space(1)
        assert other.execute("PRAGMA data_version").fetchone() == version


def test_it_waits_for_nobody_who_writes(path: Path, database: Database) -> None:
    fill(database, 4000)
    remove(database, "n > 10")
    before = pages(database)
    with closing(connect(path, "")) as other:
        other.execute("BEGIN IMMEDIATE")
        database.give_back_space()  # would else wait for half a minute, and raise
        other.execute("ROLLBACK")
    assert pages(database) == before
    database.give_back_space(5)
    assert on_disk(path) < 200_000


def test_who_reads_meanwhile_sees_what_was_there(path: Path, database: Database) -> None:
    fill(database, 4000)
    with closing(connect(path, "")) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM letters").fetchone() == (4000,)
        remove(database, "n > 10")
        database.give_back_space(1)
        assert other.execute("SELECT count(*) FROM letters").fetchone() == (4000,)
        other.execute("COMMIT")
        assert other.execute("SELECT count(*) FROM letters").fetchone() == (11,)
    database.give_back_space(5)
    assert on_disk(path) < 200_000


def test_a_log_that_a_reader_has_kept_long_is_cut(path: Path, database: Database) -> None:
    fill(database, 1000)
    with closing(connect(path, "")) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM letters").fetchone()
        for _ in range(10):
            with database.writing() as connection:
                connection.execute("UPDATE letters SET text = randomblob(1000)")
        assert path.with_name("a.db-wal").stat().st_size > LOG_BYTES
        database.give_back_space(1)
        other.execute("COMMIT")
    database.give_back_space(1)
    assert path.with_name("a.db-wal").stat().st_size == 0


def test_afterwards_one_waits_for_others_as_before(path: Path, database: Database) -> None:
    fill(database, 10)
    database.give_back_space()
    with database.reading() as connection:
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] >= 1000
