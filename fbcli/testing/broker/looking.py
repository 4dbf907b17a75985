"""What a queue holds, peeking, purging, and the names of queues."""

from __future__ import annotations

import time

from fbcli.broker import Action, Broker, Inbox, Outgoing, Settlement, dead_queue
from fbcli.testing.broker.ground import LONG, BrokerGround, OpenInbox, ack, bodies, numbered


class LookingTests(BrokerGround):
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
            queue,
            [
                Outgoing(b"low"),
                Outgoing(b"later", not_before=time.time() + LONG),
                Outgoing(b"high", priority=9),
            ],
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

    def test_purge_leaves_alone_what_consumers_hold(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        self.need(broker, "purge", "ack")
        broker.publish(queue, numbered(5))
        done, back = self.receive(inbox, 2, limit=2)
        assert broker.purge(queue) == 3
        assert not inbox.settle([Settlement(done), Settlement(back, Action.RELEASE)])
        found = self.receive(inbox, 1)
        assert bodies(found) == [back.body]
        ack(inbox, found)
        self.check_empty(broker, queue, inbox)

    def test_purge_touches_no_other_queue(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "purge")
        other = dead_queue(queue)
        broker.publish(queue, numbered(2))
        broker.publish(other, numbered(3))
        assert broker.purge(queue) == 2
        inbox = open_inbox(other)
        ack(inbox, self.receive(inbox, 3))

    def test_queues_with_something_in_them_are_known(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
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

    def test_many_queues_on_one_broker(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        names = [f"{queue}.{i}" for i in range(20)]
        for i, name in enumerate(names):
            broker.publish(name, numbered(i + 1))
        for i, name in reversed(list(enumerate(names))):
            inbox = open_inbox(name)
            found = self.receive(inbox, i + 1)
            self.check_order(broker, bodies(found), [b"%d" % n for n in range(i + 1)])
            ack(inbox, found)
            self.check_empty(broker, name, inbox)
