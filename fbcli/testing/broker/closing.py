"""What a consumer that ends leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fbcli.broker import Broker, Inbox, Outgoing, Settlement
from fbcli.testing.broker.ground import (
    BrokerGround,
    OpenInbox,
    ack,
    bodies,
    meanwhile,
    numbered,
    prompt,
)


class ClosingTests(BrokerGround):
    def test_closing_gives_back_what_is_unsettled(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "ack")
        first, second = open_inbox(), open_inbox()
        broker.publish(queue, numbered(5))
        found = self.receive(first, 4, limit=4)
        ack(first, found[1:2])
        first.close()
        first.close()
        again = self.receive(second, 4)
        if broker.capabilities.release in ("front", "both"):
            self.check_order(broker, bodies(again), [b"0", b"2", b"3", b"4"])
        if broker.capabilities.delivery_count == "lost":
            assert [delivery.deliveries for delivery in again] == [1] * 4, (
                "a closed consumer did not die"
            )
        ack(second, again)
        self.check_empty(broker, queue, second)

    def test_closing_wakes_another_consumer(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "ack")
        first, second = open_inbox(), open_inbox()
        broker.publish(queue, [Outgoing(b"x")])
        self.receive(first, 1)
        with prompt(), meanwhile(first.close):
            found = second.fetch(1, 30)
        assert bodies(found) == [b"x"]
        ack(second, found)

    def test_a_closed_inbox_takes_nothing_more(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        """The heartbeat ends after the intake, so it calls once more."""
        first, second = open_inbox(), open_inbox()
        first.close()
        broker.publish(queue, [Outgoing(b"x")])
        assert first.keep_alive() == 0
        assert first.fetch(10, 0) == []
        first.wake()
        ack(second, self.receive(second, 1))
        self.check_empty(broker, queue, second)

    def test_a_settlement_after_closing_is_late(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        self.need(broker, "ack")
        first, second = open_inbox(), open_inbox()
        broker.publish(queue, [Outgoing(b"x")])
        late = [Settlement(delivery) for delivery in self.receive(first, 1)]
        first.close()
        again = self.receive(second, 1)
        assert list(first.settle(late)) == late
        self.check_held(broker, queue, 1)
        ack(second, again)

    def test_close_while_the_heart_beats(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        for _ in range(5):
            inbox, ended = open_inbox(), threading.Event()

            def beat(inbox: Inbox = inbox, ended: threading.Event = ended) -> None:
                while not ended.is_set():
                    inbox.keep_alive()

            thread = threading.Thread(target=beat)
            thread.start()
            broker.publish(queue, [Outgoing(b"x")])
            ack(inbox, self.receive(inbox, 1))
            inbox.close()
            ended.set()
            thread.join()
        self.check_empty(broker, queue, open_inbox())

    def test_a_broker_may_be_closed_twice_and_before_use(
        self, open_one: Callable[[], Broker]
    ) -> None:
        unused = open_one()
        unused.close()
        unused.close()
