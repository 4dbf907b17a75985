"""Publishing to Redis when replies get lost: what has an id gets in once, and of a batch it is
known what is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from fbcli.broker import ID_SECONDS, Broker, Outgoing
from fbcli.broker_registry import open_broker
from fbcli.errors import PartlyPublished, Unavailable
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

QUEUE = "work.queue"
IDS = f"fb:{{{QUEUE}}}:ids"


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(params=["redis", "redis+list"])
def broker(
    request: pytest.FixtureRequest, redis_url: str, proxy: Proxy, redis_server: RedisServer
) -> Iterator[Broker]:
    url = redis_url.replace(f":{redis_server.port}/", f":{proxy.port}/")
    with closing(open_broker(url.replace("redis://", f"{request.param}://"))) as broker:
        broker.publish(QUEUE, [])  # what is loaded and announced once is behind it
        broker.publish(QUEUE, [Outgoing(b"first", id="first")])
        yield broker


def published(client: redis.Redis) -> list[bytes]:
    return list(reversed(client.lrange(QUEUE, 0, -1)))


def test_a_push_whose_reply_was_lost_is_repeated(
    broker: Broker, client: redis.Redis, proxy: Proxy
) -> None:
    """By the broker itself: every message has an id, so nothing gets in twice."""
    proxy.lose_reply(b"one")
    broker.publish(QUEUE, [Outgoing(b"one", id="1"), Outgoing(b"two", id="2")])
    assert proxy.lost
    assert published(client) == [b"first", b"one", b"two"]


def test_a_push_without_ids_is_not_repeated(
    broker: Broker, client: redis.Redis, proxy: Proxy
) -> None:
    """Nobody knows whether it got in; here it did."""
    for batch in ([Outgoing(b"one")], [Outgoing(b"one"), Outgoing(b"two", id="2")]):
        proxy.lose_reply(b"one")
        with pytest.raises(Unavailable):
            broker.publish(QUEUE, batch)
        assert proxy.lost
    assert published(client) == [b"first", b"one", b"one", b"two"]


def test_a_push_that_failed_may_be_repeated_by_hand(
    broker: Broker, client: redis.Redis, redis_url: str, proxy: Proxy
) -> None:
    """Both tries of the broker have failed; another process tries again."""
    batch = [Outgoing(b"%d" % i, id=f"{i}") for i in range(3)]
    proxy.lose_reply(b"\r\n0\r\n")
    broker.publish(QUEUE, batch)
    with closing(open_broker(redis_url)) as other:
        other.publish(QUEUE, batch)
    assert published(client) == [b"first", b"0", b"1", b"2"]


@pytest.mark.parametrize("ids", [False, True])
def test_of_a_batch_it_is_known_what_is_in(
    broker: Broker, client: redis.Redis, proxy: Proxy, ids: bool
) -> None:
    """A batch goes in pieces of a thousand; the reply to the second is lost, and the third is not
    sent."""
    batch = [Outgoing(b"m%d" % i, id=f"i{i}" if ids and i else None) for i in range(2500)]
    if ids:  # or else the broker would try again by itself
        batch[1000:2000] = [Outgoing(each.body) for each in batch[1000:2000]]
    proxy.lose_reply(b"m1500\r\n")
    with pytest.raises(PartlyPublished) as caught:
        broker.publish(QUEUE, batch)
    assert list(caught.value.accepted) == list(range(1000))
    assert published(client) == [b"first", *(each.body for each in batch[:2000])]


def test_ids_are_forgotten(broker: Broker, client: redis.Redis) -> None:
    """A day later, and with them the room they took: the key, where nothing is published any
    more."""
    assert 0 < client.ttl(IDS) <= ID_SECONDS
    broker.publish(QUEUE, [Outgoing(b"%d" % i, id=f"{i}") for i in range(20)])
    past = client.time()[0] - 1
    client.zadd(IDS, {f"{i}": past for i in range(15)})
    broker.publish(QUEUE, [Outgoing(b"again", id="3"), Outgoing(b"again", id="19")])
    assert published(client)[-2:] == [b"19", b"again"]
    broker.publish(QUEUE, [Outgoing(b"last", id="last")])  # a few are removed each time
    left = {name.decode() for name in client.zrange(IDS, 0, -1)}
    assert left == {"first", "3", "last", *(str(i) for i in range(15, 20))}
