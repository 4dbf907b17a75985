"""The store contract on each store, and what only one of them can get wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fbcli.clock import SystemClock
from fbcli.errors import Unavailable, UsageError
from fbcli.redis_client import ANSWER_TIMEOUT, connect
from fbcli.stores import SCHEMES, open_store
from fbcli.stores.base import Store
from fbcli.stores.redis import BLOCK_SECONDS, INDEX_SIZE, PERMANENT
from fbcli.stores.sqlite import SWEEP, SqliteStore
from tests.contract.store_contract import (
    EVERY_VERB,
    StoreContract,
    a_message,
    a_result,
    a_worker,
    elsewhere,
    ids,
    output_of,
)
from tests.servers import free_port, require_or_skip, wait_until
from tests.servers.redis import RedisCluster, RedisServer


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
        """A limit on the size of files stands for it: SQLite gets EFBIG where it would get ENOSPC."""
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
        store.beat(a_worker("gone"), 60)
        store.pause("q", 60)
        clock.time += 61
        store.beat(a_worker("here"), 60)
        assert self._rows(store_url) == (SWEEP, 1, 0)
        store.save_results([a_result("new")], 60)
        assert self._rows(store_url) == (1, 1, 0)
        store.close()

    @staticmethod
    def _rows(url: str) -> tuple[int, ...]:
        with SqliteStore(url)._reader.connected() as connection:
            tables = ("store_results", "store_workers", "store_pauses")
            counts = [connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables]
            connection.close()
            return tuple(counts)

    def test_a_reader_does_not_wait_for_a_writer(self, store: Store, another: Callable[[], Store]) -> None:
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


class RedisStoreContract(StoreContract):
    """What holds on every kind of Redis."""

    @pytest.fixture
    def server(self, store_url: str) -> Iterator[Any]:
        client = connect(store_url)
        yield client
        client.close()

    @pytest.fixture(autouse=True)
    def _leaves_no_keys(self, server: Any) -> Iterator[None]:
        """After each test every key is one of the store's, and expires or is declared permanent."""
        yield
        leaks = [
            key
            for key in server.scan_iter(count=1000)
            if not key.startswith(b"fb:")
            or (server.pttl(key) == -1 and not key.startswith(tuple(name.encode() for name in PERMANENT)))
        ]
        assert leaks == []

    def test_what_expires_leaves_nothing_behind(self, store: Store, server: Any) -> None:
        store.pause("q", 0.2)
        store.pause("r")
        store.pause("r", 0.3)
        store.save_results([a_result("a"), a_result("b", "r")], 0.2)
        store.beat(a_worker(), 0.2)
        store.park([a_message()])
        assert store.unpark("q", "amqp", ids(store.due("q", "amqp", 1, 60))) == 1
        wait_until(lambda: not list(server.scan_iter()), "all keys to expire")

    def test_resuming_the_last_open_pause_lets_the_others_expire(self, store: Store, server: Any) -> None:
        store.pause("open")
        store.pause("timed", 30)
        assert server.pttl("fb:pauses") == -1
        store.resume("open")
        assert 20_000 < server.pttl("fb:pauses") < 31_000

    def test_the_index_keeps_the_newest(self, store: Store, server: Any) -> None:
        store.save_results([a_result(f"{n}") for n in range(INDEX_SIZE)], 60)
        store.save_results([a_result("new", value=n) for n in range(2)], 60)
        assert server.zcard("fb:results") == server.zcard("fb:results:q") == INDEX_SIZE
        assert ids(store.results(limit=2)) == ["new", f"{INDEX_SIZE - 1}"]
        assert store.result("0") is not None

    def test_listing_forgets_what_has_expired(self, store: Store, server: Any) -> None:
        store.save_results([a_result("brief")], 0.1)
        store.save_results([a_result("kept")], 60)
        wait_until(lambda: store.result("brief") is None, "the result to expire")
        assert ids(store.results()) == ["kept"]
        assert server.zrange("fb:results", 0, -1) == [b"kept"]

    def test_waiting_leaves_the_result_as_it_was(self, store: Store, server: Any, threads: ThreadPoolExecutor) -> None:
        waiters = [threads.submit(store.wait_result, "t", 20) for _ in range(5)]
        self._waits(waiters[0])
        store.save_results([a_result()], 60)
        assert all(waiter.result(timeout=10) == a_result() for waiter in waiters)
        assert server.llen("fb:result:t") == 1
        assert 50_000 < server.pttl("fb:result:t") < 61_000


