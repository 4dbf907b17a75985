"""The store contract on SQLite, and what only it can get wrong; and how stores are found by their
URL."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from fbcli.clock import SystemClock
from fbcli.errors import Unavailable, UsageError
from fbcli.stores import SCHEMES, open_store
from fbcli.stores.base import Store
from fbcli.stores.sqlite.store import SWEEP, SqliteStore
from tests.contract.claims_model import Step, compare, steps
from tests.contract.store_contract import StoreContract
from tests.contract.store_samples import a_record, a_result, elsewhere, output_of


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
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

    def test_expired_rows_are_removed_along_the_way(self, store_url: str) -> None:
        clock = Hands()
        store = SqliteStore(store_url, clock)
        store.save_results([a_result(f"{n}") for n in range(2 * SWEEP)], 60)
        store.beat([a_record("gone")], 60)
        store.pause("q", 60)
        store.request_cancel(["t"], 60)
        store.take_tokens("k", 10, 1, ahead=0, slack=0)
        store.claim("s", ["a", "b"], owner="gone", lease=60)
        store.mark("s", [f"{n}" for n in range(3 * SWEEP)], owner="gone", ttl=60)
        assert self._rows(store_url) == [2 * SWEEP, 1, 1, 1, 1, 1, 2, 3 * SWEEP]
        clock.time += 61
        store.beat([a_record("here")], 60)
        assert self._rows(store_url) == [SWEEP, 1, 0, 0, 0, 0, 0, 2 * SWEEP]
        store.save_results([a_result("new")], 60)
        store.mark("s", ["new", "for ever"], owner="here", ttl=60)
        assert self._rows(store_url) == [1, 1, 0, 0, 0, 0, 0, SWEEP]
        store.close()

    @staticmethod
    def _rows(url: str) -> list[int]:
        with SqliteStore(url)._reader.reading() as connection:
            names = (
                "results",
                "consumers",
                "pauses",
                "cancels",
                "grids",
                "owners",
                "claims",
                "marks",
            )
            return [
                connection.execute(f"SELECT COUNT(*) FROM store_{name}").fetchone()[0]
                for name in names
            ]

    def test_only_what_must_last_waits_for_the_disk(self, store: Store) -> None:
        assert isinstance(store, SqliteStore)
        written: dict[str, list[str]] = {"1": [], "2": []}
        for database in (store._writer, store._scribbler):
            with database.reading() as connection:
                (level,) = connection.execute("PRAGMA synchronous").fetchone()
                connection.set_trace_callback(written[f"{level}"].append)

        def waits(work: Callable[[], object]) -> bool:
            for statements in written.values():
                statements.clear()
            work()
            assert sum(statements.count("COMMIT") for statements in written.values()) == 1
            return "COMMIT" in written["2"]

        brief, lasting = {"owner": "brief", "lease": 60}, {"owner": "lasting", "lease": 3600}
        assert not waits(lambda: store.take_tokens("k", 10, 1, ahead=0, slack=0))
        assert not waits(lambda: store.beat([a_record()], 60))
        assert not waits(lambda: store.claim("s", ["a"], **brief))  # type: ignore[arg-type]
        assert not waits(lambda: store.keep_claims(["s"], **brief))  # type: ignore[arg-type]
        assert not waits(lambda: store.free("s", ["a"], owner="brief"))
        assert waits(lambda: store.claim("s", ["a"], **lasting))  # type: ignore[arg-type]
        assert waits(lambda: store.keep_claims(["s"], **lasting))  # type: ignore[arg-type]
        assert waits(lambda: store.free("s", ["a"], owner="lasting"))
        assert waits(lambda: store.mark("s", ["a"], owner="brief", ttl=60))
        assert waits(lambda: store.save_results([a_result()], 60))

    def test_a_clock_that_is_put_back_holds_nobody_up(self, store_url: str) -> None:
        clock = Hands()
        store = SqliteStore(store_url, clock)
        assert store.take_tokens("k", 10, 5, ahead=1, slack=0) == (5, 0)
        clock.time -= 3600
        count, wait = store.take_tokens("k", 10, 5, ahead=1, slack=0)
        assert (count, round(wait, 6)) == (5, 0.5)
        store.close()

    def test_claims_end_as_in_the_model(self, store_url: str) -> None:
        clock, suffixes = Hands(), itertools.count()
        store = SqliteStore(store_url, clock)

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
        assert isinstance(store, SqliteStore)
        with store._writing():
            assert store.result("t") == other.wait_result("t", 0) == a_result()
            assert store.pauses() == {}
            assert store.due("q", "amqp", 10, 60) == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_child_opens_connections_of_its_own(self, store_url: str) -> None:
        code = """
            import os
            store.pause("before")
            store.pauses()
            inherited = store._writer._connection
            child = os.fork()
            if child == 0:
                store.pause("child")
                store.close()
                os._exit(0 if store._writer._connection is not inherited else 1)
            assert os.waitpid(child, 0)[1] == 0
            store.pause("parent")
            print(*sorted(store.pauses()))
        """
        assert output_of(elsewhere(store_url, code)).split() == ["before", "child", "parent"]


class Hands(SystemClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


class TestOpening:
    @pytest.mark.parametrize(
        ("url", "hint"), [("redsi://h", "'redis'"), ("sqlit:///x", "'sqlite'"), ("zzz://", "")]
    )
    def test_an_unknown_scheme(self, url: str, hint: str) -> None:
        with pytest.raises(UsageError, match=f"No store answers to .*{hint}.*sqlite"):
            open_store(url)

    @pytest.mark.parametrize("url", ["", "store.db", "redis", "/var/store.db"])
    def test_no_url(self, url: str) -> None:
        with pytest.raises(UsageError, match="not a store URL"):
            open_store(url)

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://host/x.db"])
    def test_a_url_without_a_file(self, url: str) -> None:
        with pytest.raises(UsageError):
            open_store(url)

    def test_every_scheme_of_the_table_opens(self, tmp_path: Path) -> None:
        for scheme in SCHEMES:
            store = open_store(f"{scheme}:///{tmp_path}/s.db")
            assert isinstance(store, Store)
            store.close()

    def test_looking_at_the_table_imports_no_store(self) -> None:
        code = (
            "import sys, fbcli.stores; print([m for m in sys.modules if m in ('redis', 'sqlite3',"
            " 'msgspec')])"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == "[]"
