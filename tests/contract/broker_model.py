"""A broker against its model: hypothesis makes up what publishers and consumers do, and every
answer must be the model's.

For brokers that hand over at once and whose leases a test can end by force (`expire`). What a
broker lacks is taken from its capabilities: what a consumer of one that cannot acknowledge held
when it died, is lost.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fbcli.broker import Action, Broker, Delivery, Inbox, Outgoing, Settlement, dead_queue
from fbcli.controls.pause import Pause
from fbcli.stores.base import Store

QUEUE = "model"
LONG = 3600.0
SOON = 0.002
EVERYTHING = 10_000


@dataclass
class Message:
    number: int
    body: bytes
    priority: int
    lost: int = 0
    holder: int | None = None
    due: float | None = None
    waited: bool = False
    """Was delayed when it was published: the contract does not say where it comes in among those
    that were not."""
    returned: tuple[int, int] | None = None
    """When it came back last: with which batch, and as the how manyth of it."""

    @property
    def place(self) -> tuple[int, int]:
        """Where it is in the queue of a broker that gives back to the same place."""
        return -self.priority, self.number

    def may_precede(self, other: Message) -> bool:
        """Whether it may come right before `other` with any broker."""
        if self.priority != other.priority:
            return self.priority > other.priority
        if self.returned is None or other.returned is None:
            return self.returned is not None or (
                other.returned is None
                and (self.waited or other.waited or self.number < other.number)
            )
        same_batch = self.returned[0] == other.returned[0] and bool(self.lost) == bool(other.lost)
        return not same_batch or self.returned < other.returned


class BrokerModel(RuleBasedStateMachine):
    """Two consumers of one queue, and a store beside it, where somebody pauses the queue now and
    then."""

    keeps_place = False
    """Whether a message that comes back is where it was before: more than "at the front", as the
    contract wants it."""
    counts_anew = False
    """Whether a message that is released to the back begins its count of losses anew."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = self.open_broker()
        self.can = self.broker.capabilities
        self.store = self.open_store()
        self.inboxes = [self.open_inbox() for _ in range(2)]
        self.messages: list[Message] = []
        self.held: list[list[tuple[Message, Delivery]]] = [[], []]
        self.past: list[tuple[int, Delivery, bool | None]] = []
        """What was settled before or lost with the lease: by whom, and whether it is too late to
        settle it. None: what was settled before the lease was lost; not every broker can tell that.
        """
        self.buried: list[Outgoing] = []
        self.paused = False
        self.count = 0
        self.arrivals = 0
        self.batches = 0

    @abstractmethod
    def open_broker(self) -> Broker:
        """Return a broker whose queue `QUEUE` is empty."""

    def open_store(self) -> Store | None:
        """Return an empty store; None: nobody pauses anything."""
        return None

    @abstractmethod
    def expire(self, inbox: Inbox) -> None:
        """Make the lease look as if it had run out. Only where the broker can acknowledge."""

    def abandon(self, inbox: Inbox) -> None:
        """Leave an inbox as a consumer does that dies. Only where the broker cannot acknowledge."""

    def open_inbox(self) -> Inbox:
        return self.broker.open(QUEUE, consumer_id="c", prefetch=10, lease=LONG)

    def teardown(self) -> None:
        for inbox in self.inboxes:
            inbox.close()
        self.broker.close()
        if self.store is not None:
            self.store.close()

    @property
    def ready(self) -> list[Message]:
        return [
            message for message in self.messages if message.holder is None and message.due is None
        ]

    @property
    def delayed(self) -> list[Message]:
        found = [message for message in self.messages if message.due is not None]
        return sorted(found, key=lambda message: (message.due, message.number))

    def body(self) -> bytes:
        self.count += 1
        return b"%d" % self.count

    def add(self, outgoing: Outgoing, *, due: float | None = None, waited: bool = False) -> None:
        self.messages.append(
            Message(self.number(), outgoing.body, outgoing.priority, due=due, waited=waited)
        )

    def number(self) -> int:
        """Return the place of what arrives now, behind all else."""
        self.arrivals += 1
        return self.arrivals

    def give_back(self, messages: list[Message], lost: int = 0) -> None:
        """They are ready again."""
        self.batches += 1
        for place, message in enumerate(messages):
            message.holder = None
            message.lost += lost
            message.returned = self.batches, place

    def order(self) -> list[Message]:
        """Return the ready messages in the order in which the broker shows them, which must be a
        right one."""
        by_body = {message.body: message for message in self.ready}
        shown = self.broker.peek(QUEUE, EVERYTHING)
        assert sorted(shown) == sorted(by_body)
        found = [by_body[body] for body in shown]
        if self.keeps_place:
            assert found == sorted(found, key=lambda message: message.place)
        else:
            for place, message in enumerate(found):
                assert all(message.may_precede(other) for other in found[place + 1 :]), (
                    message,
                    found,
                )
        return found

    who = st.integers(0, 1)
    priorities = st.sampled_from([0, 0, 0, 1, 9])

    @rule(
        priorities=st.lists(priorities, max_size=8),
        delay=st.sampled_from([None, None, None, -5.0, SOON, LONG, 2 * LONG]),
    )
    def publish(self, priorities: list[int], delay: float | None) -> None:
        due = None if delay is None or not self.can.delay_publish else time.time() + delay
        new = [
            Outgoing(self.body(), priority if self.can.priority else 0, due)
            for priority in priorities
        ]
        self.broker.publish(QUEUE, new)
        later = due is not None and delay is not None and delay > 0
        for each in new:
            self.add(each, due=due if later and delay != SOON else None, waited=later)
        if delay == SOON:
            self.pass_by(due)

    def pass_by(self, due: float | None) -> None:
        if due is not None:
            time.sleep(max(0.0, due - time.time()) + 0.0005)

    @rule(who=who, limit=st.sampled_from([5, 2, 1, 0]))
    def fetch(self, who: int, limit: int) -> None:
        self.take(who, limit)

    @precondition(lambda self: self.ready and not self.paused)
    @rule(who=who)
    def fetch_many(self, who: int) -> None:
        self.take(who, 10)

    def take(self, who: int, limit: int) -> None:
        """As a consumer does that obeys the store: paused, it has no room."""
        limit = min(limit, self.room())
        expected = self.order()[:limit]
        found = self.inboxes[who].fetch(limit, 0)
        assert [delivery.body for delivery in found] == [message.body for message in expected]
        if self.can.priority:
            assert [delivery.priority for delivery in found] == [
                message.priority for message in expected
            ]
        if self.can.delivery_count != "none":
            assert [delivery.deliveries for delivery in found] == [
                message.lost + 1 for message in expected
            ]
        for message, delivery in zip(expected, found, strict=True):
            message.holder = who
            self.held[who].append((message, delivery))

    def room(self) -> int:
        """How much a consumer may fetch that asks the store just now."""
        pause, pauses = Pause(), {} if self.store is None else self.store.news().pauses
        assert (QUEUE in pauses) == self.paused
        if QUEUE in pauses:
            pause.set(pauses[QUEUE], 0.0)
        room = pause.fetchable(0.0).room
        assert (room == 0) == pause.closed(0.0) == self.paused
        return room

    @precondition(lambda self: self.store is not None and self.ready)
    @rule(how=st.sampled_from(["for a moment", "for ever", "for long"]), who=who)
    def pause(self, how: str, who: int) -> None:
        """The later word holds: a short pause ends a longer one. Nothing is fetched meanwhile."""
        assert self.store is not None
        self.store.pause(QUEUE, LONG if how == "for long" else None)
        self.paused = True
        self.take(who, 10)
        if how == "for a moment":
            self.store.pause(QUEUE, SOON)
            time.sleep(SOON + 0.001)
            self.paused = False

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self) -> None:
        assert self.store is not None
        assert self.store.resume(QUEUE)
        assert not self.store.resume(QUEUE)
        self.paused = False

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        self.part(data, st.sampled_from([None, Action.ACK, Action.RELEASE, Action.BURY]))

    @precondition(lambda self: any(self.held))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.part(data, st.sampled_from([Action.RELEASE, Action.RELEASE, None]))

    def part(self, data: st.DataObject, actions: st.SearchStrategy[Action | None]) -> None:
        who = data.draw(st.sampled_from([who for who in (0, 1) if self.held[who]]))
        delays = [0.0, 0.0, 0.0, SOON, LONG] if self.can.delay_release else [0.0]
        delay = data.draw(st.sampled_from(delays))
        settlements: list[Settlement] = []
        back: list[Message] = []
        last: list[Message] = []
        for message, delivery in list(self.held[who]):
            action = data.draw(actions)
            if action is None:
                continue
            self.held[who].remove((message, delivery))
            self.past.append((who, delivery, False))
            body = (
                self.body()
                if action is not Action.ACK and self.can.rewrite and data.draw(st.booleans())
                else None
            )
            to_the_back = action is Action.RELEASE and data.draw(st.integers(0, 3)) == 0
            settlements.append(
                Settlement(
                    delivery,
                    action,
                    delay if action is Action.RELEASE else 0.0,
                    body,
                    to_the_back,
                )
            )
            message.body = message.body if body is None else body
            if action is Action.RELEASE:
                message.due = time.time() + LONG if delay == LONG else None
                (last if to_the_back else back).append(message)
            else:
                self.messages.remove(message)
            if action is Action.BURY:
                self.buried.append(Outgoing(message.body, message.priority))
        assert not self.inboxes[who].settle(settlements)
        self.give_back(back)
        for message in last:
            message.holder = message.returned = None
            message.number = self.number()
            message.waited = delay > 0
            message.lost = 0 if self.counts_anew else message.lost
        if delay == SOON:
            self.pass_by(time.time() + SOON)

    @precondition(lambda self: self.can.ack and self.past)
    @rule(data=st.data(), action=st.sampled_from(Action))
    def settle_again(self, data: st.DataObject, action: Action) -> None:
        late_ones = [each for each in self.past if each[2]]
        who, delivery, late = data.draw(
            st.sampled_from(late_ones if late_ones and data.draw(st.booleans()) else self.past)
        )
        settlement = Settlement(delivery, action)
        found = list(self.inboxes[who].settle([settlement]))
        assert found in ([[settlement]] if late else [[]] if late is False else [[], [settlement]])

    @precondition(lambda self: self.can.ack and any(self.held))
    @rule(who=who, other=who, action=st.sampled_from(Action), comes_back=st.booleans())
    def lose_the_lease(self, who: int, other: int, action: Action, comes_back: bool) -> None:
        """It runs out; another consumer's heartbeat takes back what was held. One's own comes in
        time."""
        self.expire(self.inboxes[who])
        expected = 0 if who == other else len(self.held[who])
        assert self.inboxes[other].keep_alive() == expected
        if who == other:
            return
        self.give_back([message for message, _ in self.held[who]], lost=1)
        lost = [delivery for _, delivery in self.held[who]]
        self.held[who].clear()
        self.past = [
            (by, delivery, late if by != who or late else None) for by, delivery, late in self.past
        ]
        self.past += [(who, delivery, True) for delivery in lost]
        if comes_back:
            assert self.inboxes[who].fetch(0, 0) == []
        late = [Settlement(delivery, action) for delivery in lost]
        assert sorted(map(id, self.inboxes[who].settle(late))) == sorted(map(id, late))

    @precondition(lambda self: any(self.held))
    @rule(who=who, dying=st.booleans())
    def leave(self, who: int, dying: bool) -> None:
        """A consumer ends, in order or (where there is no lease to lose) not, and another one takes
        its place."""
        if dying and not self.can.ack:
            self.abandon(self.inboxes[who])
            assert self.inboxes[1 - who].keep_alive() == 0
        else:
            self.inboxes[who].close()
        self.inboxes[who] = self.open_inbox()
        if self.can.ack:
            self.give_back([message for message, _ in self.held[who]])
        else:
            gone = {id(message) for message, _ in self.held[who]}
            self.messages = [message for message in self.messages if id(message) not in gone]
        self.held[who].clear()
        self.past = [each for each in self.past if each[0] != who]

    @precondition(lambda self: any(message.holder is None for message in self.messages))
    @rule(data=st.data(), all=st.sampled_from([False, False, False, True]))
    def remove(self, data: st.DataObject, all: bool) -> None:
        """Some of the delayed messages, or all that nobody holds."""
        if all:
            gone = [message for message in self.messages if message.holder is None]
            assert self.broker.purge(QUEUE) == len(gone)
            self.messages = [message for message in self.messages if message.holder is not None]
        elif self.can.delay_view:
            chosen = [each for each in self.broker.delayed(QUEUE, 100) if data.draw(st.booleans())]
            assert self.broker.undelay(QUEUE, [each.handle for each in chosen]) == len(chosen)
            bodies = {each.body for each in chosen}
            self.messages = [
                message
                for message in self.messages
                if message.due is None or message.body not in bodies
            ]

    @precondition(lambda self: self.ready)
    @rule(who=who, n=st.sampled_from([0, 1, 2, 3, 20]))
    def look(self, who: int, n: int) -> None:
        assert self.inboxes[who].keep_alive() == 0
        assert self.broker.peek(QUEUE, n) == [message.body for message in self.order()[:n]]

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        size = self.broker.size(QUEUE)
        assert size.ready == len(self.ready)
        if self.can.ack:
            assert size.in_flight == sum(map(len, self.held))
        dead = sorted(self.buried, key=lambda each: -each.priority)
        assert self.broker.peek(dead_queue(QUEUE), EVERYTHING) == [each.body for each in dead]
        if self.can.delay_view:
            assert size.delayed == len(self.delayed)
            assert [each.body for each in self.broker.delayed(QUEUE, EVERYTHING)] == [
                each.body for each in self.delayed
            ]
        assert self.broker.queues() == sorted(self.broker.queues())
        if self.ready or self.delayed or (self.can.ack and any(self.held)):
            assert QUEUE in self.broker.queues()
        self.order()
