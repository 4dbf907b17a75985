"""Publish, fetch, acknowledge."""

from __future__ import annotations

import pytest

from fbcli.broker import Action, Broker, Inbox, Outgoing, Settlement
from fbcli.testing.broker.ground import BrokerGround, OpenInbox, ack, bodies, numbered


class DeliveringTests(BrokerGround):
    def test_a_message_is_delivered_and_done_with(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
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

    def test_messages_come_in_the_order_of_arrival(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        broker.publish(queue, numbered(150))
        broker.publish(queue, [Outgoing(b"%d" % i) for i in range(150, 152)])
        broker.publish(queue, [Outgoing(b"152")])
        found = self.receive(inbox, 153, limit=40)
        self.check_order(broker, bodies(found), [b"%d" % i for i in range(153)])
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_a_batch_is_never_larger_than_asked_for(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        broker.publish(queue, numbered(10))
        for limit in (1, 2, 3):
            batch = inbox.fetch(limit, self.patience)
            assert 1 <= len(batch) <= limit
            ack(inbox, batch)

    def test_an_empty_batch_is_nothing(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        broker.publish(queue, [])
        assert not inbox.settle([])
        self.check_empty(broker, queue, inbox)

    def test_part_of_a_batch_can_be_settled_in_any_order(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
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
            assert size.in_flight in (1, None), "the repetition settled something else"
        ack(inbox, new)
        self.check_empty(broker, queue, inbox)

    @pytest.mark.parametrize("action", [Action.ACK, Action.RELEASE])
    def test_a_repetition_leaves_the_next_delivery_alone(
        self, broker: Broker, queue: str, inbox: Inbox, action: Action
    ) -> None:
        self.need(broker, "ack", "release", "fencing")
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
        [
            b"",
            b"\0",
            bytes(range(256)),
            '{"text": "żółć, 队列, \U0001f680"}'.encode(),
            b"\r\n" * 3,
            b"x" * 1_000_000,
        ],
        ids=["empty", "zero", "binary", "unicode", "newlines", "a megabyte"],
    )
    def test_bytes_arrive_as_they_were(
        self, broker: Broker, queue: str, inbox: Inbox, body: bytes
    ) -> None:
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
            assert size.in_flight in (2, None)
        ack(inbox, [found[0], found[2]])
        self.check_empty(broker, queue, inbox)
