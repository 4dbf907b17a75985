"""The plain Redis list beyond the contract."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from fbcli.broker import Action, Broker, Inbox, Outgoing, Settlement, Size
from fbcli.broker_registry import open_broker
from fbcli.errors import Unavailable
from fbcli.testing import BrokerContract
from tests.contract.redis_model import run_model
from tests.servers.redis import RedisServer

QUEUE = "work.queue"


def list_url(url: str) -> str:
    return url.replace("redis://", "redis+list://")


class TestRedisList(BrokerContract):
    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return list_url(redis_url)


class TestEmulatedRedisList(BrokerContract):
    emulated = True

    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return list_url(redis_url)


def test_it_is_as_the_model_says(redis_url: str) -> None:
    run_model(list_url(redis_url))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    with closing(open_broker(list_url(redis_url))) as broker:
        yield broker


@pytest.fixture
def inbox(broker: Broker) -> Iterator[Inbox]:
    with closing(broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)) as inbox:
        yield inbox


def test_it_is_a_plain_list_and_says_what_that_means(
    broker: Broker, client: redis.Redis, inbox: Inbox
) -> None:
    assert not broker.capabilities.ack
    assert not broker.capabilities.delay_publish
    broker.publish(QUEUE, [Outgoing(b"1"), Outgoing(b"2")])
    client.lpush(QUEUE, b"3")
    assert [d.body for d in inbox.fetch(10, 0)] == [b"1", b"2", b"3"]
    inbox.close()
    assert client.keys() == [b"fb:queues"], "gone with its consumer"


def test_release_and_burial_push_back(broker: Broker, inbox: Inbox) -> None:
    broker.publish(QUEUE, [Outgoing(b"%d" % i) for i in range(5)])
    found = inbox.fetch(4, 0)
    settlements = [
        Settlement(found[0], Action.RELEASE),
        Settlement(found[1]),
        Settlement(found[2], Action.BURY, body=b"dead"),
        Settlement(found[3], Action.RELEASE, body=b"new"),
    ]
    assert not inbox.settle(settlements)
    assert broker.peek(QUEUE, 9) == [b"0", b"new", b"4"]
    assert broker.peek(QUEUE + ".dead", 9) == [b"dead"]


def test_the_doorbell_of_the_other_broker_is_not_a_message(redis_url: str, inbox: Inbox) -> None:
    with closing(open_broker(redis_url)) as other:
        other.publish(QUEUE, [Outgoing(b"urgent", priority=1)])
        assert inbox.fetch(10, 0.05) == []
        other.publish(QUEUE, [Outgoing(b"urgent", priority=1)])
        other.publish(QUEUE, [Outgoing(b"plain")])
        assert [d.body for d in inbox.fetch(10, 1)] == [b"plain"]


def test_a_message_between_two_fetches_is_kept_or_given_back(broker: Broker, inbox: Inbox) -> None:
    for limit, expected in ((1, [b"x"]), (0, [])):
        timer = threading.Timer(0.05, inbox.wake)
        timer.start()
        assert inbox.fetch(1, 10) == []
        timer.join()
        broker.publish(QUEUE, [Outgoing(b"x")])
        assert [d.body for d in inbox.fetch(limit, 0)] == expected
    assert broker.size(QUEUE) == Size(1, 0, 0)


def test_closing_gives_back_what_came_in_the_last_moment(broker: Broker, inbox: Inbox) -> None:
    timer = threading.Timer(0.05, inbox.wake)
    timer.start()
    assert inbox.fetch(1, 10) == []
    timer.join()
    broker.publish(QUEUE, [Outgoing(b"x")])
    inbox.close()
    inbox.close()
    assert broker.peek(QUEUE, 1) == [b"x"]


def test_it_goes_on_after_a_restart() -> None:
    with (
        RedisServer(appendonly=True) as server,
        closing(open_broker(list_url(server.url))) as broker,
    ):
        inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)
        broker.publish(QUEUE, [Outgoing(b"1"), Outgoing(b"2")])
        assert [d.body for d in inbox.fetch(1, 0)] == [b"1"]
        server.stop()
        with pytest.raises(Unavailable):
            inbox.fetch(1, 0)
        server.start()
        assert [d.body for d in inbox.fetch(1, 0)] == [b"2"]
        timer = threading.Timer(0.1, lambda: broker.publish(QUEUE, [Outgoing(b"3")]))
        timer.start()
        started = time.monotonic()
        assert [d.body for d in inbox.fetch(1, 10)] == [b"3"]
        assert time.monotonic() - started < 5
        timer.join()
        inbox.close()
