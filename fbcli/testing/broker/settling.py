"""Release and bury."""

from __future__ import annotations

import time

import pytest

from fbcli.broker import Action, Broker, Inbox, Outgoing, Settlement, dead_queue
from fbcli.testing.broker.ground import (
    PROMPT,
    BrokerGround,
    OpenInbox,
    ack,
    bodies,
    meanwhile,
    numbered,
    prompt,
)


class SettlingTests(BrokerGround):
    @staticmethod
    def releases_to_front(broker: Broker) -> bool:
        return broker.capabilities.release in ("front", "both")

    def test_a_release_comes_back(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "release")
        broker.publish(queue, numbered(3))
        (first,) = self.receive(inbox, 1, limit=1)
        assert not inbox.settle([Settlement(first, Action.RELEASE)])
        found = self.receive(inbox, 3)
        if self.releases_to_front(broker):
            self.check_order(broker, bodies(found), [b"0", b"1", b"2"])
        else:
            assert sorted(bodies(found)) == [b"0", b"1", b"2"]
        if broker.capabilities.delivery_count == "lost":
            assert [delivery.deliveries for delivery in found] == [1, 1, 1], (
                "a release is no lost delivery"
            )
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_released_batch_keeps_its_order(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "release")
        if not self.releases_to_front(broker):
            pytest.skip("a release goes behind others")
        broker.publish(queue, numbered(6))
        found = self.receive(inbox, 4, limit=4)
        assert not inbox.settle([Settlement(delivery, Action.RELEASE) for delivery in found])
        self.check_order(broker, bodies(self.receive(inbox, 6)), [b"%d" % i for i in range(6)])

    def test_a_release_to_the_back(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        """Behind all that is ready, in the order given; what comes later is behind it."""
        if broker.capabilities.release != "both":
            pytest.skip("it does not choose where a release goes")
        broker.publish(queue, numbered(4))
        first, second = self.receive(inbox, 2, limit=2)
        assert not inbox.settle(
            [Settlement(each, Action.RELEASE, back=True) for each in (first, second)]
        )
        broker.publish(queue, [Outgoing(b"later")])
        found = self.receive(inbox, 5)
        self.check_order(broker, bodies(found), [b"2", b"3", b"0", b"1", b"later"])
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_front_and_back_in_one_batch(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        if broker.capabilities.release != "both":
            pytest.skip("it does not choose where a release goes")
        broker.publish(queue, numbered(5))
        found = self.receive(inbox, 4, limit=4)
        assert not inbox.settle(
            [
                Settlement(each, Action.RELEASE, back=back)
                for each, back in zip(found, (True, False, True, False), strict=True)
            ]
        )
        again = self.receive(inbox, 5)
        self.check_order(broker, bodies(again), [b"1", b"3", b"4", b"0", b"2"])
        ack(inbox, again)

    def test_a_release_wakes_another_consumer(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "release")
        holder, waiter = open_inbox(), open_inbox()
        broker.publish(queue, [Outgoing(b"x")])
        settlements = [Settlement(delivery, Action.RELEASE) for delivery in self.receive(holder, 1)]
        with prompt(), meanwhile(lambda: holder.settle(settlements)):
            found = waiter.fetch(1, 30)
        assert bodies(found) == [b"x"]
        ack(waiter, found)

    def test_a_release_may_change_the_body(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "rewrite", "release")
        broker.publish(queue, numbered(3))
        first, second, third = self.receive(inbox, 3)
        assert not inbox.settle(
            [
                Settlement(first, Action.RELEASE, body=b"new"),
                Settlement(second, Action.RELEASE, body=b"{}"),
                Settlement(third),
            ]
        )
        found = self.receive(inbox, 2)
        self.check_order(broker, bodies(found), [b"new", b"{}"])
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_released_message_keeps_its_priority(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "priority", "release")
        broker.publish(queue, [Outgoing(b"high", priority=5), Outgoing(b"low")])
        found = self.receive(inbox, 2)
        assert not inbox.settle(
            [Settlement(delivery, Action.RELEASE) for delivery in reversed(found)]
        )
        found = self.receive(inbox, 2)
        assert [(delivery.body, delivery.priority) for delivery in found] == [
            (b"high", 5),
            (b"low", 0),
        ]
        ack(inbox, found)

    def test_a_release_with_a_delay(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay_release")
        broker.publish(queue, numbered(2))
        first, second = self.receive(inbox, 2)
        body = b"later" if broker.capabilities.rewrite else None
        released = time.time()
        assert not inbox.settle([Settlement(first, Action.RELEASE, 0.4, body), Settlement(second)])
        (again,) = self.receive(inbox, 1)
        assert 0.4 * 0.98 <= time.time() - released < 0.4 + PROMPT
        assert again.body == (body or first.body)
        if broker.capabilities.delivery_count == "lost":
            assert again.deliveries == 1
        ack(inbox, [again])
        self.check_empty(broker, queue, inbox)

    def test_a_burial(
        self, broker: Broker, queue: str, inbox: Inbox, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "rewrite")
        broker.publish(queue, numbered(3))
        first, second, third = self.receive(inbox, 3)
        assert not inbox.settle(
            [
                Settlement(first, Action.BURY),
                Settlement(second),
                Settlement(third, Action.BURY, body=b"why"),
            ]
        )
        self.check_empty(broker, queue, inbox)
        grave = open_inbox(dead_queue(queue))
        found = self.receive(grave, 2)
        self.check_order(broker, bodies(found), [b"0", b"why"])
        assert [delivery.deliveries for delivery in found] == [1, 1]
        ack(grave, found)
        self.check_empty(broker, dead_queue(queue), grave)

    def test_a_burial_keeps_the_priority(
        self, broker: Broker, queue: str, inbox: Inbox, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "rewrite", "priority")
        for priority in (0, 2, 9):
            broker.publish(queue, [Outgoing(b"%d" % priority, priority=priority)])
            (delivery,) = self.receive(inbox, 1)
            assert not inbox.settle([Settlement(delivery, Action.BURY)])
        found = self.receive(open_inbox(dead_queue(queue)), 3)
        assert [(delivery.body, delivery.priority) for delivery in found] == [
            (b"9", 9),
            (b"2", 2),
            (b"0", 0),
        ]

    def test_a_batch_of_everything(
        self, broker: Broker, queue: str, inbox: Inbox, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "rewrite", "release")
        broker.publish(queue, numbered(90))
        found = self.receive(inbox, 90)
        late = inbox.settle(
            [Settlement(delivery, list(Action)[i % 3]) for i, delivery in enumerate(found)]
        )
        assert not late
        self.check_order(
            broker, bodies(self.receive(inbox, 30)), [found[i].body for i in range(1, 90, 3)]
        )
        grave = open_inbox(dead_queue(queue))
        self.check_order(
            broker, bodies(self.receive(grave, 30)), [found[i].body for i in range(2, 90, 3)]
        )
