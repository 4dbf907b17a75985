"""What a queue holds, peeking, purging, and the names of queues."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import chain

import pytest

from fbcli.broker import Action, Broker, Inbox, Outgoing, Settlement, dead_queue
from fbcli.errors import Unsupported
from fbcli.testing.broker.ground import BrokerGround, OpenInbox, ack, bodies, numbered
from fbcli.testing.waiting import wait_until


class LookingTests(BrokerGround):
    def test_an_unknown_queue_is_empty(self, broker: Broker, queue: str) -> None:
        if broker.capabilities.size:
            size = broker.size(queue)
            assert (size.ready, size.in_flight or 0, size.delayed or 0) == (0, 0, 0)
        if broker.capabilities.peek:
            assert broker.peek(queue, 10) == []
        if broker.capabilities.purge:
            assert broker.purge(queue) == 0
        if broker.capabilities.delay_view:
            assert broker.delayed(queue, 10) == []
            assert broker.undelay(queue, []) == 0
        if broker.capabilities.queues:
            assert queue not in broker.queues(), "looking at it does not make it known"

    def test_what_it_cannot_do_it_refuses(self, broker: Broker, queue: str) -> None:
        """With a sentence that names it; nothing falls through to an answer that is wrong."""
        verbs: list[tuple[str, Callable[[], object]]] = [
            ("size", lambda: broker.size(queue)),
            ("peek", lambda: broker.peek(queue, 1)),
            ("purge", lambda: broker.purge(queue)),
            ("queues", broker.queues),
            ("delay_view", lambda: broker.delayed(queue, 1)),
            ("delay_view", lambda: broker.undelay(queue, [])),
        ]
        for capability, verb in verbs:
            if not getattr(broker.capabilities, capability):
                with pytest.raises(Unsupported, match=f"^{re.escape(broker.scheme)}://"):
                    verb()

    def test_what_it_says_of_itself_goes_together(self, broker: Broker) -> None:
        can = broker.capabilities
        assert (can.lease == "none") == (not can.ack)
        assert can.ack or not can.fencing
        assert can.ack or can.delivery_count == "none"
        assert not can.delay_view or can.delay_publish or can.delay_release
        assert can.release != "none" or not can.delay_release
        assert can.confirm or not can.idempotent
        assert can.max_bytes is None or can.max_bytes > 64 * 1024
        assert can.max_hold > 0
        assert broker.summary

    @pytest.mark.parametrize(
        "name", ["q", "a.b", "a.b.dead", "a_b", "a-b", "A.b", "a%2Eb", "队列.任务", "x" * 150]
    )
    def test_names_can_be_told_from_those_in_the_server(self, broker: Broker, name: str) -> None:
        """Whatever a server allows: each queue has a name of its own there, and it leads back."""
        assert broker.queue_name(broker.wire_name(name)) == name

    def test_browsing(self, broker: Broker, queue: str) -> None:
        """All that is ready, as peeking shows it."""
        self.need(broker, "peek")
        assert list(chain.from_iterable(broker.browse(queue))) == []
        priorities = (0, 9, 5) if broker.capabilities.priority else (0,)
        messages = numbered(1200)
        for number, message in enumerate(messages):
            message.priority = priorities[number % len(priorities)]
        broker.publish(queue, messages)
        shown = broker.peek(queue, 2000)
        assert len(shown) == 1200
        assert list(chain.from_iterable(broker.browse(queue))) == shown

    def test_browsing_what_has_just_become_due(self, broker: Broker, queue: str) -> None:
        self.need(broker, "peek")
        if not self.has(broker, "delay_publish"):
            pytest.skip("cannot delay")
        broker.publish(queue, numbered(3))
        broker.publish(queue, numbered(600, not_before=time.time() + 0.05))
        wait_until(lambda: len(broker.peek(queue, 1000)) == 603, "all to be due")
        found = list(chain.from_iterable(broker.browse(queue)))
        assert sorted(found) == sorted(broker.peek(queue, 1000))

    def test_size(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        self.need(broker, "size")
        holds, delays = broker.capabilities.ack, self.has(broker, "delay_publish")
        broker.publish(queue, numbered(5))
        if delays:
            broker.publish(queue, numbered(2, not_before=time.time() + self.long(broker)))

        def size() -> tuple[int, int | None, int | None]:
            found = broker.size(queue)
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
        self.need(broker, "peek", "priority", "delay_publish")
        broker.publish(
            queue,
            [
                Outgoing(b"low"),
                Outgoing(b"later", not_before=time.time() + self.long(broker)),
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
        if broker.capabilities.delay_publish:
            broker.publish(queue, numbered(2, not_before=time.time() + self.long(broker)))
            expected += 2
        assert broker.purge(queue) == expected
        assert broker.purge(queue) == 0
        self.check_empty(broker, queue, inbox)
        broker.publish(queue, [Outgoing(b"after")])
        assert bodies(self.receive(inbox, 1)) == [b"after"]

    def test_purge_and_what_consumers_hold(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        """It may go as well; settling it then hurts nobody."""
        self.need(broker, "purge", "ack", "release")
        broker.publish(queue, numbered(5))
        done, back = self.receive(inbox, 2, limit=2)
        removed = broker.purge(queue)
        late = inbox.settle([Settlement(done), Settlement(back, Action.RELEASE)])
        if self.spares_held:
            assert (removed, list(late)) == (3, [])
            found = self.receive(inbox, 1)
            assert bodies(found) == [back.body]
        else:
            found = inbox.fetch(5, 1.0)
            assert bodies(found) in ([], [back.body])
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
