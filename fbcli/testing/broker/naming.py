"""What a message is called, and what travels beside it."""

from __future__ import annotations

import time

from fbcli.broker import Action, Broker, Inbox, Outgoing, Settlement, dead_queue
from fbcli.testing.broker.ground import BrokerGround, OpenInbox, ack, bodies, numbered


class NamingTests(BrokerGround):
    def test_an_id_is_added_once(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        """In one batch and in several, and after the first was consumed."""
        self.need(broker, "idempotent")
        broker.publish(queue, [Outgoing(b"0", id="a"), Outgoing(b"again", id="a")])
        broker.publish(queue, [Outgoing(b"again", id="a"), Outgoing(b"1", id="b")])
        found = self.receive(inbox, 2)
        self.check_order(broker, bodies(found), [b"0", b"1"])
        ack(inbox, found)
        broker.publish(queue, [Outgoing(b"again", id="b")])
        self.check_empty(broker, queue, inbox)

    def test_an_id_is_known_everywhere(
        self, broker: Broker, elsewhere: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "idempotent")
        broker.publish(queue, [Outgoing(b"x", id="a")])
        elsewhere.publish(queue, [Outgoing(b"again", id="a"), Outgoing(b"y", id="b")])
        found = self.receive(inbox, 2)
        self.check_order(broker, bodies(found), [b"x", b"y"])
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_an_id_holds_for_its_queue_alone(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "idempotent")
        other = dead_queue(queue)
        for name in (queue, other):
            broker.publish(name, [Outgoing(b"x", id="a")])
        for name in (queue, other):
            inbox = open_inbox(name)
            ack(inbox, self.receive(inbox, 1))

    def test_what_has_no_id_is_added_each_time(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        """And keeps its order among those that have one."""
        self.need(broker, "idempotent")
        batch = [Outgoing(b"0"), Outgoing(b"1", id="a"), Outgoing(b"2"), Outgoing(b"3", id="b")]
        broker.publish(queue, batch)
        broker.publish(queue, batch)
        found = self.receive(inbox, 6)
        self.check_order(broker, bodies(found), [b"0", b"1", b"2", b"3", b"0", b"2"])
        ack(inbox, found)

    def test_an_id_of_a_message_that_waits(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "idempotent", "delay_publish")
        due = time.time() + 0.3
        for _ in range(2):
            broker.publish(queue, [Outgoing(b"x", id="a", not_before=due)])
        found = self.receive(inbox, 1)
        assert bodies(found) == [b"x"]
        ack(inbox, found)
        broker.publish(queue, [Outgoing(b"x", id="a", not_before=due)])
        self.check_empty(broker, queue, inbox)

    def test_many_ids_at_once(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "idempotent")
        for _ in range(2):
            broker.publish(queue, [Outgoing(b"%d" % i, id=f"{i}") for i in range(2500)])
        found = self.receive(inbox, 2500, limit=1000)
        self.check_order(broker, bodies(found), [b"%d" % i for i in range(2500)])
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_headers_travel(self, broker: Broker, queue: str, open_inbox: OpenInbox) -> None:
        """With the message wherever it goes."""
        self.need(broker, "headers")
        headers = {"traceparent": "00-4bf9-00f0-01", "text": "żółć"}
        broker.publish(queue, [Outgoing(b"x", headers=headers), Outgoing(b"y")])
        inbox = open_inbox()
        found = self.receive(inbox, 2)
        assert [each.headers or {} for each in found] == [headers, {}]
        if self.has(broker, "release"):
            assert not inbox.settle([Settlement(each, Action.RELEASE) for each in found])
            found = self.receive(inbox, 2)
            assert sorted(len(each.headers or {}) for each in found) == [0, 2]
        if broker.capabilities.rewrite:
            assert not inbox.settle([Settlement(each, Action.BURY) for each in found])
            inbox = open_inbox(dead_queue(queue))
            found = self.receive(inbox, 2)
            assert sorted(len(each.headers or {}) for each in found) == [0, 2]
        ack(inbox, found)

    def test_a_key_travels(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "key")
        broker.publish(queue, [Outgoing(b"%d" % i, key=f"k{i % 3}") for i in range(9)])
        found = self.receive(inbox, 9)
        assert all(each.key == f"k{int(each.body) % 3}" for each in found)
        for name in ("k0", "k1", "k2"):
            own = [int(each.body) for each in found if each.key == name]
            assert own == sorted(own), "messages with one key keep their order"
        ack(inbox, found)

    def test_an_identity_is_a_messages_own(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        """The same at each delivery; never that of another."""
        inbox = open_inbox()
        broker.publish(queue, numbered(4))
        found = self.receive(inbox, 4)
        names = {each.body: each.identity for each in found if each.identity is not None}
        assert len(set(names.values())) == len(names)
        if names and self.has(broker, "release") and not self.emulated:
            assert not inbox.settle([Settlement(each, Action.RELEASE) for each in found])
            found = self.receive(inbox, 4)
            assert {each.body: each.identity for each in found} == names
        ack(inbox, found)
