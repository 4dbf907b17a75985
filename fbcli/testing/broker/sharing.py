"""Many at once, and several processes."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing

from fbcli.broker import Broker, Inbox, Outgoing
from fbcli.testing.broker.ground import BrokerGround, OpenInbox, ack, bodies, numbered


class SharingTests(BrokerGround):
    def test_two_consumers_never_share_a_message(
        self, broker: Broker, queue: str, open_inbox: OpenInbox
    ) -> None:
        count, seen, lock = 2000, Counter[bytes](), threading.Lock()
        deadline = time.monotonic() + 2 * self.patience

        def consume(inbox: Inbox, limit: int) -> None:
            while sum(seen.values()) < count and time.monotonic() < deadline:
                batch = inbox.fetch(limit, 0.05)
                with lock:
                    seen.update(bodies(batch))
                ack(inbox, batch)
                inbox.keep_alive()

        def publish() -> None:
            for start in range(0, count, 250):
                broker.publish(queue, [Outgoing(b"%d" % i) for i in range(start, start + 250)])

        threads = [
            threading.Thread(target=consume, args=(open_inbox(), limit)) for limit in (1, 7, 50)
        ]
        threads.append(threading.Thread(target=publish))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == count
        assert set(seen.values()) == {1}
        self.check_empty(broker, queue, open_inbox())

    def test_many_publishers_at_once(self, broker: Broker, queue: str, inbox: Inbox) -> None:
        def publish(name: int) -> None:
            for i in range(50):
                broker.publish(queue, [Outgoing(b"%d %d" % (name, i))])

        threads = [threading.Thread(target=publish, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        found = self.receive(inbox, 200)
        for thread in threads:
            thread.join()
        for name in range(4):
            own = [body for body in bodies(found) if body.startswith(b"%d " % name)]
            self.check_order(broker, own, [b"%d %d" % (name, i) for i in range(50)])
        ack(inbox, found)

    def test_what_one_publishes_another_sees(
        self, broker: Broker, elsewhere: Broker, queue: str
    ) -> None:
        self.need(broker, "confirm")
        elsewhere.publish(queue, numbered(3))
        if broker.capabilities.size:
            size = broker.size(queue)
            assert size.ready == 3
        with closing(elsewhere.open(queue, consumer_id="c", prefetch=10, lease=60)) as inbox:
            ack(inbox, self.receive(inbox, 3))

    def test_it_lasts(
        self, broker: Broker, queue: str, open_one: Callable[[], Broker], elsewhere: Broker
    ) -> None:
        """Messages stay when everybody has hung up."""
        self.need(broker, "durable")
        elsewhere.publish(queue, [Outgoing(b"%d" % os.getpid())])
        elsewhere.close()
        broker.close()
        again = open_one()
        with closing(again.open(queue, consumer_id="c", prefetch=1, lease=60)) as inbox:
            found = self.receive(inbox, 1)
            assert bodies(found) == [b"%d" % os.getpid()]
            ack(inbox, found)
