"""The Redis broker beyond the contract: foreign publishers, lost replies, restarts, fencing,
clusters and sentinels."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import pytest
import redis

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement, Size
from fbcli.broker_registry import open_broker
from fbcli.errors import Unavailable, UsageError
from fbcli.testing import BrokerContract
from tests.contract.redis_model import run_model
from tests.servers import wait_until
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisCluster, RedisSentinel, RedisServer

QUEUE = "work.queue"


class TestRedis(BrokerContract):
    spares_held = True

    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url


def test_it_is_as_the_model_says(redis_url: str) -> None:
    run_model(redis_url)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    with closing(open_broker(redis_url)) as broker:
        yield broker


@pytest.fixture
def opened(broker: Broker) -> Iterator[Callable[..., Inbox]]:
    with ExitStack() as inboxes:

        def opened(consumer_id: str = "c", lease: float = 15.0, queue: str = QUEUE) -> Inbox:
            return inboxes.enter_context(
                closing(broker.open(queue, consumer_id=consumer_id, prefetch=1, lease=lease))
            )

        yield opened


def commands_of(client: redis.Redis) -> Counter[str]:
    """Return how often the server has carried out each command, in scripts too."""
    stats = client.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): stats[name]["calls"] for name in stats})


@pytest.fixture
def inbox(opened: Callable[..., Inbox]) -> Inbox:
    return opened()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    with RedisServer(appendonly=True) as server:
        yield server


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def numbered(count: int, **fields: object) -> list[Outgoing]:
    return [Outgoing(b"%d" % i, **fields) for i in range(count)]  # type: ignore[arg-type]


def ack(inbox: Inbox, deliveries: Sequence[Delivery]) -> None:
    assert not inbox.settle([Settlement(delivery) for delivery in deliveries])


def later(seconds: float, do: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, do)
    timer.start()
    return timer


def fetch_all(inbox: Inbox, count: int, timeout: float = 20.0) -> list[bytes]:
    """Fetch and acknowledge `count` messages, as a consumer does that survives whatever happens to
    its server."""
    found: list[bytes] = []
    unsettled: list[Settlement] = []
    deadline = time.monotonic() + timeout
    while (len(found) < count or unsettled) and time.monotonic() < deadline:
        try:
            if unsettled:
                assert not inbox.settle(unsettled)
                unsettled = []
                continue
            deliveries = inbox.fetch(100, 0.2)
        except Unavailable:
            time.sleep(0.02)
            continue
        found += bodies(deliveries)
        unsettled = [Settlement(delivery) for delivery in deliveries]
    return found


class TestPlainList:
    def test_a_foreign_lpush_is_consumed_in_order(self, client: redis.Redis, inbox: Inbox) -> None:
        client.lpush(QUEUE, b'{"x": 1}')
        client.lpush(QUEUE, b'{"x": 2}', b'{"x": 3}')
        assert bodies(inbox.fetch(10, 1)) == [b'{"x": 1}', b'{"x": 2}', b'{"x": 3}']

    def test_a_foreign_lpush_wakes_a_waiting_fetch(self, client: redis.Redis, inbox: Inbox) -> None:
        timer = later(0.1, lambda: client.lpush(QUEUE, b"{}"))
        started = time.monotonic()
        assert bodies(inbox.fetch(10, 10)) == [b"{}"]
        assert time.monotonic() - started < 5
        timer.join()

    def test_a_foreign_program_reads_what_is_published(
        self, broker: Broker, client: redis.Redis
    ) -> None:
        broker.publish(QUEUE, numbered(2500))
        assert client.rpop(QUEUE, 2500) == [b"%d" % i for i in range(2500)]

    def test_nothing_stays_behind(self, broker: Broker, client: redis.Redis) -> None:
        broker.publish(
            QUEUE,
            [
                *numbered(3),
                Outgoing(b"first", priority=9),
                Outgoing(b"soon", not_before=time.time() + 0.1),
            ],
        )
        with closing(broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)) as inbox:
            assert len(fetch_all(inbox, 5)) == 5
            inbox.fetch(1, 0.05)
        assert client.keys() == [b"fb:queues"]


class TestDoorbell:
    def test_a_priority_message_wakes_a_blocked_consumer(
        self, broker: Broker, inbox: Inbox
    ) -> None:
        timer = later(0.1, lambda: broker.publish(QUEUE, [Outgoing(b"urgent", priority=1)]))
        started = time.monotonic()
        assert [(d.body, d.priority) for d in inbox.fetch(10, 10)] == [(b"urgent", 1)]
        assert time.monotonic() - started < 5
        timer.join()

    def test_every_blocked_consumer_is_woken_while_there_is_work(
        self, broker: Broker, opened: Callable[..., Inbox]
    ) -> None:
        found: list[bytes] = []
        inboxes = [opened(f"c{i}") for i in range(3)]
        threads = [
            threading.Thread(target=lambda i=i: found.extend(bodies(i.fetch(1, 10))))
            for i in inboxes
        ]  # type: ignore[misc]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        started = time.monotonic()
        broker.publish(QUEUE, [Outgoing(b"%d" % i, priority=5) for i in range(3)])
        for thread in threads:
            thread.join()
        assert sorted(found) == [b"0", b"1", b"2"]
        assert time.monotonic() - started < 5

    def test_it_is_neither_counted_nor_shown_nor_purged(
        self, broker: Broker, client: redis.Redis, inbox: Inbox
    ) -> None:
        broker.publish(QUEUE, [Outgoing(b"urgent", priority=1)])
        assert client.llen(QUEUE) == 1, "the bell"
        size = broker.size(QUEUE)
        assert size is not None
        assert size.ready == 1
        assert broker.peek(QUEUE, 10) == [b"urgent"]
        broker.publish(QUEUE, numbered(1))
        assert broker.peek(QUEUE, 10) == [b"urgent", b"0"]
        assert broker.purge(QUEUE) == 2

    def test_the_message_behind_it_is_not_missed(self, broker: Broker, inbox: Inbox) -> None:
        broker.publish(QUEUE, [Outgoing(b"urgent", priority=1)])
        broker.publish(QUEUE, numbered(2))
        assert [bodies(inbox.fetch(1, 0)) for _ in range(4)] == [[b"urgent"], [b"0"], [b"1"], []]

    def test_a_sooner_message_shortens_the_wait(self, broker: Broker, inbox: Inbox) -> None:
        broker.publish(QUEUE, [Outgoing(b"late", not_before=time.time() + 30)])
        timer = later(
            0.1, lambda: broker.publish(QUEUE, [Outgoing(b"soon", not_before=time.time() + 0.2)])
        )
        started = time.monotonic()
        assert bodies(inbox.fetch(10, 10)) == [b"soon"]
        assert time.monotonic() - started < 5
        timer.join()


class TestWaiting:
    def test_what_arrives_between_two_fetches_comes_with_the_next(
        self, client: redis.Redis, inbox: Inbox
    ) -> None:
        timer = later(0.05, inbox.wake)
        assert inbox.fetch(10, 10) == []
        timer.join()
        client.lpush(QUEUE, b"{}")
        ack(inbox, found := inbox.fetch(10, 10))
        assert bodies(found) == [b"{}"]

    def test_a_consumer_without_room_leaves_the_message_to_others(
        self, client: redis.Redis, opened: Callable[..., Inbox]
    ) -> None:
        full, free = opened("full"), opened("free")
        timer = later(0.05, full.wake)
        full.fetch(1, 10)  # its request stays outstanding
        timer.join()
        full.fetch(0, 0)
        client.lpush(QUEUE, b"{}")
        assert bodies(free.fetch(1, 1)) == [b"{}"]

    def test_even_when_it_was_handed_one_in_the_last_moment(
        self, client: redis.Redis, opened: Callable[..., Inbox]
    ) -> None:
        full, free = opened("full"), opened("free")
        timer = later(0.05, full.wake)
        full.fetch(1, 10)
        timer.join()
        client.lpush(QUEUE, b"{}")
        full.fetch(0, 0)
        assert bodies(free.fetch(1, 1)) == [b"{}"]

    def test_nothing_is_asked_for_while_nobody_waits(
        self, broker: Broker, client: redis.Redis, inbox: Inbox
    ) -> None:
        assert inbox.fetch(1, 0.05) == []
        client.lpush(QUEUE, b"{}")
        assert broker.peek(QUEUE, 1) == [b"{}"]

    def test_many_wakes_from_many_threads(self, inbox: Inbox) -> None:
        stop = threading.Event()

        def nag() -> None:
            while not stop.is_set():
                inbox.wake()

        threads = [threading.Thread(target=nag) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(50):
            assert inbox.fetch(1, 10) == []
        stop.set()
        for thread in threads:
            thread.join()
        inbox.fetch(1, 0)
        started = time.monotonic()
        inbox.fetch(1, 0.2)
        assert time.monotonic() - started > 0.15, "a wake was left over for ever"

    def test_ten_thousand_delayed_messages_start_on_time(
        self, broker: Broker, inbox: Inbox
    ) -> None:
        due = time.time() + 1.5
        broker.publish(
            QUEUE, [Outgoing(b"%d" % i, not_before=due + i % 100 / 100) for i in range(10_000)]
        )
        late: list[float] = []
        while len(late) < 10_000:
            found = inbox.fetch(500, 5)
            late += [time.time() - (due + int(delivery.body) % 100 / 100) for delivery in found]
            ack(inbox, found)
        late.sort()
        assert late[0] >= 0
        assert late[9_900] < 0.2


class TestOrder:
    def test_a_batch_released_comes_back_as_it_was(self, broker: Broker, inbox: Inbox) -> None:
        broker.publish(QUEUE, [*numbered(3), *(Outgoing(b"p%d" % i, priority=2) for i in range(3))])
        expected = [b"p0", b"p1", b"p2", b"0", b"1", b"2"]
        found = inbox.fetch(6, 0)
        assert bodies(found) == expected
        for delay in (0, 0.02):
            broker.publish(QUEUE, [Outgoing(b"later"), Outgoing(b"later", priority=2)])
            assert not inbox.settle(
                [Settlement(delivery, Action.RELEASE, delay) for delivery in found]
            )
            time.sleep(delay)
            assert broker.peek(QUEUE, 8) == [*expected[:3], b"later", *expected[3:], b"later"]
            found = inbox.fetch(8, 0)
            assert bodies(found) == [*expected[:3], b"later", *expected[3:], b"later"]
            ack(inbox, [delivery for delivery in found if delivery.body == b"later"])
            found = [delivery for delivery in found if delivery.body != b"later"]

    def test_what_was_lost_comes_before_what_was_released_for_later(
        self, broker: Broker, opened: Callable[..., Inbox]
    ) -> None:
        """Both come back to the front, the former with a count, which a plain list cannot hold.
        What is shown is what comes."""
        dead, alive = opened("dead", lease=0.1), opened("alive")
        broker.publish(QUEUE, numbered(3))
        assert dead.fetch(1, 0)
        (later,) = alive.fetch(1, 0)
        wait_until(lambda: alive.keep_alive() == 1, "the lease to run out")
        assert not alive.settle([Settlement(later, Action.RELEASE, 0.01)])
        wait_until(lambda: broker.size(QUEUE) == Size(3, 0, 0), "it to be due")
        assert broker.peek(QUEUE, 9) == [b"0", b"1", b"2"]
        assert bodies(alive.fetch(9, 0)) == [b"0", b"1", b"2"]

    def test_a_fetch_is_filled_past_the_doorbell(self, broker: Broker, inbox: Inbox) -> None:
        broker.publish(QUEUE, [Outgoing(b"p", priority=1)])
        broker.publish(QUEUE, numbered(3))
        assert bodies(inbox.fetch(3, 0)) == [b"p", b"0", b"1"]

    def test_what_is_due_is_shown_as_ready_before_anybody_moves_it(self, broker: Broker) -> None:
        now = time.time()
        broker.publish(
            QUEUE,
            [
                Outgoing(b"soon", not_before=now + 0.05),
                Outgoing(b"far", not_before=now + 50),
                *numbered(1),
            ],
        )
        broker.publish(QUEUE, [Outgoing(b"soon", priority=1, not_before=now + 0.05)])
        wait_until(lambda: broker.size(QUEUE) == Size(3, 0, 1), "it to be due")
        assert broker.peek(QUEUE, 9) == [b"soon", b"0", b"soon"]
        assert [message.body for message in broker.delayed(QUEUE, 9)] == [b"far"]


class TestLostReplies:
    """What was asked is carried out by the server, and nobody hears of it."""

    @pytest.fixture
    def proxy(self, redis_server: RedisServer) -> Iterator[Proxy]:
        with Proxy(redis_server.port) as proxy:
            yield proxy

    @pytest.fixture
    def inbox(self, proxy: Proxy, redis_url: str) -> Iterator[Inbox]:
        url = f"redis://127.0.0.1:{proxy.port}/{redis_url.rpartition('/')[2]}"
        with closing(open_broker(url)) as broker:
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)
            yield inbox
            with suppress(Unavailable):
                inbox.close()

    def lose(self, proxy: Proxy, marker: bytes, do: Callable[[], object]) -> None:
        proxy.lose_reply(marker)
        with pytest.raises(Unavailable):
            do()
        assert proxy.lost

    def test_of_a_claim(self, proxy: Proxy, broker: Broker, inbox: Inbox) -> None:
        broker.publish(QUEUE, [*numbered(5), Outgoing(b"p", priority=3)])
        self.lose(proxy, b"EVALSHA", lambda: inbox.fetch(4, 0))
        self.lose(proxy, b"EVALSHA", lambda: inbox.fetch(1, 0))
        found = [inbox.fetch(2, 0), inbox.fetch(10, 0), inbox.fetch(10, 0)]
        assert [bodies(each) for each in found] == [[b"p", b"0"], [b"1", b"2"], [b"3", b"4"]]
        assert [d.deliveries for each in found for d in each] == [1] * 6
        ack(inbox, [d for each in found for d in each])
        assert inbox.fetch(10, 0) == []
        size = broker.size(QUEUE)
        assert size is not None
        assert (size.ready, size.in_flight) == (0, 0)

    def test_of_an_acknowledgement(self, proxy: Proxy, broker: Broker, inbox: Inbox) -> None:
        broker.publish(QUEUE, numbered(4))
        done = [Settlement(delivery) for delivery in inbox.fetch(10, 0)]
        self.lose(proxy, b"HDEL", lambda: inbox.settle(done[:2]))
        assert inbox.settle(done) == [], "the first two were settled in time"

    def test_of_a_message_handed_to_the_waiting(
        self, proxy: Proxy, broker: Broker, inbox: Inbox
    ) -> None:
        proxy.lose_reply(b"BLMOVE")
        timer = later(0.2, lambda: broker.publish(QUEUE, numbered(1)))
        found = inbox.fetch(1, 10)
        timer.join()
        assert bodies(found) == [b"0"]
        ack(inbox, found)
        size = broker.size(QUEUE)
        assert size is not None
        assert (size.ready, size.in_flight) == (0, 0)

    def test_of_the_acknowledgement_of_a_message_handed_over(
        self, proxy: Proxy, broker: Broker, inbox: Inbox
    ) -> None:
        timer = later(0.1, lambda: broker.publish(QUEUE, [Outgoing(b"same")]))
        first = inbox.fetch(1, 10)
        timer.join()
        self.lose(proxy, b"LREM", lambda: inbox.settle([Settlement(first[0])]))
        timer = later(0.1, lambda: broker.publish(QUEUE, [Outgoing(b"same")]))
        second = inbox.fetch(1, 10)
        timer.join()
        ack(inbox, first)
        size = broker.size(QUEUE)
        assert size is not None
        assert size.in_flight == 1, "the acknowledgement of the first must not settle the second"
        ack(inbox, second)

    def test_of_the_claim_that_files_a_message_handed_over(
        self, proxy: Proxy, broker: Broker, inbox: Inbox
    ) -> None:
        timer = later(0.1, lambda: broker.publish(QUEUE, [Outgoing(b"same")]))
        first = inbox.fetch(1, 10)
        timer.join()
        broker.publish(QUEUE, [Outgoing(b"same")])
        self.lose(proxy, b"EVALSHA", lambda: inbox.fetch(1, 0))
        ack(inbox, first)
        ack(inbox, inbox.fetch(10, 0))
        size = broker.size(QUEUE)
        assert size is not None
        assert (size.ready, size.in_flight) == (0, 0)

    @pytest.mark.parametrize("delay", [0, 30])
    def test_of_a_release(self, proxy: Proxy, broker: Broker, inbox: Inbox, delay: float) -> None:
        broker.publish(QUEUE, numbered(2))
        released = [Settlement(delivery, Action.RELEASE, delay) for delivery in inbox.fetch(10, 0)]
        self.lose(proxy, b"EVALSHA", lambda: inbox.settle(released))
        assert inbox.settle(released) == []
        size = broker.size(QUEUE)
        assert size is not None
        assert (size.ready, size.in_flight, size.delayed) == ((0, 0, 2) if delay else (2, 0, 0))

    def test_of_a_burial(self, proxy: Proxy, broker: Broker, inbox: Inbox) -> None:
        broker.publish(QUEUE, [*numbered(1), Outgoing(b"urgent", priority=4)])
        buried = [
            Settlement(delivery, Action.BURY, body=b"dead") for delivery in inbox.fetch(10, 0)
        ]
        self.lose(proxy, b"EVALSHA", lambda: inbox.settle(buried))
        assert inbox.settle(buried) == []
        assert broker.peek(QUEUE + ".dead", 9) == [b"dead", b"dead"], "one step: each once"
        size = broker.size(QUEUE)
        assert size is not None
        assert size.in_flight == 0

    def test_a_claim_that_comes_late_takes_nothing(
        self, proxy: Proxy, broker: Broker, client: redis.Redis, inbox: Inbox
    ) -> None:
        """A request given up by its sender may still lie in some buffer. What it took would be
        missed by nobody."""
        with client.monitor() as monitor:
            inbox.fetch(1, 0)
            old = next(m["command"] for m in monitor.listen() if m["command"].startswith("EVALSHA"))
        self.lose(proxy, b"EVALSHA", lambda: inbox.fetch(1, 0))
        inbox.fetch(1, 0)
        broker.publish(QUEUE, numbered(1))
        with pytest.raises(redis.ResponseError, match="a later request came first"):
            client.execute_command(*old.split(" "))
        assert broker.peek(QUEUE, 1) == [b"0"]

    def test_the_blocked_connection_is_killed_again_and_again(
        self, broker: Broker, client: redis.Redis, inbox: Inbox
    ) -> None:
        stop = threading.Event()

        def kill() -> None:
            while not stop.wait(0.01):
                for connection in client.client_list():
                    if connection["cmd"] == "blmove":
                        client.client_kill_filter(_id=connection["id"])

        def publish() -> None:
            for i in range(500):
                broker.publish(QUEUE, [Outgoing(b"%d" % i)])
                time.sleep(0.001)

        threads = [threading.Thread(target=do) for do in (kill, publish)]
        for thread in threads:
            thread.start()
        found = fetch_all(inbox, 500)
        stop.set()
        for thread in threads:
            thread.join()
        assert Counter(found) == Counter(b"%d" % i for i in range(500))


class TestLeases:
    def test_a_dead_consumers_messages_come_back_counted_and_in_order(
        self, broker: Broker, opened: Callable[..., Inbox]
    ) -> None:
        dead, alive = opened("dead", lease=0.3), opened("alive")
        broker.publish(QUEUE, [*numbered(3), Outgoing(b"p", priority=4)])
        lost = dead.fetch(3, 0)
        assert alive.keep_alive() == 0
        wait_until(lambda: alive.keep_alive() == 3, "the lease to run out")
        assert [(d.body, d.priority, d.deliveries) for d in alive.fetch(10, 0)] == [
            (b"p", 4, 2),
            (b"0", 0, 2),
            (b"1", 0, 2),
            (b"2", 0, 1),
        ]
        assert dead.settle(late := [Settlement(delivery) for delivery in lost]) == late
        assert dead.settle([Settlement(d, Action.RELEASE) for d in lost]) != []
        assert dead.settle([Settlement(d, Action.BURY) for d in lost]) != []

    def test_the_fence_stands_after_the_consumer_came_back(
        self, broker: Broker, opened: Callable[..., Inbox]
    ) -> None:
        slow, other = opened("slow", lease=0.2), opened("other")
        broker.publish(QUEUE, numbered(4))
        old = slow.fetch(2, 0)
        wait_until(lambda: other.keep_alive() == 2, "the lease to run out")
        new = slow.fetch(2, 0)
        assert [d.deliveries for d in new] == [2, 2]
        assert slow.settle([Settlement(d) for d in [*old, *new]]) == [Settlement(d) for d in old]

    def test_what_a_blocked_request_brings_after_its_owner_was_given_up_is_taken_back(
        self, broker: Broker, client: redis.Redis, opened: Callable[..., Inbox]
    ) -> None:
        dead, alive = opened("dead", lease=0.3), opened("alive")
        broker.publish(QUEUE, numbered(1))
        assert dead.fetch(1, 0)
        wait_until(lambda: alive.keep_alive() == 1, "the lease to run out")
        (entry,) = (
            name
            for name in client.zrange(f"fb:{{{QUEUE}}}:owners", 0, -1)
            if name.startswith(b"~dead")
        )
        client.lpush(b"fb:{%s}:handed:%s" % (QUEUE.encode(), entry[1:]), b"late")
        assert broker.size(QUEUE).in_flight == 1
        client.zadd(f"fb:{{{QUEUE}}}:owners", {entry: 1})  # rather than wait for the grace to pass
        assert alive.keep_alive() == 1
        assert b"late" in bodies(alive.fetch(10, 0))

    def test_an_idle_consumer_that_lost_its_lease_registers_anew(
        self, broker: Broker, client: redis.Redis, opened: Callable[..., Inbox]
    ) -> None:
        """What a blocked request brings to somebody who is not registered, nobody would miss."""
        sleeper, other = opened("sleeper", lease=60), opened("other", lease=60)
        owners, owner = f"fb:{{{QUEUE}}}:owners", sleeper.owner  # type: ignore[attr-defined]
        with ThreadPoolExecutor(1) as thread:
            fetched = thread.submit(sleeper.fetch, 1, 30.0)
            wait_until(lambda: client.info("clients")["blocked_clients"] == 1, "it to wait")
            client.zadd(owners, {owner: 1}, xx=True)
            other.keep_alive()
            assert client.zscore(owners, owner) is None
            sleeper.keep_alive()
            wait_until(lambda: client.zscore(owners, owner) is not None, "it to be back")
            assert client.zscore(owners, f"~{owner}") is None, "it must not be taken for dead again"
            wait_until(fetched.done, "the wait to end")
        assert fetched.result() == []
        other.keep_alive()
        broker.publish(QUEUE, numbered(1))
        assert len(sleeper.fetch(1, 10.0)) == 1
        client.zadd(owners, {owner: 1}, xx=True)
        assert other.keep_alive() == 1, "what it holds is known"

    def test_idle_consumers_ask_little_of_the_server(
        self, broker: Broker, client: redis.Redis, opened: Callable[..., Inbox]
    ) -> None:
        """One blocking request after the other, and two commands a heartbeat."""
        sleepers = [opened(f"sleeper{n}", queue=f"{QUEUE}{n}", lease=3.0) for n in range(5)]
        broker.keep_alive(sleepers)
        before = commands_of(client)
        with ThreadPoolExecutor(5) as threads:
            fetched = [threads.submit(sleeper.fetch, 1, 2.0) for sleeper in sleepers]
            beats = 0
            while not all(each.done() for each in fetched):
                broker.keep_alive(sleepers)
                beats += 1
                time.sleep(0.15)
        spent = commands_of(client) - before
        assert spent["evalsha"] == beats + 5, "each has claimed once, and nothing was there"
        assert spent["zadd"] == spent["zrangebyscore"] == 5 * beats
        assert spent["blmove"] <= 5 * 3

    def test_opening_takes_back_what_the_dead_left(
        self, broker: Broker, opened: Callable[..., Inbox]
    ) -> None:
        dead = opened("dead", lease=0.1)
        broker.publish(QUEUE, numbered(1))
        assert dead.fetch(1, 0)
        time.sleep(0.15)
        assert [d.deliveries for d in opened("next").fetch(1, 0)] == [2]

    def test_a_live_consumer_keeps_its_slow_task(
        self, broker: Broker, opened: Callable[..., Inbox]
    ) -> None:
        slow, other = opened("slow", lease=0.3), opened("other")
        broker.publish(QUEUE, numbered(1))
        held = slow.fetch(1, 0)
        for _ in range(10):
            time.sleep(0.05)
            assert (slow.keep_alive(), other.keep_alive()) == (0, 0)
        ack(slow, held)


class TestTroubles:
    def test_no_server(self) -> None:
        with RedisServer() as server:
            url = server.url
        with closing(open_broker(url)) as broker:
            for do in (
                lambda: broker.publish(QUEUE, numbered(1)),
                lambda: broker.size(QUEUE),
                lambda: broker.open(QUEUE, consumer_id="c", prefetch=1, lease=1),
            ):
                with pytest.raises(Unavailable, match="cannot be reached"):
                    do()

    def test_a_restart_with_a_log_loses_nothing(self, own_server: RedisServer) -> None:
        with closing(open_broker(own_server.url)) as broker:
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)
            broker.publish(QUEUE, [*numbered(3), Outgoing(b"p", priority=1)])
            held = inbox.fetch(2, 0)
            own_server.restart()
            ack(inbox, held)
            assert bodies(inbox.fetch(10, 0)) == [b"1", b"2"]
            own_server.stop()
            for do in (
                lambda: inbox.fetch(1, 0),
                inbox.keep_alive,
                lambda: broker.publish(QUEUE, numbered(1)),
            ):
                with pytest.raises(Unavailable):
                    do()
            own_server.start()
            timer = later(0.1, lambda: broker.publish(QUEUE, [Outgoing(b"after")]))
            assert bodies(inbox.fetch(1, 10)) == [b"after"]
            timer.join()
            inbox.close()
            assert broker.size(QUEUE).ready == 3  # type: ignore[union-attr]

    def test_killed_and_restarted_under_load(self, own_server: RedisServer) -> None:
        with closing(open_broker(own_server.url)) as broker:
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)
            confirmed: list[bytes] = []
            stop = threading.Event()

            def publish() -> None:
                number = 0
                while not stop.is_set():
                    body = b"%d" % (number := number + 1)
                    try:
                        broker.publish(QUEUE, [Outgoing(body, priority=number % 2)])
                        confirmed.append(body)
                    except Unavailable:
                        time.sleep(0.01)

            def disturb() -> None:
                for _ in range(4):
                    time.sleep(0.3)
                    own_server.kill()
                    own_server.start()
                stop.set()

            threads = [threading.Thread(target=do) for do in (publish, disturb)]
            for thread in threads:
                thread.start()
            found: set[bytes] = set()
            while True:
                all_published = not threads[0].is_alive()
                got = fetch_all(inbox, 1, timeout=0.5)
                if not got and all_published:
                    break
                found.update(got)
            for thread in threads:
                thread.join()
            assert set(confirmed) <= found
            inbox.close()

    def test_a_restart_without_a_log_forgets_but_goes_on(self) -> None:
        with RedisServer() as server, closing(open_broker(server.url)) as broker:
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)
            broker.publish(QUEUE, numbered(2))
            held = [Settlement(d) for d in inbox.fetch(1, 0)]
            server.restart()
            broker.publish(QUEUE, [Outgoing(b"new")])
            assert bodies(inbox.fetch(10, 0)) == [b"new"]
            assert inbox.settle(held) == held
            inbox.close()

    def test_a_paused_server_delays_and_loses_nothing(
        self, broker: Broker, client: redis.Redis, inbox: Inbox
    ) -> None:
        broker.publish(QUEUE, numbered(10))
        client.client_pause(700)
        started = time.monotonic()
        assert len(fetch_all(inbox, 10)) == 10
        assert time.monotonic() - started > 0.3
        client.client_pause(300)
        timer = later(0.05, lambda: broker.publish(QUEUE, [Outgoing(b"after")]))
        assert fetch_all(inbox, 1) == [b"after"]
        timer.join()

    def test_a_frozen_server_is_unavailable_until_it_thaws(self, own_server: RedisServer) -> None:
        with closing(open_broker(own_server.url + "?socket_timeout=0.3")) as broker:
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)
            broker.publish(QUEUE, numbered(5))
            own_server.pause()
            for _ in range(2):
                with pytest.raises(Unavailable, match="did not answer in time"):
                    inbox.fetch(2, 0)
            own_server.resume()
            assert sorted(fetch_all(inbox, 5)) == [b"%d" % i for i in range(5)]
            assert fetch_all(inbox, 1, timeout=0.3) == []
            inbox.close()

    def test_scripts_are_loaded_again(
        self, broker: Broker, client: redis.Redis, inbox: Inbox
    ) -> None:
        broker.publish(QUEUE, numbered(3))
        client.script_flush()
        found = inbox.fetch(3, 0)
        client.script_flush()
        assert not inbox.settle([Settlement(d, Action.RELEASE) for d in found])
        client.script_flush()
        assert inbox.keep_alive() == 0
        client.script_flush()
        assert broker.size(QUEUE).ready == 3  # type: ignore[union-attr]

    def test_out_of_memory(self) -> None:
        with RedisServer() as server, closing(open_broker(server.url)) as broker:
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)
            broker.publish(QUEUE, numbered(3))
            server.ask("CONFIG", "SET", "maxmemory", "1")
            for priority in (0, 1):
                with pytest.raises(Unavailable, match="out of memory"):
                    broker.publish(QUEUE, [Outgoing(b"x", priority=priority)])
            assert len(fetch_all(inbox, 3)) == 3, "consuming is what helps"
            inbox.close()

    def test_a_wrong_password_is_told_and_never_shown(self) -> None:
        with RedisServer("--requirepass", "right") as server:
            for url in (server.url, server.url.replace("//", "//:wrong@")):
                with (
                    closing(open_broker(url)) as broker,
                    pytest.raises(Unavailable, match="password") as caught,
                ):
                    broker.publish(QUEUE, numbered(1))
                assert "wrong" not in str(caught.value)
            with closing(open_broker(server.url.replace("//", "//:right@"))) as broker:
                broker.publish(QUEUE, numbered(1))

    def test_a_replica_is_told(self) -> None:
        with RedisServer() as server, closing(open_broker(server.url)) as broker:
            server.ask("REPLICAOF", "127.0.0.1", "1")
            with pytest.raises(Unavailable, match="replica"):
                broker.publish(QUEUE, numbered(1))

    def test_a_name_that_holds_something_else(self, broker: Broker, client: redis.Redis) -> None:
        client.set(QUEUE, "text")
        with pytest.raises(UsageError, match="other data"):
            broker.publish(QUEUE, numbered(1))
        with (
            closing(broker.open(QUEUE, consumer_id="c", prefetch=1, lease=15)) as inbox,
            pytest.raises(UsageError),
        ):
            inbox.fetch(1, 0)

    @pytest.mark.parametrize("name", ["", "a{b", "fb:queues"])
    def test_names_that_cannot_be(self, broker: Broker, name: str) -> None:
        with pytest.raises(UsageError):
            broker.publish(name, numbered(1))

    @pytest.mark.parametrize(
        "url",
        [
            "redis://h/x",
            "redis://h:port",
            "redis+sentinel://h",
            "redis+cluster://h/3",
            "redis+sentinel:///s",
        ],
    )
    def test_urls_that_make_no_sense(self, url: str) -> None:
        with closing(open_broker(url)) as broker, pytest.raises(UsageError):
            broker.publish(QUEUE, numbered(1))

    def test_a_forked_child_has_connections_of_its_own(
        self, broker: Broker, client: redis.Redis
    ) -> None:
        broker.publish(QUEUE, numbered(1))
        pid = os.fork()
        if pid == 0:
            for _ in range(200):
                broker.publish(QUEUE, numbered(1))
            os._exit(0)
        for _ in range(200):
            broker.publish(QUEUE, numbered(1))
        assert os.waitpid(pid, 0)[1] == 0
        assert client.llen(QUEUE) == 401


class TestNames:
    def test_known_queues_are_those_in_use(
        self, broker: Broker, client: redis.Redis, inbox: Inbox
    ) -> None:
        broker.publish("b", numbered(1))
        broker.publish("a.dead", numbered(1))
        broker.publish("done", numbered(1))
        assert broker.queues() == ["a.dead", "b", "done", QUEUE]
        broker.purge("done")
        assert broker.queues() == ["a.dead", "b", QUEUE]
        broker.publish("done", numbered(1))
        assert "done" in broker.queues(), "a name is not forgotten at once"
        broker.purge("done")
        client.zadd("fb:queues", {"done": 1})
        broker.queues()
        assert client.zscore("fb:queues", "done") is None


RACER = """
import sys, time
from fbcli.broker import Settlement
from fbcli.broker_registry import open_broker
broker = open_broker(sys.argv[1])
inbox = broker.open(sys.argv[2], consumer_id=sys.argv[3], prefetch=100, lease=5)
print("open", flush=True)
while True:
    found = inbox.fetch(50, 1.0)
    if not found:
        break
    assert not inbox.settle([Settlement(d) for d in found])
    sys.stdout.write("".join(d.body.decode() + "\\n" for d in found))
    sys.stdout.flush()
