"""Priority."""

from __future__ import annotations

from fbcli.broker import Broker, Inbox, Outgoing
from fbcli.testing.broker.ground import BrokerGround, ack, bodies, meanwhile, numbered, prompt


class OrderingTests(BrokerGround):
    def test_the_highest_priority_comes_first(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "priority")
        order = [3, 0, 9, 5, 0, 9, 1]
        broker.publish(
            queue, [Outgoing(b"%d" % i, priority=priority) for i, priority in enumerate(order)]
        )
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

    def test_a_priority_message_ends_the_wait(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "priority")
        for priority in (1, 9):
            message = Outgoing(b"urgent", priority=priority)
            with prompt(), meanwhile(lambda message=message: broker.publish(queue, [message])):  # type: ignore[misc]
                found = inbox.fetch(10, 30)
            assert [(delivery.body, delivery.priority) for delivery in found] == [
                (b"urgent", priority)
            ]
            ack(inbox, found)