class TestRedisStore(RedisStoreContract):
    @pytest.fixture
    def store_url(self, redis_url: str) -> str:
        return redis_url

    @pytest.fixture
    def unreachable_url(self) -> str:
        return f"redis://:secret@127.0.0.1:{free_port()}/0"

    def test_the_url_of_the_list_broker_reaches_the_same_store(self, store: Store, redis_url: str) -> None:
        store.pause("q")
        same = open_store(redis_url.replace("redis://", "redis+list://"))
        assert same.pauses() == {"q": None}
        same.close()

    def test_a_batch_is_one_transaction_of_a_few_scripts(self, store: Store, server: Any) -> None:
        server.config_resetstat()
        store.save_results([a_result(f"{n}", f"q{n % 3}") for n in range(200)], 60)
        calls = {name: stat["calls"] for name, stat in server.info("commandstats").items()}
        assert (calls["cmdstat_exec"], calls["cmdstat_eval"]) == (1, 5)


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[RedisCluster]:
    with ExitStack() as servers:
        yield require_or_skip(lambda: servers.enter_context(RedisCluster()))


class TestRedisClusterStore(RedisStoreContract):
    @pytest.fixture
    def store_url(self, redis_cluster: RedisCluster) -> str:
        for node in redis_cluster.nodes:
            node.ask("FLUSHALL")
        return redis_cluster.url

    @pytest.fixture
    def unreachable_url(self) -> str:
        return f"redis+cluster://:secret@127.0.0.1:{free_port()}"


class TestARedisServerInTrouble:
    @pytest.fixture
    def server(self) -> Iterator[RedisServer]:
        server = require_or_skip(lambda: RedisServer(appendonly=True))
        with server:
            yield server

    @pytest.fixture
    def store(self, server: RedisServer) -> Iterator[Store]:
        store = open_store(server.url)
        yield store
        store.close()

    def test_every_verb_works_again_after_a_restart(self, server: RedisServer, store: Store) -> None:
        for verb in EVERY_VERB.values():
            verb(store)
        server.stop()
        for verb in EVERY_VERB.values():
            with pytest.raises(Unavailable, match="cannot be reached"):
                verb(store)
        server.start()
        assert store.result("t") == a_result()
        for verb in EVERY_VERB.values():
            verb(store)

    def test_what_was_confirmed_survives_a_power_cut(self, server: RedisServer, store: Store) -> None:
        store.pause("q")
        store.save_results([a_result(f"{n}") for n in range(200)], 60)
        store.park([a_message(due=9e9)])
        server.kill()
        server.start()
        assert store.pauses() == {"q": None}
        assert len(store.results(limit=1000)) == 200
        assert store.parked("q", "amqp", 10) == [a_message(due=9e9)]

    def test_who_waits_is_told(self, server: RedisServer, store: Store) -> None:
        with ThreadPoolExecutor(1) as threads:
            waiter = threads.submit(store.wait_result, "t", 60)
            wait_until(lambda: "cmd=blmove" in server.ask("CLIENT", "LIST"), "the waiter to wait")
            server.kill()
            with pytest.raises(Unavailable, match="cannot be reached"):
                waiter.result(timeout=10)

    def test_a_long_wait_is_cut_in_pieces(self, server: RedisServer, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fbcli.stores.redis.BLOCK_SECONDS", 0.05)
        assert store.wait_result("t", 0.2) is None
        with ThreadPoolExecutor(1) as threads:
            waiter = threads.submit(store.wait_result, "t", 20)
            calls = "cmdstat_blmove:calls="
            wait_until(
                lambda: int(server.ask("INFO", "commandstats").partition(calls)[2].partition(",")[0] or 0) > 6,
                "several waits",
            )
            store.save_results([a_result()], 60)
            assert waiter.result(timeout=10) == a_result()

    def test_a_wait_may_take_longer_than_one_block(self, store: Store) -> None:
        assert 2 * BLOCK_SECONDS < ANSWER_TIMEOUT
        assert store.wait_result("t", BLOCK_SECONDS + 0.1) is None

    def test_out_of_memory(self, server: RedisServer, store: Store) -> None:
        server.ask("CONFIG", "SET", "maxmemory", "1")
        for verb in ("save_results", "park", "pause", "beat"):
            with pytest.raises(Unavailable, match="out of memory"):
                EVERY_VERB[verb](store)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        store.save_results([a_result()], 60)

    def test_a_read_only_replica(self, server: RedisServer, store: Store) -> None:
        server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        for verb in ("save_results", "park", "pause", "beat"):
            with pytest.raises(Unavailable, match="replica"):
                EVERY_VERB[verb](store)


class TestOpening:
    @pytest.mark.parametrize(("url", "hint"), [("redsi://h", "'redis'"), ("sqlit:///x", "'sqlite'"), ("zzz://", "")])
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
        code = "import sys, fbcli.stores; print([m for m in sys.modules if m in ('redis', 'sqlite3', 'msgspec')])"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "[]"