inbox.close()
"""


class TestRaces:
    def test_processes_share_without_loss_or_double(self, redis_url: str, broker: Broker) -> None:
        command = [sys.executable, "-c", RACER, redis_url, QUEUE]
        racers = [
            subprocess.Popen([*command, f"c{i}"], stdout=subprocess.PIPE, text=True)
            for i in range(3)
        ]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "open\n"
        for start in range(0, 20_000, 500):
            broker.publish(
                QUEUE, [Outgoing(b"%d" % i, priority=i % 3) for i in range(start, start + 500)]
            )
        found = Counter(
            line for racer in racers for line in racer.communicate(timeout=60)[0].split()
        )
        assert found == Counter(str(i) for i in range(20_000))

    def test_consumers_die_and_come_back(self, broker: Broker, client: redis.Redis) -> None:
        """Each consumer is abandoned (not closed) after a few batches, with messages in its
        hands."""
        total, found, lock = 3_000, Counter[bytes](), threading.Lock()
        broker.publish(QUEUE, numbered(total))
        everything = threading.Event()

        def life(name: str) -> None:
            while not everything.is_set():
                inbox = broker.open(QUEUE, consumer_id=name, prefetch=1, lease=0.3)
                for _ in range(5):
                    got = inbox.fetch(40, 0.05)
                    inbox.keep_alive()
                    late = inbox.settle([Settlement(d) for d in got])
                    with lock:
                        found.update(d.body for d in got)
                        found.subtract(s.delivery.body for s in late)
                        if len(+found) == total:
                            everything.set()
                inbox.fetch(20, 0)
                inbox.hang_up()  # type: ignore[attr-defined]

        threads = [threading.Thread(target=life, args=(f"c{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        assert everything.wait(40)
        for thread in threads:
            thread.join()
        assert set(found) == {b"%d" % i for i in range(total)}

    def test_connections_break_at_random_and_each_message_is_still_done_once(
        self, redis_server: RedisServer, redis_url: str, broker: Broker
    ) -> None:
        """As long as the lease holds, a lost reply costs neither a message nor a second run."""
        total, done, stop = 6_000, Counter[bytes](), threading.Event()
        with Proxy(redis_server.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/{redis_url.rpartition('/')[2]}"

            def consume(name: str) -> None:
                with closing(open_broker(url)) as own:
                    inbox, unsettled = None, list[Settlement]()
                    while not stop.is_set() or unsettled:
                        try:
                            inbox = inbox or own.open(QUEUE, consumer_id=name, prefetch=1, lease=60)
                            assert not inbox.settle(unsettled)
                            done.update(
                                s.delivery.body for s in unsettled if s.action is Action.ACK
                            )
                            unsettled = []
                            found = inbox.fetch(
                                random.choice((0, 1, 7, 50)), random.choice((0, 0.01))
                            )
                        except Unavailable:
                            continue
                        assert all(d.deliveries == 1 for d in found)
                        actions = random.choices((Action.ACK, Action.RELEASE), (9, 1), k=len(found))
                        unsettled = [
                            Settlement(d, a, random.choice((0, 0.01)))
                            for d, a in zip(found, actions, strict=True)
                        ]
                    while True:
                        with suppress(Unavailable):
                            return inbox.close() if inbox else None

            threads = [threading.Thread(target=consume, args=(f"c{i}",)) for i in range(3)]
            for thread in threads:
                thread.start()
            for start in range(0, total, 10):
                broker.publish(
                    QUEUE, [Outgoing(b"%d" % i, priority=i % 3) for i in range(start, start + 10)]
                )
                time.sleep(0.003)
                if start % 50 == 0:
                    proxy.cut()
            wait_until(lambda: len(done) == total, "all to be done", timeout=40)
            stop.set()
            for thread in threads:
                thread.join()
        assert set(done.values()) == {1}
        assert broker.size(QUEUE) == Size(0, 0, 0)

    def test_publishers_share_a_broker(self, broker: Broker, client: redis.Redis) -> None:
        def publish(name: int) -> None:
            for i in range(300):
                broker.publish(QUEUE, [Outgoing(b"%d-%d" % (name, i))])

        threads = [threading.Thread(target=publish, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(client.lrange(QUEUE, 0, -1))) == 2_400


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


class TestCluster:
    def test_queues_on_every_node(self, cluster: RedisCluster) -> None:
        with closing(open_broker(cluster.url)) as broker:
            for queue in (names := [f"q{i}" for i in range(12)]):
                inbox = broker.open(queue, consumer_id="c", prefetch=1, lease=15)
                broker.publish(
                    queue,
                    [
                        *numbered(3),
                        Outgoing(b"p", priority=2),
                        Outgoing(b"d", not_before=time.time() + 0.05),
                    ],
                )
                found = inbox.fetch(3, 0)
                assert bodies(found) == [b"p", b"0", b"1"]
                assert not inbox.settle(
                    [
                        Settlement(found[0]),
                        Settlement(found[1], Action.RELEASE),
                        Settlement(found[2], Action.BURY),
                    ]
                )
                assert sorted(fetch_all(inbox, 3)) == [b"0", b"2", b"d"]
                timer = later(0.05, lambda queue=queue: broker.publish(queue, numbered(1)))  # type: ignore[misc]
                assert fetch_all(inbox, 1) == [b"0"]
                timer.join()
                assert inbox.keep_alive() == 0
                assert broker.size(queue) == Size(0, 0, 0)
                inbox.close()
            assert broker.queues() == sorted(f"{name}.dead" for name in names)

    def test_a_burial_that_loses_its_race_leaves_no_dead_letter(
        self, cluster: RedisCluster
    ) -> None:
        """The lease is lost in the moment between the dead letter and the removal, which are on two
        nodes."""
        with closing(open_broker(cluster.url)) as broker, ExitStack() as inboxes:
            loser, heir = (
                inboxes.enter_context(
                    closing(broker.open("graves", consumer_id=name, prefetch=1, lease=60))
                )
                for name in ("loser", "heir")
            )
            messages = [
                Outgoing(b"high", priority=3),
                Outgoing(b"plain"),
                Outgoing(b"first", priority=3),
            ]
            broker.publish("graves", messages[2:])
            assert not loser.settle(
                [Settlement(delivery, Action.BURY) for delivery in loser.fetch(1, 0)]
            )
            broker.publish("graves.dead", [*messages[:2], Outgoing(b"last")])
            broker.publish("graves", messages[:2])
            late = [Settlement(delivery, Action.BURY) for delivery in loser.fetch(10, 0)]

            def lose_the_lease(queue: str, letters: Sequence[Outgoing]) -> None:
                publish(queue, letters)
                with redis.RedisCluster.from_url(cluster.url.replace("+cluster", "")) as client:
                    client.zadd("fb:{graves}:owners", {loser.owner: 1})  # type: ignore[attr-defined]
                assert heir.keep_alive() == 2

            publish, broker.publish = broker.publish, lose_the_lease  # type: ignore[method-assign]
            assert list(loser.settle(late)) == late
            assert broker.peek("graves.dead", 9) == [b"first", b"high", b"plain", b"last"]
            found = heir.fetch(10, 0)
            assert bodies(found) == [b"high", b"plain"]
            ack(heir, found)
            assert broker.purge("graves.dead") == 4

    def test_a_queue_moves_to_another_node(self, cluster: RedisCluster) -> None:
        with (
            redis.RedisCluster.from_url(cluster.url.replace("+cluster", "")) as client,
            closing(open_broker(cluster.url)) as broker,
        ):
            inbox = broker.open("wanderer", consumer_id="c", prefetch=1, lease=15)
            broker.publish("wanderer", numbered(1))
            assert fetch_all(inbox, 1) == [b"0"]
            inbox.close()
            slot = client.keyslot("wanderer")
            old = client.get_node_from_key("wanderer")
            new = next(node for node in cluster.nodes if node.port != old.port)
            new_id = new.ask("CLUSTER", "MYID").split()[1]
            new.ask("CLUSTER", "SETSLOT", str(slot), "NODE", new_id)
            for node in cluster.nodes:
                node.ask("CLUSTER", "SETSLOT", str(slot), "NODE", new_id)
            broker.publish("wanderer", numbered(2))
            inbox = broker.open("wanderer", consumer_id="c", prefetch=1, lease=15)
            assert fetch_all(inbox, 2) == [b"0", b"1"]
            inbox.close()


class TestSentinel:
    def test_a_failover_is_followed(self) -> None:
        with RedisSentinel() as servers, closing(open_broker(servers.url)) as broker:
            inbox = broker.open(QUEUE, consumer_id="c", prefetch=1, lease=30)
            broker.publish(QUEUE, numbered(3))
            assert len(fetch_all(inbox, 1)) == 3
            wait_until(
                lambda: servers.replica.ask("LLEN", QUEUE) == ":0\r\n", "the replica to follow"
            )
            servers.primary.kill()

            def published() -> bool:
                try:
                    broker.publish(QUEUE, [Outgoing(b"after")])
                except Unavailable:
                    return False
                return True

            wait_until(published, "the failover", timeout=30)
            assert b"after" in fetch_all(inbox, 1)
            inbox.close()
