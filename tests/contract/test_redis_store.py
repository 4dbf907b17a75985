"""The store contract on every kind of Redis, and what only Redis can get wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from fbcli.clients.lua import LuaScript
from fbcli.clients.redis import ANSWER_TIMEOUT, connect
from fbcli.errors import Unavailable
from fbcli.stores import open_store
from fbcli.stores.base import BUSY, DONE, GRANTED, Limits, Store, Writes
from fbcli.stores.redis import results
from fbcli.stores.redis.backend import PERMANENT
from fbcli.stores.redis.results import BLOCK_SECONDS, INDEX_SIZE
from fbcli.testing import StoreContract
from fbcli.testing.store.claims import ask, free, mark
from fbcli.testing.store.samples import EVERY_VERB, a_message, a_record, a_result, ids
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
        ask(store, "a", "b", owner="one", lease=0.2, limit=2)
        ask(store, "a", "c", owner="two", lease=0.1, limit=2)
        store.keep_claims(["s"], "two", 0.3)
        mark(store, "b", owner="one", ttl=None)
        mark(store, "b", "c", owner="one", ttl=0.2)
        mark(store, "b", ttl=None, space="t")
        mark(store, "c", ttl=0.2, space="t")
        assert store.unmark("t", ["b"]) == 1
        mark(store, "b", ttl=None, space="u")
        mark(store, "c", ttl=60, space="u")
        assert store.unmark("u") == 2
        wait_until(lambda: not list(server.scan_iter()), "all keys to expire")

    def test_resuming_the_last_open_pause_lets_the_others_expire(
        self, store: Store, server: Any
    ) -> None:
        store.pause("open")
        store.pause("timed", 30)
        assert server.pttl("fb:{notices}:pauses:ends") == -1
        store.resume("open")
        assert 20_000 < server.pttl("fb:{notices}:pauses:ends") < 31_000

    def test_what_is_given_back_takes_no_room(self, store: Store, server: Any) -> None:
        keys = [f"{n}" for n in range(100)]
        ask(store, *keys, owner="one")
        ask(store, *keys, owner="two", limit=2)
        mark(store, *keys[:50], owner="one")
        free(store, *keys[50:], owner="one")
        assert server.hlen("fb:claims:{:s}:held") == 100
        store.drop_claims(["s"], "two")
        assert list(server.scan_iter("fb:claims:*")) == [b"fb:claims:{:s}:owners"]
        store.drop_claims(["s"], "one")
        assert list(server.scan_iter("fb:claims:*")) == []

    def test_claims_are_there_as_long_as_the_last_owner(self, store: Store, server: Any) -> None:
        def left() -> list[int]:
            return [server.pttl(key) for key in server.scan_iter("fb:claims:*")]

        ask(store, "a", owner="brief", lease=5)
        ask(store, "b", owner="lasting", lease=1000)
        ask(store, "c", owner="brief too", lease=5)
        assert len(left()) == 2
        assert min(left()) > 1_000_000
        free(store, "a", "c", owner="brief")
        free(store, "b", owner="lasting")
        free(store, "c", owner="brief too")
        ask(store, "d", owner="brief", lease=5)
        assert len(left()) == 2
        assert min(left()) > 1_000_000

    def test_marks_are_kept_as_long_as_the_last(self, store: Store, server: Any) -> None:
        mark(store, "a", ttl=60)
        mark(store, "b", ttl=0.1)
        mark(store, "c", ttl=None)
        kept = [server.pttl(f"fb:marks:{{:s}}:{name}") for name in ("ends", "batches", "ever")]
        assert all(50_000 < left <= 61_000 for left in kept[:2])
        assert kept[2] == -1

    def test_what_has_ended_is_removed(self, store: Store, server: Any) -> None:
        keys = [f"{n}" for n in range(2500)]
        mark(store, "lasting", "0")
        mark(store, *keys[1:], ttl=0.1)
        for key in keys[1:50]:
            mark(store, key, ttl=0.1)
        mark(store, "1")
        ask(store, "a", owner="lives")
        ask(store, "b", owner="dies", lease=0.1)
        store.beat([a_record("kept")], 60)
        store.beat([a_record("gone")], 0.1)
        wait_until(lambda: len(store.consumers()) == 1, "all to end")
        wait_until(lambda: DONE not in ask(store, *keys[2:]), "the marks to end")
        store.drop_claims(["s"], "o")
        while store.sweep(["s", "t"]):
            pass
        assert server.hlen("fb:marks:{:s}:ends") == 3
        assert server.zcard("fb:marks:{:s}:batches") == 2
        assert server.hlen("fb:claims:{:s}:held") == 1
        assert server.hlen("fb:{notices}:consumers:texts") == 1

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
        assert server.hlen("fb:results:{:t}") == 1
        assert 50_000 < server.pttl("fb:results:{:t}") < 61_000
        assert 0 < server.pttl("fb:result:{:t}:t") <= 10_000
        assert 0 < server.pttl("fb:waited:{:t}") <= 12_000

    def test_nobody_is_told_who_does_not_wait(self, store: Store, server: Any) -> None:
        store.save_results([a_result("a"), a_result("b")], 60)
        assert list(server.scan_iter("fb:result:*")) == []

    def test_results_of_one_moment_lie_together(self, store: Store, server: Any) -> None:
        moments = {f"0198c0de-aa{n:02x}-7{n:03x}-8000-00000000000{n % 10}": n for n in range(20)}
        later = "0198c0df-0000-7000-8000-000000000000"
        strange = ["0198c0de-aa", "0198c0de-aa00-4000-8000-000000000000", "}", "{}", "x" * 36]
        every = [*moments, later, *strange]
        store.save_results([a_result(task_id) for task_id in every], 60)
        assert server.hlen("fb:results:{:0198c0de-aa}") == 21
        assert len(list(server.scan_iter("fb:results:*"))) == 6
        assert set(store.results_of([*every, "unheard-of"])) == set(every)
        assert {result.task_id for result in store.results(limit=100)} == set(every)

    def test_each_of_a_bucket_ends_in_its_own_time(self, store: Store, server: Any) -> None:
        first, second = (f"0198c0de-aaaa-7000-8000-00000000000{n}" for n in range(2))
        store.save_results([a_result(first)], 0.2)
        store.save_results([a_result(second)], 60)
        wait_until(lambda: store.result(first) is None, "the first to end")
        assert set(store.results_of([first, second])) == {second}
        assert store.wait_result(first, 0) is None

    def test_a_bucket_does_not_grow_without_end(
        self, store: Store, server: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of ids that somebody has made up."""
        monkeypatch.setattr(results, "SAVE", results.SAVE.replace(f"{results.CROWDED}", "500"))
        monkeypatch.setattr(
            results, "PUT", LuaScript(results.PUT.source.replace(f"{results.CROWDED}", "500"))
        )
        bucket = "fb:results:{:0198c0de-aa}"

        def save(start: int, ttl: float) -> None:
            task_ids = [f"0198c0de-aaaa-7000-8000-{n:012}" for n in range(start, start + 100)]
            store.save_results([a_result(task_id) for task_id in task_ids], ttl)

        for n in range(20):
            save(100 * n, 0.1)
        save(10_000, 60)
        assert server.hlen(bucket) == 2100
        wait_until(lambda: store.result("0198c0de-aaaa-7000-8000-000000001999") is None, "the end")
        for n in range(101, 141):
            save(100 * n, 60)
        assert server.hlen(bucket) < 4100 + 1000, "most of the 2,000 that have ended are gone"


class TestRedisStore(RedisStoreContract):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
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

    def test_writes_that_belong_together_are_one_step(self, store: Store, server: Any) -> None:
        def write() -> None:
            saved = [a_result(f"{n}", f"q{n // 70}") for n in range(200)]
            writes = Writes().save_results(saved, 60)
            writes.mark("s", ["a"], ["1"], owner="o", ttl=60).free("t", ["a"], ["1"], owner="o")
            store.write(writes)

        write()
        server.config_resetstat()
        write()
        calls = {name: stat["calls"] for name, stat in server.info("commandstats").items()}
        assert calls["cmdstat_evalsha"] == 1
        assert "cmdstat_eval" not in calls

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
    def url(self, redis_cluster: RedisCluster) -> str:
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
        mark(store, "a", ttl=None)
        ask(store, "b")
        server.kill()
        server.start()
        assert store.pauses() == {"q": None}
        assert store.limits() == {"q": Limits(qps=5)}
        assert ask(store, "a", "b", "c", owner="p") == [DONE, BUSY, GRANTED]
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
        monkeypatch.setattr("fbcli.stores.redis.results.BLOCK_SECONDS", 0.05)
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
