"""Leases: a live consumer keeps what it has, a dead one loses it, a late one settles nothing."""

from __future__ import annotations

import threading
import time

import pytest

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement, dead_queue
from fbcli.testing.broker.beating import beating
from fbcli.testing.broker.ground import BrokerGround, OpenInbox, ack, bodies, numbered, prompt
from fbcli.testing.waiting import wait_until


class LeasingTests(BrokerGround):
    def test_a_slow_message_of_a_live_consumer_stays_its_own(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
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

    def test_what_a_dead_consumer_held_comes_back(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        _, _, heir = self.lose_lease(broker, queue, open_inbox, 5)
        found = self.receive(heir, 5)
        self.check_order(broker, bodies(found), [b"%d" % i for i in range(5)])
        if self.has(broker, "delivery_count"):
            assert [delivery.deliveries for delivery in found] == [2] * 5
        ack(heir, found)
        self.check_empty(broker, queue, heir)

    def test_it_comes_back_ahead_of_what_came_later(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "ordered")
        if broker.capabilities.release not in ("front", "both"):
            pytest.skip("what comes back goes behind others")
        _, lost, heir = self.lose_lease(broker, queue, open_inbox, 3)
        broker.publish(queue, [Outgoing(b"later")])
        found = self.receive(heir, 4)
        assert bodies(found) == [*bodies(lost), b"later"]
        ack(heir, found)

    def test_opening_is_enough_to_take_back(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "ack")
        dead = open_inbox(lease=self.lease)
        broker.publish(queue, numbered(3))
        self.receive(dead, 3)
        self.die(broker, dead)
        found: list[Delivery] = []

        def reopened() -> bool:
            found.extend(open_inbox().fetch(10, 0.05))
            return len(found) == 3

        wait_until(reopened, "what the dead consumer held", self.patience)
        if self.has(broker, "delivery_count"):
            assert [delivery.deliveries for delivery in found] == [2] * 3

    def test_taking_back_wakes_a_waiting_consumer(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "ack")
        dead, waiter, ended = open_inbox(lease=self.lease), open_inbox(), threading.Event()
        broker.publish(queue, [Outgoing(b"x")])
        self.receive(dead, 1)
        self.die(broker, dead)

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
            inbox = open_inbox(lease=self.lease)
            seen: list[Delivery] = []

            def delivered(inbox: Inbox = inbox, seen: list[Delivery] = seen) -> bool:
                inbox.keep_alive()
                seen += inbox.fetch(1, 0.02)
                return bool(seen)

            wait_until(delivered, "the message", self.patience)
            assert [delivery.deliveries for delivery in seen] == [count]
            self.die(broker, inbox)

    def test_a_release_keeps_the_count(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        """Where a release goes behind others, it may be a new message to the broker."""
        if broker.capabilities.delivery_count != "lost":
            pytest.skip("it does not count what was lost")
        self.need(broker, "release")
        _, _, heir = self.lose_lease(broker, queue, open_inbox, 1)
        counts = []
        for _ in range(3):
            (delivery,) = self.receive(heir, 1)
            counts.append(delivery.deliveries)
            assert not heir.settle([Settlement(delivery, Action.RELEASE)])
        kept = broker.capabilities.release in ("front", "both")
        assert counts in ([[2, 2, 2]] if kept else [[2, 2, 2], [2, 1, 1]])

    def test_a_late_acknowledgement_settles_nothing(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "fencing")
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 3)
        found = self.receive(heir, 3)
        assert sorted(map(id, loser.late(lost))) == sorted(map(id, lost))
        assert not heir.late(found)
        late = [Settlement(delivery) for delivery in lost]
        assert list(loser.settle(late)) == late
        self.check_held(broker, queue, 3)
        ack(heir, found)
        self.check_empty(broker, queue, heir)

    def test_nor_while_nobody_has_it(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "fencing")
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 3)
        late = [Settlement(delivery) for delivery in lost]
        assert list(loser.settle(late)) == late
        ack(heir, self.receive(heir, 3))
        self.check_empty(broker, queue, heir)

    @pytest.mark.parametrize("action", [Action.RELEASE, Action.BURY])
    def test_a_late_release_or_burial_settles_nothing(
        self, broker: Broker, queue: str, open_inbox: OpenInbox, action: Action
    ) -> None:
        self.need(broker, "fencing", "rewrite" if action is Action.BURY else "release")
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 2)
        found = self.receive(heir, 2)
        late = [Settlement(delivery, action) for delivery in lost]
        assert sorted(map(id, loser.settle(late))) == sorted(map(id, late))
        assert loser.fetch(10, 0.05) == []
        ack(heir, found)
        self.check_empty(broker, queue, heir)
        self.check_empty(broker, dead_queue(queue), open_inbox(dead_queue(queue)))

    def test_who_lost_its_lease_goes_on(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "fencing")
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 2)
        found = self.receive(heir, 2)
        broker.publish(queue, [Outgoing(b"new")])
        mine = self.receive(loser, 1)
        assert bodies(mine) == [b"new"]
        late = [Settlement(delivery) for delivery in lost]
        assert list(loser.settle([*late, Settlement(mine[0])])) == late, (
            "only what was lost is late"
        )
        loser.keep_alive()
        broker.publish(queue, [Outgoing(b"newer")])
        ack(loser, self.receive(loser, 1))
        ack(heir, found)
        self.check_empty(broker, queue, heir)

    def test_who_lost_its_lease_may_get_its_messages_again(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "fencing")
        loser, lost, heir = self.lose_lease(broker, queue, open_inbox, 2)
        heir.close()
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

    def test_another_process_keeps_the_lease(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        """With no thread of the consumer's own; and without the client library."""
        if broker.capabilities.lease != "beat" or broker.capabilities.reach == "process":
            pytest.skip("nobody else can keep its lease")
        held, other = open_inbox(lease=self.lease), open_inbox(lease=self.lease)
        broker.publish(queue, [Outgoing(b"x")])
        found = self.receive(held, 1)
        beat = held.beat()
        assert beat is not None
        with beating([beat]) as extend:
            end = time.monotonic() + 4 * self.lease
            while time.monotonic() < end:
                modules = extend()
                assert other.keep_alive() == 0
                assert other.fetch(1, self.lease / 10) == []
        assert broker.library is None or broker.library[0] not in modules
        assert not held.late(found)
        wait_until(lambda: other.keep_alive() == 1, "the lease to end", self.patience)
        assert list(held.late(found)) == (found if broker.capabilities.fencing else [])
        with beating([beat]) as extend:
            extend()  # of a lease that is lost: it stays so
        assert list(held.late(found)) == (found if broker.capabilities.fencing else [])
        ack(other, self.receive(other, 1))
