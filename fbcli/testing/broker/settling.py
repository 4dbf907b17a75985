"""Release and bury."""

from __future__ import annotations

import time

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
    def test_a_release_goes_to_the_front(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, numbered(3))
        (first,) = self.receive(inbox, 1, limit=1)
        assert not inbox.settle([Settlement(first, Action.RELEASE)])
        found = self.receive(inbox, 3)
        self.check_order(broker, bodies(found), [b"0", b"1", b"2"])
        assert [delivery.deliveries for delivery in found] == [1, 1, 1], (
            "a release is no lost delivery"
        )
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_released_batch_keeps_its_order(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        broker.publish(queue, numbered(6))
        found = self.receive(inbox, 4, limit=4)
        assert not inbox.settle([Settlement(delivery, Action.RELEASE) for delivery in found])
        self.check_order(broker, bodies(self.receive(inbox, 6)), [b"%d" % i for i in range(6)])

    def test_a_release_wakes_another_consumer(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
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
            [
                Settlement(first, Action.RELEASE, body=b"new"),
                Settlement(second, Action.RELEASE, body=b""),
                Settlement(third),
            ]
        )
        found = self.receive(inbox, 2)
        self.check_order(broker, bodies(found), [b"new", b""])
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_released_message_keeps_its_priority(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "priority")
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
        self.need(broker, "delay", "rewrite")
        broker.publish(queue, numbered(2))
        first, second = self.receive(inbox, 2)
        released = time.time()
        assert not inbox.settle(
            [Settlement(first, Action.RELEASE, 0.4, b"later"), Settlement(second)]
        )
        (again,) = self.receive(inbox, 1)
        assert 0.4 * 0.98 <= time.time() - released < 0.4 + PROMPT
        assert (again.body, again.deliveries) == (b"later", 1)
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
        self.need(broker, "rewrite")
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
