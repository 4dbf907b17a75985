"""A broker against its model: hypothesis makes up what publishers and consumers do, and every answer must be the model's.

For brokers that have all capabilities and hand over at once, and whose leases a test can end by force (`expire`).
"""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement, Size, dead_queue

QUEUE = "model"
LONG = 3600.0
SOON = 0.002


@dataclass
class Message:
    number: int
    body: bytes
    priority: int
    lost: int = 0
    holder: int | None = None
    due: float | None = None

    @property
    def place(self) -> tuple[int, int]:
        return -self.priority, self.number


class BrokerModel(RuleBasedStateMachine):
    """Two consumers of one queue. A message that comes back keeps its place."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = self.open_broker()
        self.inboxes = [self.open_inbox() for _ in range(2)]
        self.messages: list[Message] = []
        self.held: list[list[tuple[Message, Delivery]]] = [[], []]
        self.past: list[tuple[int, Delivery, bool]] = []
        """What was settled before or lost with the lease: by whom, and whether it is too late to settle it."""
        self.buried: list[bytes] = []
        self.count = 0

    @abstractmethod
    def open_broker(self) -> Broker: ...

    @abstractmethod
    def expire(self, inbox: Inbox) -> None:
        """Make the lease look as if it had run out."""

    def open_inbox(self) -> Inbox:
        return self.broker.open(QUEUE, consumer_id="c", prefetch=10, lease=LONG)

    def teardown(self) -> None:
        for inbox in self.inboxes:
            inbox.close()
        self.broker.close()

    @property
    def ready(self) -> list[Message]:
        found = [message for message in self.messages if message.holder is None and message.due is None]
        return sorted(found, key=lambda message: message.place)

    @property
    def delayed(self) -> list[Message]:
        found = [message for message in self.messages if message.due is not None]
        return sorted(found, key=lambda message: (message.due, message.number))

    def body(self) -> bytes:
        self.count += 1
        return b"%d" % self.count

    who = st.integers(0, 1)

    @rule(priorities=st.lists(st.integers(0, 9), max_size=8), delay=st.sampled_from([None, None, -5.0, LONG, 2 * LONG]))
    def publish(self, priorities: list[int], delay: float | None) -> None:
        due = None if delay is None else time.time() + delay
        new = [Outgoing(self.body(), priority, due) for priority in priorities]
        self.broker.publish(QUEUE, new)
        later = due if delay is not None and delay > 0 else None
        start = self.messages[-1].number + 1 if self.messages else 0
        self.messages += [Message(start + i, each.body, each.priority, due=later) for i, each in enumerate(new)]

    @rule(priority=st.integers(0, 9))
    def publish_for_soon(self, priority: int) -> None:
        due = time.time() + SOON
        message = Outgoing(self.body(), priority, due)
        self.broker.publish(QUEUE, [message])
        time.sleep(max(0.0, due - time.time()) + 0.0005)
        number = self.messages[-1].number + 1 if self.messages else 0
        self.messages.append(Message(number, message.body, priority))

    @rule(who=who, limit=st.integers(0, 10))
    def fetch(self, who: int, limit: int) -> None:
        found = self.inboxes[who].fetch(limit, 0)
        expected = self.ready[:limit]
        assert [(d.body, d.priority, d.deliveries) for d in found] == [(m.body, m.priority, m.lost + 1) for m in expected]
        for message, delivery in zip(expected, found, strict=True):
            message.holder = who
            self.held[who].append((message, delivery))

    @rule(who=who, data=st.data())
    def settle(self, who: int, data: st.DataObject) -> None:
        actions = st.sampled_from([None, *Action])
        chosen = [(pair, action) for pair in self.held[who] if (action := data.draw(actions)) is not None]
        settlements: list[Settlement] = []
        for (message, delivery), action in chosen:
            self.held[who].remove((message, delivery))
            self.past.append((who, delivery, False))
            delay = data.draw(st.sampled_from([0.0, 0.0, LONG])) if action is Action.RELEASE else 0.0
            body = self.body() if action is not Action.ACK and data.draw(st.booleans()) else None
            settlements.append(Settlement(delivery, action, delay, body))
            message.holder = None
            message.body = message.body if body is None else body
            message.due = time.time() + delay if delay else None
            if action is not Action.RELEASE:
                self.messages.remove(message)
            if action is Action.BURY:
                self.buried.append(message.body)
        assert not self.inboxes[who].settle(settlements)

    @precondition(lambda self: self.past)
    @rule(data=st.data(), action=st.sampled_from(Action))
    def settle_again(self, data: st.DataObject, action: Action) -> None:
        who, delivery, late = data.draw(st.sampled_from(self.past))
        settlement = Settlement(delivery, action)
        assert list(self.inboxes[who].settle([settlement])) == ([settlement] if late else [])

    @rule(who=who, other=who)
    def die(self, who: int, other: int) -> None:
        """The lease runs out; another consumer's heartbeat takes back what was held. One's own comes in time."""
        self.expire(self.inboxes[who])
        expected = 0 if who == other else len(self.held[who])
        assert self.inboxes[other].keep_alive() == expected
        if who == other:
            return
        for message, delivery in self.held[who]:
            message.holder = None
            message.lost += 1
            self.past.append((who, delivery, True))
        self.held[who].clear()

    @rule(who=who)
    def beat(self, who: int) -> None:
        assert self.inboxes[who].keep_alive() == 0

    @rule(who=who)
    def close(self, who: int) -> None:
        self.inboxes[who].close()
        self.inboxes[who] = self.open_inbox()
        for message, _ in self.held[who]:
            message.holder = None
        self.held[who].clear()
        self.past = [each for each in self.past if each[0] != who]

    @rule()
    def purge(self) -> None:
        gone = [message for message in self.messages if message.holder is None]
        assert self.broker.purge(QUEUE) == len(gone)
        self.messages = [message for message in self.messages if message.holder is not None]

    @rule(data=st.data())
    def undelay(self, data: st.DataObject) -> None:
        listed = self.broker.delayed(QUEUE, 100)
        chosen = [each for each in listed if data.draw(st.booleans())]
        assert self.broker.undelay(QUEUE, [each.handle for each in chosen]) == len(chosen)
        gone = {each.body for each in chosen}
        self.messages = [message for message in self.messages if message.due is None or message.body not in gone]

    @rule(n=st.integers(0, 20))
    def peek(self, n: int) -> None:
        assert self.broker.peek(QUEUE, n) == [message.body for message in self.ready[:n]]

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        in_flight = sum(map(len, self.held))
        assert self.broker.size(QUEUE) == Size(len(self.ready), in_flight, len(self.delayed))
        assert sorted(self.broker.peek(dead_queue(QUEUE), 10_000)) == sorted(self.buried)
        assert [each.body for each in self.broker.delayed(QUEUE, 10_000)] == [message.body for message in self.delayed]
        assert (QUEUE in self.broker.queues()) == bool(self.messages)
