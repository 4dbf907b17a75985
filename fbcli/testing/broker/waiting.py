"""How a fetch waits, and what ends it."""

from __future__ import annotations

import threading

import pytest

from fbcli.broker import Broker, Delivery, Inbox, Outgoing
from fbcli.testing.broker.ground import (
    BrokerGround,
    OpenInbox,
    ack,
    bodies,
    meanwhile,
    numbered,
    prompt,
)
from fbcli.testing.waiting import wait_until


class WaitingTests(BrokerGround):
    def test_fetch_waits_for_a_message(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        with prompt(), meanwhile(lambda: broker.publish(queue, [Outgoing(b"x")])):
            found = inbox.fetch(10, 30)
        assert bodies(found) == [b"x"]
        ack(inbox, found)

    def test_fetch_waits_for_a_message_from_elsewhere(
        self, elsewhere: Broker, queue: str, inbox: Inbox
    ) -> None:
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

    def test_no_wait_hands_over_what_is_there(
        self, broker: Broker, queue: str, inbox: Inbox
    ) -> None:
        broker.publish(queue, numbered(3))
        found: list[Delivery] = []

        def all_there() -> bool:
            found.extend(inbox.fetch(100, 0))
            return len(found) == 3

        wait_until(all_there, "three messages", self.patience)
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
                    assert woken.acquire(timeout=self.patience), (
                        "returned without having been woken"
                    )
        finally:
            ended.set()
            asked.release()
            nagger.join()

    def test_without_room_it_only_waits(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        full, free = open_inbox(), open_inbox()
        broker.publish(queue, numbered(2))
        with prompt(least=0.2):
            assert full.fetch(0, 0.2) == []
        found = self.receive(free, 2)
        ack(free, found)

    def test_without_room_a_message_does_not_end_the_wait_of_others(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        """A consumer that has waited, and has no room now, must not sit on a message that came in
        between."""
        full, free = open_inbox(), open_inbox()
        with meanwhile(full.wake):
            assert full.fetch(1, 30) == []
        full.fetch(0, 0)
        broker.publish(queue, [Outgoing(b"x")])
        full.fetch(0, 0)
        found = self.receive(free, 1)
        assert bodies(found) == [b"x"]
        ack(free, found)
