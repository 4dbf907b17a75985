"""The store contract on SQLite, and what only it can get wrong."""

from __future__ import annotations

import itertools
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings

from fbcli.clock import SystemClock
from fbcli.errors import Unavailable
from fbcli.stores import open_store
from fbcli.stores.base import Store, Writes
from fbcli.stores.sqlite.backend import SqliteBackend
from fbcli.stores.sqlite.file import SqliteFile
from fbcli.testing import StoreContract
from fbcli.testing.store.claims_model import Step, compare, steps
from fbcli.testing.store.samples import a_record, a_result, elsewhere, ids, output_of


def file_of(store: Store) -> SqliteFile:
    return store.backend._file  # type: ignore[attr-defined, no-any-return]


class Hands(SystemClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'store.db'}"

    @pytest.fixture
    def unreachable_url(self, tmp_path: Path) -> str:
        (tmp_path / "folder.db").mkdir()
        return f"sqlite:///{tmp_path / 'folder.db'}"

    def test_it_works_once_the_file_can_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "sub").write_text("in the way")
        store = open_store(f"sqlite:///{tmp_path}/sub/store.db")
        with pytest.raises(Unavailable):
            store.pause("q")
        (tmp_path / "sub").unlink()
        store.pause("q")
        assert store.pauses() == {"q": None}
        store.close()

    def test_a_file_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "store.db").write_text("Dear diary, " * 100)
        store = open_store(f"sqlite:///{tmp_path}/store.db")
        with pytest.raises(Unavailable, match="not an SQLite database"):
            store.pauses()
        store.close()

    def test_a_full_disk(self, store_url: str) -> None:
        """A limit on the size of files stands for it: SQLite gets EFBIG where it would get
        ENOSPC."""
        code = """
            import resource, signal
            from fbcli.errors import Unavailable
            store.save_results([Result("before", "q", "succeeded")], 60)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
            for _ in range(2):
                try:
                    store.save_results([Result("t", "q", "succeeded", "x" * 3_000_000)], 60)
                except Unavailable as error:
                    print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            store.save_results([Result("after", "q", "succeeded")], 60)
            print(*(result.task_id for result in store.results()))
        """
        first, second, kept = output_of(elsewhere(store_url, code)).splitlines()
        assert "disk" in first
        assert "disk" in second
        assert kept == "after before"

    @pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
    def test_a_read_only_file(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/store.db"
            store = open_store(url)
            store.pause("q")
            store.close()
            os.chmod(f"{folder}/store.db", 0o444)
            os.chmod(folder, 0o555)
            code = """
                import os
                from fbcli.errors import Unavailable
                if os.getuid() == 0:
                    os.setuid(65534)
                try:
                    store.pause("r")
                except Unavailable as error:
                    print(error)
            """
            assert f"{folder}/store.db" in output_of(elsewhere(url, code))
            os.chmod(folder, 0o755)

    def test_what_has_ended_is_removed(self, store_url: str) -> None:
        clock = Hands()
        store = Store(SqliteBackend(store_url, clock))
        keys = [f"{n}" for n in range(500)]
        store.save_results([a_result(key) for key in keys], 60)
        store.save_results([a_result("0"), a_result("kept", "r")], 3600)
        store.beat([a_record("gone")], 60)
        store.pause("q", 60)
        store.pause("r")
        store.request_cancel(["t"], 60)
        store.take_tokens("k", 10, 1, ahead=0, slack=0)
        store.claim("s", ["a", "b"], ["1", "2"], owner="gone", lease=60)
        store.write(Writes().mark("t", keys, keys, owner="gone", ttl=60))
        store.write(Writes().mark("t", ["0"], ["0"], owner="gone", ttl=3600))
        before = {
            **{"results": 501, "saves": 3, "notices": 4, "grids": 1, "owners": 1},
            **{"claims": 2, "marks": 500, "markings": 2, "spaces": 2},
        }
        assert self._rows(store_url) == before
        assert not store.sweep([])
        assert self._rows(store_url) == before
        clock.time += 71
        steps = 0
        while store.sweep([], 100):
            steps += 1
        assert steps > 5
        assert self._rows(store_url) == {
            **{"results": 2, "saves": 2, "notices": 1, "grids": 0, "owners": 0},
            **{"claims": 0, "marks": 1, "markings": 1, "spaces": 1},
        }
        assert ids(store.results()) == ["kept", "0"]
        clock.time += 3600
        store.sweep([])
        assert sum(self._rows(store_url).values()) == 1
        store.close()

    @staticmethod
    def _rows(url: str) -> dict[str, int]:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            tables = connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'fb_store_%'"
            )
            return {
                name.removeprefix("fb_store_"): connection.execute(
                    f"SELECT count(*) FROM {name}"
                ).fetchone()[0]
                for (name,) in tables.fetchall()
                if name != "fb_store_parked"
            }

    def test_only_what_must_last_waits_for_the_disk(self, store: Store) -> None:
        written: dict[str, list[str]] = {"1": [], "2": []}
        file = file_of(store)
        for database in (file._writer, file._scribbler):
            with database.reading() as connection:
                (level,) = connection.execute("PRAGMA synchronous").fetchone()
                connection.set_trace_callback(written[f"{level}"].append)

        def waits(work: Callable[[], object]) -> bool:
            for statements in written.values():
                statements.clear()
            work()
            assert sum(statements.count("COMMIT") for statements in written.values()) == 1
            return "COMMIT" in written["2"]

        def claim(owner: str, lease: float) -> None:
            store.claim("s", ["a"], ["1"], owner=owner, lease=lease, limit=2)

        def free(owner: str) -> None:
            store.write(Writes().free("s", ["a"], ["1"], owner=owner))

        assert not waits(lambda: store.take_tokens("k", 10, 1, ahead=0, slack=0))
        assert not waits(lambda: store.beat([a_record()], 60))
        assert not waits(lambda: claim("brief", 60))
        assert not waits(lambda: store.keep_claims(["s"], "brief", 60))
        assert not waits(lambda: free("brief"))
        assert waits(lambda: claim("lasting", 3600))
        assert waits(lambda: store.keep_claims(["s"], "lasting", 3600))
        assert waits(lambda: free("lasting"))
        assert waits(lambda: store.write(Writes().mark("s", ["a"], ["1"], owner="brief", ttl=60)))
        assert waits(lambda: store.save_results([a_result()], 60))
        assert waits(lambda: store.pause("q"))

    def test_writes_that_belong_together_are_one_transaction(self, store: Store) -> None:
        statements: list[str] = []
        with file_of(store)._writer.reading() as connection:
            connection.set_trace_callback(statements.append)
        writes = Writes().save_results([a_result("a"), a_result("b", "r")], 60)
        writes.mark("s", ["a"], ["1"], owner="o", ttl=60).free("t", ["a"], ["1"], owner="o")
        store.write(writes)
        assert statements.count("COMMIT") == 1

    def test_a_clock_that_is_put_back_holds_nobody_up(self, store_url: str) -> None:
        clock = Hands()
        store = Store(SqliteBackend(store_url, clock))
        assert store.take_tokens("k", 10, 5, ahead=1, slack=0) == (5, 0)
        clock.time -= 3600
        count, wait = store.take_tokens("k", 10, 5, ahead=1, slack=0)
        assert (count, round(wait, 6)) == (5, 0.5)
        store.close()

    def test_claims_end_as_in_the_model(self, store_url: str) -> None:
        clock, suffixes = Hands(), itertools.count()
        store = Store(SqliteBackend(store_url, clock))

        @settings(max_examples=100, deadline=None)
        @given(steps(spans=(0, 3, 10, 1000), waits=(1, 2, 5, 12)))
        def check(script: list[Step]) -> None:
            compare(store, script, f" {next(suffixes)}", clock.wait)

        check()
        store.close()

    def test_a_file_that_was_deleted_is_made_anew(
        self, store: Store, another: Callable[[], Store], store_url: str
    ) -> None:
        store.pause("before")
        for path in Path(store_url.removeprefix("sqlite:///")).parent.glob("store.db*"):
            path.unlink()
        store.pause("after")
        assert another().pauses() == store.pauses() == {"after": None}

    def test_a_reader_does_not_wait_for_a_writer(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        store.save_results([a_result()], 60)
        other = another()
        assert store.pauses() == other.pauses() == {}
        with file_of(store).writing():
            assert store.result("t") == other.wait_result("t", 0) == a_result()
            assert store.pauses() == {}
            assert store.due("q", "amqp", 10, 60) == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_opens_connections_of_its_own(self, store_url: str) -> None:
        code = """
            import os
            store.pause("before")
            store.pauses()
            writer = store.backend._file._writer
            inherited = writer._connection
            child = os.fork()
            if child == 0:
                store.pause("child")
                store.close()
                os._exit(0 if writer._connection is not inherited else 1)
            assert os.waitpid(child, 0)[1] == 0
            store.pause("parent")
            print(*sorted(store.pauses()))
        """
        assert output_of(elsewhere(store_url, code)).split() == ["before", "child", "parent"]
