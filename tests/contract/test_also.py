"""What a store does in the round trip in which an inbox settles: before it, with it, or not."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement
from fbcli.broker_registry import open_broker
from fbcli.brokers.memory import MemoryBroker
from fbcli.clients.lua import Step
from fbcli.errors import Unavailable, UsageError
from tests.servers import wait_until
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

QUEUE = "q"
SET = "redis.call('SET', KEYS[1], ARGV[1])"
COUNT = "local n = redis.call('INCRBY', KEYS[1], ARGV[1]) return n"


def opened(broker: Broker) -> Inbox:
    return broker.open(QUEUE, consumer_id="c", prefetch=10, lease=60)


def acks(deliveries: list[Delivery]) -> list[Settlement]:
    return [Settlement(delivery) for delivery in deliveries]


class TestRedis:
    @pytest.fixture
    def client(self, redis_url: str) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            yield client

    @pytest.fixture
    def broker(self, redis_url: str) -> Iterator[Broker]:
        with closing(open_broker(redis_url)) as broker:
            yield broker

    @pytest.fixture
    def inbox(self, broker: Broker) -> Iterator[Inbox]:
        with closing(opened(broker)) as inbox:
            yield inbox

    def test_both_are_done(self, broker: Broker, inbox: Inbox, client: redis.Redis) -> None:
        """Each script has keys and arguments of its own; one may come twice."""
        broker.publish(QUEUE, [Outgoing(b"%d" % i) for i in range(6)])
        found = inbox.fetch(6, 5)
        also = [
            Step(SET, ["one"], ["1"]),
            Step(COUNT, ["sum"], [2]),
            Step(SET, ["two"], [b"\0\xff two"]),
            Step(COUNT, ["sum"], [3]),
        ]
        batch = acks(found[:4])
        batch += [Settlement(found[4], Action.RELEASE), Settlement(found[5], Action.BURY)]
        assert not inbox.settle(batch, also)
        assert (client.get("one"), client.get("sum")) == ("1", "5")
        with redis.Redis(connection_pool=redis.ConnectionPool.from_url(broker.url)) as raw:
            assert raw.get("two") == b"\0\xff two"
        size = broker.size(QUEUE)
        assert (size.ready, size.in_flight) == (1, 0)
        assert broker.size(f"{QUEUE}.dead").ready == 1

    @pytest.mark.parametrize("action", list(Action))
    def test_when_a_store_fails_nothing_is_settled(
        self, broker: Broker, inbox: Inbox, client: redis.Redis, action: Action
    ) -> None:
        broker.publish(QUEUE, [Outgoing(b"x"), Outgoing(b"y")])
        batch = [Settlement(each, action) for each in inbox.fetch(2, 5)]
        client.lpush("wrong", "a list")
        with pytest.raises(UsageError):
            inbox.settle(batch, [Step(SET, ["one"], ["1"]), Step(COUNT, ["wrong"], [1])])
        size = broker.size(QUEUE)
        assert (size.ready, size.in_flight) == (0, 2)
        client.delete("wrong")
        assert not inbox.settle(batch, [Step(COUNT, ["wrong"], [1])])
        assert broker.size(QUEUE).in_flight == 0

    def test_by_itself(self, inbox: Inbox, client: redis.Redis) -> None:
        assert not inbox.settle((), [Step(SET, ["one"], ["1"])])
        assert client.get("one") == "1"

    def test_with_what_was_handed_over_while_it_waited(
        self, broker: Broker, inbox: Inbox, client: redis.Redis
    ) -> None:
        """It lies elsewhere in the server until the next claim."""
        inbox.fetch(1, 0.05)
        timer = threading.Timer(0.1, lambda: broker.publish(QUEUE, [Outgoing(b"x")]))
        timer.start()
        found = inbox.fetch(1, 10)
        timer.join()
        assert not inbox.settle(acks(found), [Step(SET, ["one"], ["1"])])
        assert broker.size(QUEUE).in_flight == 0
        assert inbox.fetch(1, 0.05) == []

    def test_more_than_one_command_can_take(
        self, broker: Broker, inbox: Inbox, client: redis.Redis
    ) -> None:
        broker.publish(QUEUE, [Outgoing(b"%d" % i) for i in range(12_000)])
        found: list[Delivery] = []
        while len(found) < 12_000:
            found += inbox.fetch(2000, 5)
        assert not inbox.settle(acks(found), [Step(SET, ["one"], ["1"])])
        assert broker.size(QUEUE).in_flight == 0

    def test_late_ones_are_told_and_the_store_has_its_own(
        self, broker: Broker, client: redis.Redis
    ) -> None:
        """A store knows by itself what comes too late for it."""
        broker.publish(QUEUE, [Outgoing(b"x")])
        with (
            closing(broker.open(QUEUE, consumer_id="dead", prefetch=1, lease=0.1)) as dead,
            closing(opened(broker)) as heir,
        ):
            batch = acks(dead.fetch(1, 5))
            wait_until(lambda: heir.keep_alive() == 1, "the lease to end")
            assert list(dead.settle(batch, [Step(SET, ["one"], ["1"])])) == batch
            assert client.get("one") == "1"
            assert len(heir.fetch(1, 5)) == 1

    def test_a_lost_reply(
        self, redis_server: RedisServer, redis_url: str, client: redis.Redis
    ) -> None:
        """Given again, it is done again: so whatever a store has done may be repeated."""
        with Proxy(redis_server.port) as proxy:
            url = redis_url.replace(f":{redis_server.port}/", f":{proxy.port}/")
            with closing(open_broker(url)) as broker, closing(opened(broker)) as inbox:
                broker.publish(QUEUE, [Outgoing(b"x")])
                batch = acks(inbox.fetch(1, 5))
                proxy.lose_reply(b"marker")
                with pytest.raises(Unavailable):
                    inbox.settle(batch, [Step(SET, ["one"], ["marker"])])
                assert proxy.lost
                assert not inbox.settle(batch, [Step(SET, ["one"], ["marker"])])
                assert broker.size(QUEUE).in_flight == 0

    def test_a_plain_list_does_it_first(self, redis_url: str, client: redis.Redis) -> None:
        with (
            closing(open_broker(redis_url.replace("redis://", "redis+list://"))) as broker,
            closing(opened(broker)) as inbox,
        ):
            broker.publish(QUEUE, [Outgoing(b"x")])
            found = inbox.fetch(1, 5)
            client.lpush("wrong", "a list")
            release = [Settlement(found[0], Action.RELEASE)]
            with pytest.raises(UsageError):
                inbox.settle(release, [Step(COUNT, ["wrong"], [1])])
            assert broker.size(QUEUE).ready == 0
            assert not inbox.settle(release, [Step(SET, ["one"], ["1"])])
            assert (client.get("one"), broker.size(QUEUE).ready) == ("1", 1)


class TestSqlite:
    """A store in the same file."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        with closing(sqlite3.connect(tmp_path / "one.db")) as connection:
            connection.execute("CREATE TABLE results (id TEXT PRIMARY KEY, body TEXT)")
        return tmp_path / "one.db"

    def test_both_or_neither(self, path: Path) -> None:
        with (
            closing(open_broker(f"sqlite:///{path}")) as broker,
            closing(opened(broker)) as inbox,
            closing(sqlite3.connect(path)) as reader,
        ):
            broker.publish(QUEUE, [Outgoing(b"x"), Outgoing(b"y")])
            batch = acks(inbox.fetch(2, 5))

            def insert(*bodies: str) -> Callable[[sqlite3.Connection], None]:
                def also(connection: sqlite3.Connection) -> None:
                    for body in bodies:
                        connection.execute("INSERT INTO results VALUES ('a', ?)", (body,))

                return also

            with pytest.raises(sqlite3.IntegrityError):
                inbox.settle(batch, insert("1", "2"))
            assert broker.size(QUEUE).in_flight == 2
            assert not reader.execute("SELECT * FROM results").fetchall()
            assert not inbox.settle(batch, insert("1"))
            assert broker.size(QUEUE).in_flight == 0
            assert reader.execute("SELECT * FROM results").fetchall() == [("a", "1")]


def test_in_memory_it_is_called() -> None:
    done: list[int] = []
    with closing(MemoryBroker("memory://")) as broker, closing(opened(broker)) as inbox:
        broker.publish(QUEUE, [Outgoing(b"x")])
        batch = acks(inbox.fetch(1, 5))

        def fail() -> None:
            raise Unavailable("the store is away")

        with pytest.raises(Unavailable):
            inbox.settle(batch, fail)
        assert broker.size(QUEUE).in_flight == 1
        assert not inbox.settle(batch, lambda: done.append(broker.size(QUEUE).in_flight or 0))
        assert (done, broker.size(QUEUE).in_flight) == ([1], 0)
