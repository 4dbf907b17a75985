"""The store contract on every kind of Redis, and what only Redis can get wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from fbcli.clients.redis import ANSWER_TIMEOUT, connect
from fbcli.errors import Unavailable
from fbcli.stores import open_store
from fbcli.stores.base import Limits, Store
from fbcli.stores.redis.claims import SWEEP as MARKS_SWEEP
from fbcli.stores.redis.scripts import INDEX_SIZE
from fbcli.stores.redis.store import BLOCK_SECONDS, PERMANENT
from tests.contract.store_contract import StoreContract
from tests.contract.store_samples import EVERY_VERB, a_message, a_record, a_result, ids
from tests.servers import free_port, wait_until
from tests.servers.redis import RedisCluster, RedisSentinel, RedisServer


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
            or (
                server.pttl(key) == -1
                and not key.startswith(tuple(name.encode() for name in PERMANENT))
            )
        ]
        assert leaks == []

    def test_what_expires_leaves_nothing_behind(self, store: Store, server: Any) -> None:
        store.pause("q", 0.2)
        store.pause("r")
        store.pause("r", 0.3)
        store.save_results([a_result("a"), a_result("b", "r")], 0.2)
        store.beat([a_record()], 0.2)
        store.park([a_message()])
        assert store.unpark("q", "amqp", ids(store.due("q", "amqp", 1, 60))) == 1
        store.limit("q", Limits(qps=1))
        assert store.unlimit("q")
        store.request_cancel(["a"], 0.3)
        store.request_cancel(["b"], 0.2)
        store.claim("s", ["a", "b"], owner="one", lease=0.2)
        store.claim("s", ["c"], owner="two", lease=0.1)
        store.keep_claims(["s"], "two", 0.3)
        store.mark("s", ["b"], owner="one", ttl=None)
        store.mark("s", ["b", "c"], owner="one", ttl=0.2)
        store.mark("t", ["b"], owner="one", ttl=None)
        store.mark("t", ["c"], owner="one", ttl=0.2)
        assert store.unmark("t", ["b"]) == 1
        store.mark("u", ["b"], owner="one", ttl=None)
        assert store.unmark("u") == 1
        wait_until(lambda: not list(server.scan_iter()), "all keys to expire")

    def test_resuming_the_last_open_pause_lets_the_others_expire(
        self, store: Store, server: Any
    ) -> None:
        store.pause("open")
        store.pause("timed", 30)
        assert server.pttl("fb:pauses") == -1
        store.resume("open")
        assert 20_000 < server.pttl("fb:pauses") < 31_000

    def test_what_is_given_back_takes_no_room(self, store: Store, server: Any) -> None:
        store.claim("s", [f"{n}" for n in range(100)], owner="one", lease=60)
        store.claim("s", [f"{n}" for n in range(100)], owner="two", lease=60, limit=2)
        store.mark("s", [f"{n}" for n in range(50)], owner="one", ttl=60)
        store.free("s", [f"{n}" for n in range(50, 100)], owner="one")
        assert server.hlen("fb:claims:{:s}:totals") == 100
        assert not server.exists("fb:claims:{:s}:held:one")
        store.drop_claims(["s"], "two")
        assert list(server.scan_iter("fb:claims:*")) == [b"fb:claims:{:s}:owners"]
        store.drop_claims(["s"], "one")
        assert list(server.scan_iter("fb:claims:*")) == []

    def test_the_keys_of_a_space_expire_together(self, store: Store, server: Any) -> None:
        """Else what a dead owner held would be unknown when it is to be subtracted."""
        store.claim("s", ["a"], owner="brief", lease=0.1)
        store.claim("s", ["b"], owner="lasting", lease=1000)
        store.claim("s", ["c"], owner="brief too", lease=0.1)
        left = [
            server.pttl(key)
            for key in server.scan_iter("fb:claims:*")
            if b"brief" not in key or b"too" in key
        ]
        assert len(left) == 4
        assert min(left) > 1_000_000
        assert max(left) - min(left) < 100

    def test_idle_owners_go_on_with_the_others(self, store: Store, server: Any) -> None:
        store.claim("s", ["a"], owner="idle", lease=5)
        store.claim("s", ["b"], owner="busy", lease=1000)
        assert server.pttl("fb:claims:{:s}:held:idle") > 1_000_000

    def test_marks_are_kept_as_long_as_the_last(self, store: Store, server: Any) -> None:
        store.mark("s", ["a"], owner="o", ttl=60)
        store.mark("s", ["b"], owner="o", ttl=0.1)
        assert 50_000 < server.pttl("fb:marks:{:s}") <= 61_000
        store.mark("s", ["c"], owner="o", ttl=None)
        assert server.pttl("fb:marks:{:s}") == -1
        wait_until(lambda: store.unmark("s", ["b"]) == 0, "the mark to expire")
        assert store.unmark("s", ["c"]) == 1
        assert 50_000 < server.pttl("fb:marks:{:s}") <= 61_000

    def test_expired_marks_are_removed_along_the_way(self, store: Store, server: Any) -> None:
        store.mark("s", ["lasting"], owner="o", ttl=60)
        store.mark("s", [f"{n}" for n in range(2 * MARKS_SWEEP)], owner="o", ttl=0.1)
        wait_until(
            lambda: store.claim("s", ["0"], owner="o", lease=60)[0].state != "done",
            "the marks to expire",
        )
        store.mark("s", ["new"], owner="o", ttl=60)
        assert server.zcard("fb:marks:{:s}") == MARKS_SWEEP + 1
        store.mark("s", ["newer"], owner="o", ttl=60)
        assert server.zcard("fb:marks:{:s}") == 3

    def test_a_clock_that_is_put_back_holds_nobody_up(self, store: Store, server: Any) -> None:
        hence = time.time() + 3600
        server.set("fb:tokens:k", f"{hence + 0.4} {hence}", px=60_000)
        count, wait = store.take_tokens("k", 10, 1, ahead=1, slack=0)
        assert count == 1
        assert 0.4 < wait < 0.501

    def test_a_grid_is_forgotten(self, store: Store, server: Any) -> None:
        assert store.take_tokens("k", 0.1, 1, ahead=0, slack=0).count == 1
        assert 60_000 < server.pttl("fb:tokens:k") <= 70_001
        assert store.take_tokens("k", 0.01, 1, ahead=0, slack=0).count == 0
        assert 150_000 < server.pttl("fb:tokens:k") <= 160_001

    def test_the_index_keeps_the_newest(self, store: Store, server: Any) -> None:
        store.save_results([a_result(f"{n}") for n in range(INDEX_SIZE)], 60)
        store.save_results([a_result("new", value=n) for n in range(2)], 60)
        assert server.llen("fb:recent") == server.llen("fb:recent:q") == INDEX_SIZE
        assert ids(store.results(limit=2)) == ["new", f"{INDEX_SIZE - 1}"]
        assert store.result("0") is not None

    def test_waiting_leaves_the_result_as_it_was(
        self, store: Store, server: Any, threads: ThreadPoolExecutor
    ) -> None:
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

    def test_the_url_of_the_list_broker_reaches_the_same_store(
        self, store: Store, redis_url: str
    ) -> None:
        store.pause("q")
        same = open_store(redis_url.replace("redis://", "redis+list://"))
        assert same.pauses() == {"q": None}
        same.close()

    def test_a_batch_is_one_transaction_of_a_few_scripts(self, store: Store, server: Any) -> None:
        server.config_resetstat()
        store.save_results([a_result(f"{n}", f"q{n // 70}") for n in range(200)], 60)
        calls = {name: stat["calls"] for name, stat in server.info("commandstats").items()}
        assert (calls["cmdstat_exec"], calls["cmdstat_eval"]) == (1, 3)

    def test_news_are_one_round_trip(self, store: Store, server: Any) -> None:
        store.news()
        before = int(server.info("stats")["total_reads_processed"])
        store.news()
        assert (
            int(server.info("stats")["total_reads_processed"]) - before == 2
        )  # and one is this question


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[RedisCluster]:
    with ExitStack() as servers:
        yield servers.enter_context(RedisCluster())


class TestRedisClusterStore(RedisStoreContract):
    @pytest.fixture
    def store_url(self, redis_cluster: RedisCluster) -> str:
        for node in redis_cluster.nodes:
            node.ask("FLUSHALL")
        return redis_cluster.url

    @pytest.fixture
    def unreachable_url(self) -> str:
        return f"redis+cluster://:secret@127.0.0.1:{free_port()}"


class TestRedisSentinelStore:
    def test_every_verb(self) -> None:
        with RedisSentinel() as servers:
            store = open_store(servers.url)
            for verb in EVERY_VERB.values():
                verb(store)
            assert store.result("t") == a_result()
            store.close()


WRITING = (
    "save_results",
    "park",
    "pause",
    "beat",
    "limit",
    "request_cancel",
    "take_tokens",
    "claim",
    "mark",
)


class TestARedisServerInTrouble:
    @pytest.fixture
    def server(self) -> Iterator[RedisServer]:
        server = RedisServer(appendonly=True)
        with server:
            yield server

    @pytest.fixture
    def store(self, server: RedisServer) -> Iterator[Store]:
        store = open_store(server.url)
        yield store
        store.close()

    def test_every_verb_works_again_after_a_restart(
        self, server: RedisServer, store: Store
    ) -> None:
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

    def test_what_was_confirmed_survives_a_power_cut(
        self, server: RedisServer, store: Store
    ) -> None:
        store.pause("q")
        store.save_results([a_result(f"{n}") for n in range(200)], 60)
        store.park([a_message(due=9e9)])
        store.limit("q", Limits(qps=5))
        store.mark("s", ["a"], owner="o", ttl=None)
        store.claim("s", ["b"], owner="o", lease=60)
        server.kill()
        server.start()
        assert store.pauses() == {"q": None}
        assert store.limits() == {"q": Limits(qps=5)}
        assert [answer.state for answer in store.claim("s", ["a", "b"], owner="p", lease=60)] == [
            "done",
            "busy",
        ]
        assert len(store.results(limit=1000)) == 200
        assert store.parked("q", "amqp", 10) == [a_message(due=9e9)]

    def test_who_waits_is_told(self, server: RedisServer, store: Store) -> None:
        with ThreadPoolExecutor(1) as threads:
            waiter = threads.submit(store.wait_result, "t", 60)
            wait_until(lambda: "cmd=blmove" in server.ask("CLIENT", "LIST"), "the waiter to wait")
            server.kill()
            with pytest.raises(Unavailable, match="cannot be reached"):
                waiter.result(timeout=10)

    def test_a_long_wait_is_cut_in_pieces(
        self, server: RedisServer, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fbcli.stores.redis.store.BLOCK_SECONDS", 0.05)
        assert store.wait_result("t", 0.2) is None
        with ThreadPoolExecutor(1) as threads:
            waiter = threads.submit(store.wait_result, "t", 20)
            calls = "cmdstat_blmove:calls="
            wait_until(
                lambda: (
                    int(
                        server.ask("INFO", "commandstats").partition(calls)[2].partition(",")[0]
                        or 0
                    )
                    > 6
                ),
                "several waits",
            )
            store.save_results([a_result()], 60)
            assert waiter.result(timeout=10) == a_result()

    def test_a_wait_may_take_longer_than_one_block(self, store: Store) -> None:
        assert 2 * BLOCK_SECONDS < ANSWER_TIMEOUT
        assert store.wait_result("t", BLOCK_SECONDS + 0.1) is None

    def test_out_of_memory(self, server: RedisServer, store: Store) -> None:
        server.ask("CONFIG", "SET", "maxmemory", "1")
        for verb in WRITING:
            with pytest.raises(Unavailable, match="out of memory"):
                EVERY_VERB[verb](store)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        store.save_results([a_result()], 60)

    def test_a_read_only_replica(self, server: RedisServer, store: Store) -> None:
        server.ask("REPLICAOF", "127.0.0.1", str(free_port()))
        for verb in WRITING:
            with pytest.raises(Unavailable, match="replica"):
                EVERY_VERB[verb](store)
