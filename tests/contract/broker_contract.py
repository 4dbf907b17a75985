"""What every broker must do. Subclass `BrokerContract` and say where the broker is: pytest does the rest.

    class TestMine(BrokerContract):
        url = "mine://127.0.0.1"        # or a fixture named `url`

Whatever `Broker.capabilities` admits to lacking is skipped, and nothing else. Each test uses queues of its own, so the server
may be shared, and need not be empty. Nothing is assumed about how soon a message arrives but "within `patience`".
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Protocol

import pytest

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement, dead_queue, open_broker
from tests.servers import wait_until

LONG = 3600.0
PROMPT = 3.0
"""Seconds within which something happens "at once", on a machine that has other things to do as well."""


class OpenInbox(Protocol):
    """Opens one more consumer; closed when the test ends."""

    def __call__(self, queue: str | None = None, *, lease: float = 60.0) -> Inbox: ...


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def numbered(count: int, **fields: Any) -> list[Outgoing]:
    return [Outgoing(b"%d" % i, **fields) for i in range(count)]


def ack(inbox: Inbox, deliveries: Sequence[Delivery]) -> None:
    assert not inbox.settle([Settlement(delivery) for delivery in deliveries])


@contextmanager
def meanwhile(do: Callable[[], object], after: float = 0.05) -> Iterator[None]:
    """Run `do` in another thread, when the block has had time to begin waiting."""
    timer = threading.Timer(after, do)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextmanager
def prompt(least: float = 0.0) -> Iterator[None]:
    """Check that the block takes at least so long, and ends promptly then."""
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert least * 0.98 <= took < least + PROMPT


class BrokerContract:
    """Every verb of `fbcli.broker`, what happens when consumers die, and when they share a queue."""

    url: Any
    lease = 0.6
    """The shortest lease, in seconds, that this broker keeps to."""
    patience = 15.0
    """How long, in seconds, anything may take at most."""

    # what the tests are made of

    @pytest.fixture
    def broker_url(self, request: pytest.FixtureRequest) -> str:
        url = self.url if isinstance(self.url, str) else request.getfixturevalue("url")
        assert isinstance(url, str)
        return url

    @pytest.fixture
    def broker(self, broker_url: str) -> Iterator[Broker]:
        with closing(open_broker(broker_url)) as broker:
            yield broker

    @pytest.fixture
    def queue(self, broker: Broker) -> Iterator[str]:
        name = f"contract.{uuid.uuid4().hex}"
        yield name
        if broker.capabilities.purge:
            broker.purge(name)
            broker.purge(dead_queue(name))

    @pytest.fixture
    def open_inbox(self, broker: Broker, queue: str) -> Iterator[OpenInbox]:
        with ExitStack() as inboxes:
            home = queue

            def open_one(queue: str | None = None, *, lease: float = 60.0) -> Inbox:
                inbox = broker.open(queue or home, consumer_id=f"c-{uuid.uuid4().hex}", prefetch=100, lease=lease)
                return inboxes.enter_context(closing(inbox))

            yield open_one

    @pytest.fixture
    def inbox(self, open_inbox: OpenInbox) -> Inbox:
        return open_inbox()

    @pytest.fixture
    def elsewhere(self, broker: Broker, broker_url: str) -> Iterator[Broker]:
        """The same queues, as another process sees them."""
        if broker.capabilities.reach == "process":
            pytest.skip("its queues belong to one Broker object")
        with closing(open_broker(broker_url)) as other:
            yield other

    def need(self, broker: Broker, *capabilities: str) -> None:
        for name in capabilities:
            if not getattr(broker.capabilities, name):
                pytest.skip(f"its capabilities say: no {name}")

    def receive(self, inbox: Inbox, count: int, limit: int = 100) -> list[Delivery]:
        """Fetch exactly `count` messages, however many batches that takes."""
        found: list[Delivery] = []
        deadline = time.monotonic() + self.patience
        while len(found) < count:
            batch = inbox.fetch(min(limit, count - len(found)), 1.0)
            assert len(batch) <= min(limit, count - len(found))
            found += batch
            assert time.monotonic() < deadline, f"{len(found)} of {count} messages in {self.patience} seconds"
        return found

    def check_order(self, broker: Broker, found: list[bytes], published: list[bytes]) -> None:
        if broker.capabilities.ordered:
            assert found == published
        else:
            assert sorted(found) == sorted(published)

    def check_empty(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        assert inbox.fetch(100, 0.05) == []
        if broker.capabilities.size:
            size = broker.size(queue)
            assert size is not None
            assert (size.ready, size.in_flight or 0, size.delayed or 0) == (0, 0, 0)

    def lose_lease(self, broker: Broker, queue: str, open_inbox: OpenInbox, count: int) -> tuple[Inbox, list[Delivery], Inbox]:
        """Have a consumer fetch `count` messages and lose them. Return it, what it fetched, and who has reclaimed them."""
        self.need(broker, "ack")
        loser = open_inbox(lease=self.lease)
        broker.publish(queue, numbered(count))
        lost = self.receive(loser, count)
        heir = open_inbox(lease=60.0)
        given_back: list[int] = []
        wait_until(lambda: given_back.append(heir.keep_alive()) or sum(given_back) >= count, "the lease to end", self.patience)
        assert sum(given_back) == count
        return loser, lost, heir

    # publish, fetch, acknowledge

    def test_a_message_is_delivered_and_done_with(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, [Outgoing(b'{"x": 1}')])
        (delivery,) = self.receive(inbox, 1)
        assert (delivery.body, delivery.deliveries, delivery.priority) == (b'{"x": 1}', 1, 0)
        ack(inbox, [delivery])
        self.check_empty(broker, queue, inbox)

    def test_what_was_published_before_anybody_consumed_is_there(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        broker.publish(queue, numbered(3))
        self.check_order(broker, bodies(self.receive(open_inbox(), 3)), [b"0", b"1", b"2"])

    def test_messages_come_in_the_order_of_arrival(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, numbered(150))
        broker.publish(queue, [Outgoing(b"%d" % i) for i in range(150, 152)])
        broker.publish(queue, [Outgoing(b"152")])
        found = self.receive(inbox, 153, limit=40)
        self.check_order(broker, bodies(found), [b"%d" % i for i in range(153)])
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_batch_is_never_larger_than_asked_for(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, numbered(10))
        for limit in (1, 2, 3):
            batch = inbox.fetch(limit, self.patience)
            assert 1 <= len(batch) <= limit
            ack(inbox, batch)

    def test_an_empty_batch_is_nothing(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, [])
        assert not inbox.settle([])
        self.check_empty(broker, queue, inbox)

    def test_part_of_a_batch_can_be_settled_in_any_order(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, numbered(6))
        found = self.receive(inbox, 6)
        for chosen in ([5, 1], [3], [0, 4, 2]):
            ack(inbox, [found[i] for i in chosen])
        self.check_empty(broker, queue, inbox)

    def test_a_settlement_may_be_repeated(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        """As a consumer does that was told `Unavailable` when the broker had settled already."""
        self.need(broker, "ack")
        broker.publish(queue, numbered(2))
        found = self.receive(inbox, 2)
        ack(inbox, found[:1])
        ack(inbox, found)
        broker.publish(queue, [Outgoing(b"new")])
        new = self.receive(inbox, 1)
        ack(inbox, found)
        assert bodies(new) == [b"new"]
        if broker.capabilities.size:
            size = broker.size(queue)
            assert size is not None
            assert size.in_flight in (1, None), "the repetition settled something else"
        ack(inbox, new)
        self.check_empty(broker, queue, inbox)

    @pytest.mark.parametrize("action", [Action.ACK, Action.RELEASE])
    def test_a_repetition_leaves_the_next_delivery_alone(
        self, broker: Broker, queue: str, inbox: Inbox, action: Action
    ) -> None:
        self.need(broker, "ack")
        broker.publish(queue, [Outgoing(b"x")])
        (first,) = self.receive(inbox, 1)
        assert not inbox.settle([Settlement(first, Action.RELEASE)])
        (second,) = self.receive(inbox, 1)
        assert not inbox.settle([Settlement(first, action)])
        self.check_held(broker, queue, 1)
        assert inbox.fetch(10, 0.05) == []
        ack(inbox, [second])
        self.check_empty(broker, queue, inbox)

    @pytest.mark.parametrize(
        "body",
        [b"", b"\0", bytes(range(256)), '{"text": "żółć, 队列, \U0001f680"}'.encode(), b"\r\n" * 3, b"x" * 1_000_000],
        ids=["empty", "zero", "binary", "unicode", "newlines", "a megabyte"],
    )
    def test_bytes_arrive_as_they_were(self, broker: Broker, queue: str, inbox: Inbox, body: bytes) -> None:
        if not body:
            body = b"{}"  # what is empty is no message to some servers, and none of ours
        broker.publish(queue, [Outgoing(body), Outgoing(body[::-1])])
        found = self.receive(inbox, 2)
        self.check_order(broker, bodies(found), [body, body[::-1]])
        ack(inbox, found)

    def test_equal_messages_are_two(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, [Outgoing(b"same")] * 3)
        found = self.receive(inbox, 3)
        ack(inbox, found[1:2])
        if broker.capabilities.ack and broker.capabilities.size:
            size = broker.size(queue)
            assert size is not None
            assert size.in_flight in (2, None)
        ack(inbox, [found[0], found[2]])
        self.check_empty(broker, queue, inbox)

    # waiting

    def test_fetch_waits_for_a_message(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        with prompt(), meanwhile(lambda: broker.publish(queue, [Outgoing(b"x")])):
            found = inbox.fetch(10, 30)
        assert bodies(found) == [b"x"]
        ack(inbox, found)

    def test_fetch_waits_for_a_message_from_elsewhere(self, elsewhere: Broker, queue: str, inbox: Inbox) -> None:
        with prompt(), meanwhile(lambda: elsewhere.publish(queue, [Outgoing(b"x")])):
            found = inbox.fetch(10, 30)
        assert bodies(found) == [b"x"]
        ack(inbox, found)

    def test_fetch_gives_up_after_its_wait(self, inbox: Inbox) -> None:
        inbox.fetch(1, 0.1)  # it may be woken by whatever opening it stirred up
        with prompt(least=0.3):
            assert inbox.fetch(10, 0.3) == []

    def test_no_wait_never_blocks(self, inbox: Inbox) -> None:
        for limit in (0, 1, 100):
            with prompt():
                assert inbox.fetch(limit, 0) == []

    def test_no_wait_hands_over_what_is_there(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, numbered(3))
        found: list[Delivery] = []
        wait_until(lambda: bool(found.extend(inbox.fetch(100, 0))) or len(found) == 3, "three messages", self.patience)
        ack(inbox, found)

    @pytest.mark.parametrize("limit", [0, 1])
    def test_a_wake_ends_the_wait(self, inbox: Inbox, limit: int) -> None:
        with prompt(), meanwhile(inbox.wake):
            assert inbox.fetch(limit, 30) == []

    @pytest.mark.parametrize("limit", [0, 1])
    def test_a_wake_ends_the_next_wait(self, inbox: Inbox, limit: int) -> None:
        inbox.wake()
        inbox.wake()
        with prompt():
            assert inbox.fetch(limit, 30) == []

    def test_a_wake_is_used_up(self, inbox: Inbox) -> None:
        for _ in range(100):
            inbox.wake()
        inbox.fetch(1, 30)
        with prompt(least=0.2):
            assert inbox.fetch(1, 0.2) == []

    def test_no_wake_is_ever_missed(self, inbox: Inbox) -> None:
        """Two threads play ping-pong with it. Whoever missed one would wait for half a minute."""
        woken, asked, ended = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

        def nag() -> None:
            while asked.acquire() and not ended.is_set():
                inbox.wake()
                woken.release()

        nagger = threading.Thread(target=nag)
        nagger.start()
        try:
            with prompt():
                for i in range(300):
                    asked.release()
                    inbox.fetch(i % 2, 30)
                    assert woken.acquire(timeout=self.patience), "returned without having been woken"
        finally:
            ended.set()
            asked.release()
            nagger.join()

    def test_without_room_it_only_waits(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        full, free = open_inbox(), open_inbox()
        broker.publish(queue, numbered(2))
        with prompt(least=0.2):
            assert full.fetch(0, 0.2) == []
        found = self.receive(free, 2)
        ack(free, found)

    def test_without_room_a_message_does_not_end_the_wait_of_others(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        """A consumer that has waited, and has no room now, must not sit on a message that came in between."""
        full, free = open_inbox(), open_inbox()
        with meanwhile(full.wake):
            assert full.fetch(1, 30) == []
        full.fetch(0, 0)
        broker.publish(queue, [Outgoing(b"x")])
        full.fetch(0, 0)
        found = self.receive(free, 1)
        assert bodies(found) == [b"x"]
        ack(free, found)

    # release and bury

    def test_a_release_goes_to_the_front(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, numbered(3))
        (first,) = self.receive(inbox, 1, limit=1)
        assert not inbox.settle([Settlement(first, Action.RELEASE)])
        found = self.receive(inbox, 3)
        self.check_order(broker, bodies(found), [b"0", b"1", b"2"])
        assert [delivery.deliveries for delivery in found] == [1, 1, 1], "a release is no lost delivery"
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_released_batch_keeps_its_order(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, numbered(6))
        found = self.receive(inbox, 4, limit=4)
        assert not inbox.settle([Settlement(delivery, Action.RELEASE) for delivery in found])
        self.check_order(broker, bodies(self.receive(inbox, 6)), [b"%d" % i for i in range(6)])

    def test_a_release_wakes_another_consumer(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        holder, waiter = open_inbox(), open_inbox()
        broker.publish(queue, [Outgoing(b"x")])
        settlements = [Settlement(delivery, Action.RELEASE) for delivery in self.receive(holder, 1)]
        with prompt(), meanwhile(lambda: holder.settle(settlements)):
            found = waiter.fetch(1, 30)
        assert bodies(found) == [b"x"]
        ack(waiter, found)

    def test_a_release_may_change_the_body(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "rewrite")
        broker.publish(queue, numbered(3))
        first, second, third = self.receive(inbox, 3)
        assert not inbox.settle(
            [Settlement(first, Action.RELEASE, body=b"new"), Settlement(second, Action.RELEASE, body=b""), Settlement(third)]
        )
        found = self.receive(inbox, 2)
        self.check_order(broker, bodies(found), [b"new", b""])
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_released_message_keeps_its_priority(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "priority")
        broker.publish(queue, [Outgoing(b"high", priority=5), Outgoing(b"low")])
        found = self.receive(inbox, 2)
        assert not inbox.settle([Settlement(delivery, Action.RELEASE) for delivery in reversed(found)])
        found = self.receive(inbox, 2)
        assert [(delivery.body, delivery.priority) for delivery in found] == [(b"high", 5), (b"low", 0)]
        ack(inbox, found)

    def test_a_release_with_a_delay(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay", "rewrite")
        broker.publish(queue, numbered(2))
        first, second = self.receive(inbox, 2)
        released = time.time()
        assert not inbox.settle([Settlement(first, Action.RELEASE, 0.4, b"later"), Settlement(second)])
        (again,) = self.receive(inbox, 1)
        assert 0.4 * 0.98 <= time.time() - released < 0.4 + PROMPT
        assert (again.body, again.deliveries) == (b"later", 1)
        ack(inbox, [again])
        self.check_empty(broker, queue, inbox)

    def test_a_burial(self, broker: Broker, queue: str, inbox: Inbox, open_inbox: OpenInbox) -> None:
        self.need(broker, "rewrite")
        broker.publish(queue, numbered(3))
        first, second, third = self.receive(inbox, 3)
        assert not inbox.settle(
            [Settlement(first, Action.BURY), Settlement(second), Settlement(third, Action.BURY, body=b"why")]
        )
        self.check_empty(broker, queue, inbox)
        grave = open_inbox(dead_queue(queue))
        found = self.receive(grave, 2)
        self.check_order(broker, bodies(found), [b"0", b"why"])
        assert [delivery.deliveries for delivery in found] == [1, 1]
        ack(grave, found)
        self.check_empty(broker, dead_queue(queue), grave)

    def test_a_batch_of_everything(self, broker: Broker, queue: str, inbox: Inbox, open_inbox: OpenInbox) -> None:
        self.need(broker, "rewrite")
        broker.publish(queue, numbered(90))
        found = self.receive(inbox, 90)
        late = inbox.settle([Settlement(delivery, list(Action)[i % 3]) for i, delivery in enumerate(found)])
        assert not late
        self.check_order(broker, bodies(self.receive(inbox, 30)), [found[i].body for i in range(1, 90, 3)])
        grave = open_inbox(dead_queue(queue))
        self.check_order(broker, bodies(self.receive(grave, 30)), [found[i].body for i in range(2, 90, 3)])

    # looking and clearing

    def test_an_unknown_queue_is_empty(self, broker: Broker, queue: str) -> None:
        capabilities = broker.capabilities
        if capabilities.size:
            size = broker.size(queue)
            assert size is not None
            assert (size.ready, size.in_flight or 0, size.delayed or 0) == (0, 0, 0)
        else:
            assert broker.size(queue) is None
        if capabilities.peek:
            assert broker.peek(queue, 10) == []
        if capabilities.purge:
            assert broker.purge(queue) == 0
        if capabilities.delay:
            assert broker.delayed(queue, 10) == []
            assert broker.undelay(queue, []) == 0
        if capabilities.queues:
            assert queue not in broker.queues(), "looking at it does not make it known"

    def test_size(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "size")
        holds, delays = broker.capabilities.ack, broker.capabilities.delay
        broker.publish(queue, numbered(5))
        if delays:
            broker.publish(queue, numbered(2, not_before=time.time() + LONG))

        def size() -> tuple[int, int | None, int | None]:
            found = broker.size(queue)
            assert found is not None
            return found.ready, found.in_flight if holds else 0, found.delayed if delays else 0

        delayed = 2 if delays else 0
        first = size()
        assert first in [(5, 0, delayed), (5, None, delayed), (5, None, None)]
        found = self.receive(inbox, 3, limit=3)
        if first[1] is not None:
            assert size() == (2, 3 if holds else 0, first[2])
        ack(inbox, found)
        assert size() == (2, *first[1:])

    def test_peek_takes_nothing(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "peek")
        broker.publish(queue, numbered(5))
        for _ in range(2):
            self.check_order(broker, broker.peek(queue, 10), [b"%d" % i for i in range(5)])
        self.check_order(broker, broker.peek(queue, 2), [b"0", b"1"])
        assert broker.peek(queue, 0) == []
        found = self.receive(inbox, 2, limit=2)
        self.check_order(broker, broker.peek(queue, 10), [b"2", b"3", b"4"])
        ack(inbox, found)
        assert len(self.receive(inbox, 3)) == 3

    def test_peek_shows_what_comes_first(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "peek", "priority", "delay")
        broker.publish(
            queue, [Outgoing(b"low"), Outgoing(b"later", not_before=time.time() + LONG), Outgoing(b"high", priority=9)]
        )
        assert broker.peek(queue, 10) == [b"high", b"low"]
        assert broker.peek(queue, 1) == [b"high"]

    def test_purge_removes_what_waits(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "purge")
        expected = 5
        broker.publish(queue, numbered(5))
        if broker.capabilities.priority:
            broker.publish(queue, numbered(3, priority=7))
            expected += 3
        if broker.capabilities.delay:
            broker.publish(queue, numbered(2, not_before=time.time() + LONG))
            expected += 2
        assert broker.purge(queue) == expected
        assert broker.purge(queue) == 0
        self.check_empty(broker, queue, inbox)
        broker.publish(queue, [Outgoing(b"after")])
        assert bodies(self.receive(inbox, 1)) == [b"after"]

    def test_purge_leaves_alone_what_consumers_hold(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "purge", "ack")
        broker.publish(queue, numbered(5))
        done, back = self.receive(inbox, 2, limit=2)
        assert broker.purge(queue) == 3
        assert not inbox.settle([Settlement(done), Settlement(back, Action.RELEASE)])
        found = self.receive(inbox, 1)
        assert bodies(found) == [back.body]
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_purge_touches_no_other_queue(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "purge")
        other = dead_queue(queue)
        broker.publish(queue, numbered(2))
        broker.publish(other, numbered(3))
        assert broker.purge(queue) == 2
        inbox = open_inbox(other)
        ack(inbox, self.receive(inbox, 3))

    def test_queues_with_something_in_them_are_known(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "queues")
        others = [dead_queue(queue), f"{queue}.b", f"{queue}.a"]
        for name in (queue, *others):
            broker.publish(name, numbered(1))
        known = broker.queues()
        assert known == sorted(known)
        assert {queue, *others} <= set(known)
        found = self.receive(inbox, 1)
        if broker.capabilities.ack:
            assert queue in broker.queues(), "held is not gone"
        ack(inbox, found)
        if broker.capabilities.purge:
            for name in others:
                broker.purge(name)

    def test_many_queues_on_one_broker(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        names = [f"{queue}.{i}" for i in range(20)]
        for i, name in enumerate(names):
            broker.publish(name, numbered(i + 1))
        for i, name in reversed(list(enumerate(names))):
            inbox = open_inbox(name)
            found = self.receive(inbox, i + 1)
            self.check_order(broker, bodies(found), [b"%d" % n for n in range(i + 1)])
            ack(inbox, found)
            self.check_empty(broker, name, inbox)

    # priority

    def test_the_highest_priority_comes_first(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "priority")
        order = [3, 0, 9, 5, 0, 9, 1]
        broker.publish(queue, [Outgoing(b"%d" % i, priority=priority) for i, priority in enumerate(order)])
        found = [delivery for _ in order for delivery in self.receive(inbox, 1, limit=1)]
        assert [delivery.priority for delivery in found] == sorted(order, reverse=True)
        assert bodies(found) == [b"2", b"5", b"3", b"0", b"6", b"1", b"4"]
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_priority_within_one_batch(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "priority")
        broker.publish(queue, [Outgoing(b"%d" % i, priority=i % 10) for i in range(50)])
        found = self.receive(inbox, 50)
        assert bodies(found) == [b"%d" % i for i in sorted(range(50), key=lambda i: (-(i % 10), i))]

    def test_a_priority_message_overtakes(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "priority")
        broker.publish(queue, numbered(3))
        ack(inbox, self.receive(inbox, 1, limit=1))
        broker.publish(queue, [Outgoing(b"urgent", priority=1)])
        assert bodies(self.receive(inbox, 1, limit=1)) == [b"urgent"]

    def test_a_priority_message_ends_the_wait(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "priority")
        for priority in (1, 9):
            message = Outgoing(b"urgent", priority=priority)
            with prompt(), meanwhile(lambda message=message: broker.publish(queue, [message])):  # type: ignore[misc]
                found = inbox.fetch(10, 30)
            assert [(delivery.body, delivery.priority) for delivery in found] == [(b"urgent", priority)]
            ack(inbox, found)

    # delay

    def test_a_delayed_message_comes_in_its_time(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay")
        due = time.time() + 0.4
        broker.publish(queue, [Outgoing(b"later", not_before=due), Outgoing(b"now"), Outgoing(b"past", not_before=due - 10)])
        found = self.receive(inbox, 2)
        assert sorted(bodies(found)) == [b"now", b"past"]
        ack(inbox, found)
        assert time.time() < due, "too slow to tell"
        with prompt():
            found = inbox.fetch(10, 30)
        assert bodies(found) == [b"later"]
        assert time.time() >= due - 0.002
        assert found[0].deliveries == 1
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_sooner_message_shortens_the_wait_for_a_later(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay")
        broker.publish(queue, [Outgoing(b"late", not_before=time.time() + LONG)])
        soon: list[float] = []

        def publish() -> None:
            soon.append(time.time() + 0.3)
            broker.publish(queue, [Outgoing(b"soon", not_before=soon[0])])

        with prompt(), meanwhile(publish):
            found = inbox.fetch(10, 30)
        assert bodies(found) == [b"soon"]
        assert time.time() >= soon[0] - 0.002
        ack(inbox, found)

    def test_a_sooner_message_from_elsewhere(self, broker: Broker, elsewhere: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay")
        broker.publish(queue, [Outgoing(b"late", not_before=time.time() + LONG)])
        with prompt(), meanwhile(lambda: elsewhere.publish(queue, [Outgoing(b"soon", not_before=time.time() + 0.3)])):
            found = inbox.fetch(10, 30)
        assert bodies(found) == [b"soon"]
        ack(inbox, found)

    def test_what_is_due_is_ready_though_nobody_consumes(self, broker: Broker, queue: str) -> None:
        self.need(broker, "delay", "size", "peek")
        due = time.time() + 0.3
        broker.publish(queue, numbered(3, not_before=due))
        assert broker.peek(queue, 9) == []
        size = broker.size(queue)
        assert size is not None
        assert (size.ready, size.delayed) == (0, 3)
        assert len(broker.delayed(queue, 9)) == 3
        assert time.time() < due, "too slow to tell"
        wait_until(lambda: time.time() > due + 0.01, "them to be due")
        assert sorted(broker.peek(queue, 9)) == [b"0", b"1", b"2"]
        size = broker.size(queue)
        assert size is not None
        assert (size.ready, size.delayed) == (3, 0)
        assert broker.delayed(queue, 9) == []

    def test_delayed_messages_are_listed_and_cancelled(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay")
        due = time.time() + LONG
        broker.publish(queue, [Outgoing(b"%d" % i, not_before=due + offset) for i, offset in enumerate([30, 10, 20, 10])])
        listed = broker.delayed(queue, 10)
        assert [message.body for message in listed] == [b"1", b"3", b"2", b"0"]
        assert [message.due for message in listed] == pytest.approx([due + 10, due + 10, due + 20, due + 30], abs=0.002)
        assert [message.body for message in broker.delayed(queue, 2)] == [b"1", b"3"]
        assert broker.delayed(queue, 0) == []
        assert broker.undelay(queue, [listed[0].handle, listed[2].handle]) == 2
        assert broker.undelay(queue, [listed[0].handle, listed[3].handle]) == 1
        assert [message.body for message in broker.delayed(queue, 10)] == [b"3"]
        assert inbox.fetch(10, 0.05) == []

    def test_a_handle_from_the_past_cancels_nothing_else(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay")
        broker.publish(queue, [Outgoing(b"old", not_before=time.time() + 0.3)])
        listed = broker.delayed(queue, 10)
        ack(inbox, self.receive(inbox, 1))
        broker.publish(queue, [Outgoing(b"new", not_before=time.time() + LONG)])
        assert len(listed) == 1
        assert broker.undelay(queue, [message.handle for message in listed]) == 0
        assert [message.body for message in broker.delayed(queue, 10)] == [b"new"]

    def test_a_released_delay_is_listed_too(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay")
        broker.publish(queue, [Outgoing(b"x", priority=4 if broker.capabilities.priority else 0)])
        (delivery,) = self.receive(inbox, 1)
        assert not inbox.settle([Settlement(delivery, Action.RELEASE, LONG)])
        (listed,) = broker.delayed(queue, 10)
        assert (listed.body, listed.due) == (b"x", pytest.approx(time.time() + LONG, abs=PROMPT))
        assert broker.undelay(queue, [listed.handle]) == 1
        self.check_empty(broker, queue, inbox)

    def test_a_delayed_message_keeps_its_priority(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay", "priority")
        due = time.time() + 0.3
        broker.publish(queue, [Outgoing(b"%d" % priority, priority, due) for priority in (0, 7, 3)])
        wait_until(lambda: time.time() > due + 0.01, "them to be due")
        found = self.receive(inbox, 3)
        assert [(delivery.body, delivery.priority) for delivery in found] == [(b"7", 7), (b"3", 3), (b"0", 0)]

    def test_a_consumer_without_room_makes_due_messages_ready(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "delay")
        full, free = open_inbox(), open_inbox()
        broker.publish(queue, [Outgoing(b"x", not_before=time.time() + 0.2)])
        full.fetch(0, 0.5)
        found = self.receive(free, 1)
        assert bodies(found) == [b"x"]
        ack(free, found)

    def test_very_many_are_due_at_once(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay")
        count = 10_000
        due = time.time() + 0.2
        broker.publish(queue, numbered(count, not_before=due))
        found: list[bytes] = []
        deadline = time.monotonic() + self.patience
        while len(found) < count and time.monotonic() < deadline:
            batch = inbox.fetch(500, 1)
            found += bodies(batch)
            ack(inbox, batch)
        self.check_order(broker, found, [b"%d" % i for i in range(count)])
        self.check_empty(broker, queue, inbox)

    # leases

    def test_a_slow_message_of_a_live_consumer_stays_its_own(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "ack")
        slow, other = open_inbox(lease=self.lease), open_inbox(lease=self.lease)
        broker.publish(queue, numbered(3))
        found = self.receive(slow, 3)
        end = time.monotonic() + 3 * self.lease
        while time.monotonic() < end:
            slow.keep_alive()
            assert other.keep_alive() == 0
            assert other.fetch(10, self.lease / 10) == []
        ack(slow, found)
        self.check_empty(broker, queue, other)

    def test_what_a_dead_consumer_held_comes_back(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        _, _, heir = self.lose_lease(broker, queue, open_inbox, 5)
        found = self.receive(heir, 5)
        self.check_order(broker, bodies(found), [b"%d" % i for i in range(5)])
        if broker.capabilities.delivery_count:
            assert [delivery.deliveries for delivery in found] == [2] * 5
        ack(heir, found)
        self.check_empty(broker, queue, heir)

    def test_it_comes_back_ahead_of_what_came_later(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "ordered")
        broker.publish(queue, [])
        _, lost, heir = self.lose_lease(broker, queue, open_inbox, 3)
        broker.publish(queue, [Outgoing(b"later")])
        found = self.receive(heir, 4)
        assert bodies(found) == [*bodies(lost), b"later"]
        ack(heir, found)

    def test_opening_is_enough_to_take_back(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "ack")
        dead = open_inbox(lease=self.lease)
        broker.publish(queue, numbered(3))
        self.receive(dead, 3)
        found: list[Delivery] = []

        def reopened() -> bool:
            found.extend(open_inbox().fetch(10, 0.05))
            return len(found) == 3

        wait_until(reopened, "what the dead consumer held", self.patience)
        if broker.capabilities.delivery_count:
            assert [delivery.deliveries for delivery in found] == [2] * 3

    def test_taking_back_wakes_a_waiting_consumer(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "ack")
        dead, waiter, ended = open_inbox(lease=self.lease), open_inbox(), threading.Event()
        broker.publish(queue, [Outgoing(b"x")])
        self.receive(dead, 1)

        def heartbeat() -> None:
            while not ended.wait(self.lease / 4):
                waiter.keep_alive()

        thread = threading.Thread(target=heartbeat)
        thread.start()
        try:
            with prompt(least=0.0):
                found = waiter.fetch(10, self.patience)
        finally:
            ended.set()
            thread.join()
        assert bodies(found) == [b"x"]
        ack(waiter, found)

    def test_each_loss_counts(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "ack", "delivery_count")
        broker.publish(queue, [Outgoing(b"killer")])
        for count in (1, 2, 3):
            inbox, seen = open_inbox(lease=self.lease), []

            def delivered(inbox: Inbox = inbox, seen: list[Delivery] = seen) -> bool:
                inbox.keep_alive()
                seen += inbox.fetch(1, 0.02)
                return bool(seen)

            wait_until(delivered, "the message", self.patience)
            assert [delivery.deliveries for delivery in seen] == [count]

    def test_a_release_keeps_the_count(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "delivery_count")
        _, _, heir = self.lose_lease(broker, queue, open_inbox, 1)
        for _ in range(3):
            (delivery,) = self.receive(heir, 1)
            assert delivery.deliveries == 2
            assert not heir.settle([Settlement(delivery, Action.RELEASE)])

    def test_a_late_acknowledgement_settles_nothing(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 3)
        found = self.receive(heir, 3)
        late = [Settlement(delivery) for delivery in lost]
        assert list(loser.settle(late)) == late
        self.check_held(broker, queue, 3)
        ack(heir, found)
        self.check_empty(broker, queue, heir)

    def test_nor_while_nobody_has_it(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 3)
        late = [Settlement(delivery) for delivery in lost]
        assert list(loser.settle(late)) == late
        ack(heir, self.receive(heir, 3))
        self.check_empty(broker, queue, heir)

    @pytest.mark.parametrize("action", [Action.RELEASE, Action.BURY])
    def test_a_late_release_or_burial_settles_nothing(
        self, broker: Broker, queue: str, open_inbox: OpenInbox, action: Action
    ) -> None:
        if action is Action.BURY:
            self.need(broker, "rewrite")
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 2)
        found = self.receive(heir, 2)
        late = [Settlement(delivery, action) for delivery in lost]
        assert sorted(map(id, loser.settle(late))) == sorted(map(id, late))
        assert loser.fetch(10, 0.05) == []
        ack(heir, found)
        self.check_empty(broker, queue, heir)
        self.check_empty(broker, dead_queue(queue), open_inbox(dead_queue(queue)))

    def test_who_lost_its_lease_goes_on(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 2)
        found = self.receive(heir, 2)
        broker.publish(queue, [Outgoing(b"new")])
        mine = self.receive(loser, 1)
        assert bodies(mine) == [b"new"]
        late = [Settlement(delivery) for delivery in lost]
        assert list(loser.settle([*late, Settlement(mine[0])])) == late, "only what was lost is late"
        loser.keep_alive()
        broker.publish(queue, [Outgoing(b"newer")])
        ack(loser, self.receive(loser, 1))
        ack(heir, found)
        self.check_empty(broker, queue, heir)

    def test_who_lost_its_lease_may_get_its_messages_again(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        loser, lost, _ = self.lose_lease(broker, queue, open_inbox, 2)
        loser.keep_alive()
        again = self.receive(loser, 2)
        late = [Settlement(delivery) for delivery in lost]
        assert list(loser.settle(late)) == late
        self.check_held(broker, queue, 2)
        loser.keep_alive()
        ack(loser, again)
        self.check_empty(broker, queue, loser)

    def test_only_the_dead_lose(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        """Each consumer has the lease that it was opened with."""
        self.need(broker, "ack")
        patient = open_inbox(lease=60.0)
        broker.publish(queue, numbered(2))
        held = self.receive(patient, 2)
        self.lose_lease(broker, queue, open_inbox, 3)
        ack(patient, held)

    def check_held(self, broker: Broker, queue: str, count: int) -> None:
        if broker.capabilities.size:
            size = broker.size(queue)
            assert size is not None
            assert size.in_flight in (count, None)

    # closing

    def test_closing_gives_back_what_is_unsettled(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "ack")
        first, second = open_inbox(), open_inbox()
        broker.publish(queue, numbered(5))
        found = self.receive(first, 4, limit=4)
        ack(first, found[1:2])
        first.close()
        first.close()
        again = self.receive(second, 4)
        self.check_order(broker, bodies(again), [b"0", b"2", b"3", b"4"])
        assert [delivery.deliveries for delivery in again] == [1] * 4, "a closed consumer did not die"
        ack(second, again)
        self.check_empty(broker, queue, second)

    def test_closing_wakes_another_consumer(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "ack")
        first, second = open_inbox(), open_inbox()
        broker.publish(queue, [Outgoing(b"x")])
        self.receive(first, 1)
        with prompt(), meanwhile(first.close):
            found = second.fetch(1, 30)
        assert bodies(found) == [b"x"]
        ack(second, found)

    def test_a_closed_inbox_takes_nothing_more(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        """The heartbeat ends after the intake, so it calls once more."""
        first, second = open_inbox(), open_inbox()
        first.close()
        broker.publish(queue, [Outgoing(b"x")])
        assert first.keep_alive() == 0
        assert first.fetch(10, 0) == []
        first.wake()
        ack(second, self.receive(second, 1))
        self.check_empty(broker, queue, second)

    def test_a_settlement_after_closing_is_late(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        self.need(broker, "ack")
        first, second = open_inbox(), open_inbox()
        broker.publish(queue, [Outgoing(b"x")])
        late = [Settlement(delivery) for delivery in self.receive(first, 1)]
        first.close()
        again = self.receive(second, 1)
        assert list(first.settle(late)) == late
        self.check_held(broker, queue, 1)
        ack(second, again)

    def test_close_while_the_heart_beats(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        for _ in range(5):
            inbox, ended = open_inbox(), threading.Event()

            def beat(inbox: Inbox = inbox, ended: threading.Event = ended) -> None:
                while not ended.is_set():
                    inbox.keep_alive()

            thread = threading.Thread(target=beat)
            thread.start()
            broker.publish(queue, [Outgoing(b"x")])
            ack(inbox, self.receive(inbox, 1))
            inbox.close()
            ended.set()
            thread.join()
        self.check_empty(broker, queue, open_inbox())

    def test_a_broker_may_be_closed_twice_and_before_use(self, broker_url: str) -> None:
        unused = open_broker(broker_url)
        unused.close()
        unused.close()

    # sharing

    def test_two_consumers_never_share_a_message(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        count, seen, lock = 2000, Counter[bytes](), threading.Lock()
        deadline = time.monotonic() + 2 * self.patience

        def consume(inbox: Inbox, limit: int) -> None:
            while sum(seen.values()) < count and time.monotonic() < deadline:
                batch = inbox.fetch(limit, 0.05)
                with lock:
                    seen.update(bodies(batch))
                ack(inbox, batch)
                inbox.keep_alive()

        def publish() -> None:
            for start in range(0, count, 250):
                broker.publish(queue, [Outgoing(b"%d" % i) for i in range(start, start + 250)])

        threads = [threading.Thread(target=consume, args=(open_inbox(), limit)) for limit in (1, 7, 50)]
        threads.append(threading.Thread(target=publish))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == count
        assert set(seen.values()) == {1}
        self.check_empty(broker, queue, open_inbox())

    def test_many_publishers_at_once(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        def publish(name: int) -> None:
            for i in range(50):
                broker.publish(queue, [Outgoing(b"%d %d" % (name, i))])

        threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        found = self.receive(inbox, 200)
        for thread in threads:
            thread.join()
        for name in range(4):
            own = [body for body in bodies(found) if body.startswith(b"%d " % name)]
            self.check_order(broker, own, [b"%d %d" % (name, i) for i in range(50)])
        ack(inbox, found)

    def test_what_one_publishes_another_sees(self, broker: Broker, elsewhere: Broker, queue: str) -> None:
        self.need(broker, "confirm")
        elsewhere.publish(queue, numbered(3))
        if broker.capabilities.size:
            size = broker.size(queue)
            assert size is not None
            assert size.ready == 3
        with closing(elsewhere.open(queue, consumer_id="c", prefetch=10, lease=60)) as inbox:
            ack(inbox, self.receive(inbox, 3))

    def test_it_lasts(self, broker: Broker, queue: str, broker_url: str, elsewhere: Broker) -> None:
        """Messages stay when everybody has hung up."""
        self.need(broker, "durable")
        elsewhere.publish(queue, [Outgoing(b"%d" % os.getpid())])
        elsewhere.close()
        broker.close()
        with (
            closing(open_broker(broker_url)) as again,
            closing(again.open(queue, consumer_id="c", prefetch=1, lease=60)) as inbox,
        ):
            found = self.receive(inbox, 1)
            assert bodies(found) == [b"%d" % os.getpid()]
            ack(inbox, found)
