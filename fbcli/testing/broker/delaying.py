"""Messages that wait for their time."""

from __future__ import annotations

import time

import pytest

from fbcli.broker import Action, Broker, Inbox, Outgoing, Settlement
from fbcli.testing.broker.ground import (
    LONG,
    PROMPT,
    BrokerGround,
    OpenInbox,
    ack,
    bodies,
    meanwhile,
    numbered,
    prompt,
)
from fbcli.testing.waiting import wait_until


class DelayingTests(BrokerGround):
    def test_a_delayed_message_comes_in_its_time(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "delay_publish")
        due = time.time() + 0.4
        broker.publish(
            queue,
            [
                Outgoing(b"later", not_before=due),
                Outgoing(b"now"),
                Outgoing(b"past", not_before=due - 10),
            ],
        )
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

    def test_a_sooner_message_shortens_the_wait_for_a_later(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "delay_publish")
        broker.publish(queue, [Outgoing(b"late", not_before=time.time() + self.long(broker))])
        soon: list[float] = []

        def publish() -> None:
            soon.append(time.time() + 0.3)
            broker.publish(queue, [Outgoing(b"soon", not_before=soon[0])])

        with prompt(), meanwhile(publish):
            found = inbox.fetch(10, 30)
        assert bodies(found) == [b"soon"]
        assert time.time() >= soon[0] - 0.002
        ack(inbox, found)

    def test_a_sooner_message_from_elsewhere(
        self, broker: Broker, elsewhere: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "delay_publish")
        broker.publish(queue, [Outgoing(b"late", not_before=time.time() + self.long(broker))])
        with (
            prompt(),
            meanwhile(
                lambda: elsewhere.publish(queue, [Outgoing(b"soon", not_before=time.time() + 0.3)])
            ),
        ):
            found = inbox.fetch(10, 30)
        assert bodies(found) == [b"soon"]
        ack(inbox, found)

    def test_what_is_due_is_ready_though_nobody_consumes(self, broker: Broker, queue: str) -> None:
        self.need(broker, "delay_publish", "delay_view", "size", "peek")
        due = time.time() + 0.3
        broker.publish(queue, numbered(3, not_before=due))
        assert broker.peek(queue, 9) == []
        size = broker.size(queue)
        assert (size.ready, size.delayed) == (0, 3)
        assert len(broker.delayed(queue, 9)) == 3
        assert time.time() < due, "too slow to tell"
        wait_until(lambda: time.time() > due + 0.01, "them to be due")
        assert sorted(broker.peek(queue, 9)) == [b"0", b"1", b"2"]
        size = broker.size(queue)
        assert (size.ready, size.delayed) == (3, 0)
        assert broker.delayed(queue, 9) == []

    def test_delayed_messages_are_listed_and_cancelled(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "delay_publish", "delay_view")
        due = time.time() + self.long(broker) - 40
        broker.publish(
            queue,
            [
                Outgoing(b"%d" % i, not_before=due + offset)
                for i, offset in enumerate([30, 10, 20, 10])
            ],
        )
        listed = broker.delayed(queue, 10)
        assert [message.body for message in listed] == [b"1", b"3", b"2", b"0"]
        assert [message.due for message in listed] == pytest.approx(
            [due + 10, due + 10, due + 20, due + 30], abs=0.002
        )
        assert [message.body for message in broker.delayed(queue, 2)] == [b"1", b"3"]
        assert broker.delayed(queue, 0) == []
        assert broker.undelay(queue, [listed[0].handle, listed[2].handle]) == 2
        assert broker.undelay(queue, [listed[0].handle, listed[3].handle]) == 1
        assert [message.body for message in broker.delayed(queue, 10)] == [b"3"]
        assert inbox.fetch(10, 0.05) == []

    def test_a_handle_from_the_past_cancels_nothing_else(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "delay_publish", "delay_view")
        broker.publish(queue, [Outgoing(b"old", not_before=time.time() + 0.3)])
        listed = broker.delayed(queue, 10)
        ack(inbox, self.receive(inbox, 1))
        # An emulated delay is in the queue a moment before it is out of where it waited.
        wait_until(lambda: not broker.delayed(queue, 10), "nothing to wait any more")
        broker.publish(queue, [Outgoing(b"new", not_before=time.time() + self.long(broker))])
        assert len(listed) == 1
        assert broker.undelay(queue, [message.handle for message in listed]) == 0
        assert [message.body for message in broker.delayed(queue, 10)] == [b"new"]

    def test_a_released_delay_is_listed_too(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay_release", "delay_view")
        long = min(LONG, broker.capabilities.delay_release)
        broker.publish(queue, [Outgoing(b"x", priority=4 if broker.capabilities.priority else 0)])
        (delivery,) = self.receive(inbox, 1)
        assert not inbox.settle([Settlement(delivery, Action.RELEASE, long)])
        (listed,) = broker.delayed(queue, 10)
        assert listed.body == b"x"
        assert listed.due == pytest.approx(time.time() + long, abs=PROMPT)
        assert broker.undelay(queue, [listed.handle]) == 1
        self.check_empty(broker, queue, inbox)

    def test_a_delayed_message_keeps_its_priority(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "delay_publish", "priority")
        due = time.time() + 0.3
        broker.publish(queue, [Outgoing(b"%d" % priority, priority, due) for priority in (0, 7, 3)])
        wait_until(lambda: time.time() > due + 0.01, "them to be due")
        found = self.receive(inbox, 3)
        assert [(delivery.body, delivery.priority) for delivery in found] == [
            (b"7", 7),
            (b"3", 3),
            (b"0", 0),
        ]

    def test_peek_shows_the_highest_priority_of_what_is_due(
        self, broker: Broker, queue: str
    ) -> None:
        self.need(broker, "delay_publish", "priority", "peek")
        due = time.time() + 0.05
        broker.publish(queue, [Outgoing(b"%d" % i, i, due + i / 1000) for i in range(4)])
        wait_until(lambda: time.time() > due + 0.01, "them to be due")
        assert [broker.peek(queue, n) for n in (1, 2)] == [[b"3"], [b"3", b"2"]]

    def test_a_consumer_without_room_makes_due_messages_ready(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "delay_publish")
        full, free = open_inbox(), open_inbox()
        broker.publish(queue, [Outgoing(b"x", not_before=time.time() + 0.2)])
        full.fetch(0, 0.5)
        found = self.receive(free, 1)
        assert bodies(found) == [b"x"]
        ack(free, found)

    def test_very_many_are_due_at_once(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "delay_publish")
        count = 10_000
        due = time.time() + 2.0  # when all are published, on a busy machine too
        broker.publish(queue, numbered(count, not_before=due))
        found: list[bytes] = []
        deadline = time.monotonic() + self.patience
        while len(found) < count and time.monotonic() < deadline:
            batch = inbox.fetch(500, 1)
            found += bodies(batch)
            ack(inbox, batch)
        self.check_order(broker, found, [b"%d" % i for i in range(count)])
        self.check_empty(broker, queue, inbox)
