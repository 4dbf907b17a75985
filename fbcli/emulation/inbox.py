"""An inbox and, above it, what its broker lacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import TYPE_CHECKING

import msgspec

from fbcli.broker import Action, Delivery, Inbox, Outgoing, Settlement, dead_queue
from fbcli.clock import Clock
from fbcli.emulation.counts import LossCounts
from fbcli.errors import PartlyPublished, Unavailable, Unsupported
from fbcli.lease import Beat
from fbcli.values.durations import span

if TYPE_CHECKING:
    from fbcli.emulation.broker import EmulatedBroker


log = logging.getLogger("fbcli.consumer")


class Copied:
    """The handle of a delivery whose new form is published or parked: all that is left to do is to
    acknowledge the old one."""

    __slots__ = ("acknowledged", "delivery")

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.acknowledged = False


class EmulatedInbox(Inbox):
    """Settles what the broker cannot by publishing or parking the new form first, and then
    acknowledging the old one: a crash in between leaves two, never none."""

    def __init__(
        self,
        broker: EmulatedBroker,
        inner: Inbox,
        queue: str,
        counts: LossCounts | None,
        on_close: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._broker = broker
        self.inner = inner
        self._queue = queue
        self._counts = counts
        self._on_close = on_close
        self._clock = clock
        self._can = broker.inner.capabilities
        self._has_copied = False
        self._warned = False
        self._closed = False

    def fetch(self, limit: int, wait: float) -> list[Delivery]:
        found = self.inner.fetch(limit, wait)
        if self._counts is not None and found:
            self._counts.fetched(found)
        return found

    def settle(
        self, settlements: Sequence[Settlement], also: object = None
    ) -> Sequence[Settlement]:
        if self._has_copied or any(each.action and self._is_beyond(each) for each in settlements):
            return self._settle_above(settlements, also)
        if self._counts is not None:
            self._counts.settled(settlements)
        return self.inner.settle(settlements, also)

    def _is_beyond(self, settlement: Settlement) -> bool:
        """Whether the broker cannot do what a release or burial asks for."""
        can = self._can
        if settlement.action is Action.BURY:
            return not can.rewrite
        return (
            can.release == "none"
            or (settlement.back and can.release == "front")
            or (settlement.body is not None and not can.rewrite)
            or settlement.delay > can.delay_release
        )

    def _settle_above(
        self, settlements: Sequence[Settlement], also: object
    ) -> Sequence[Settlement]:
        if also is not None:
            self.inner.settle((), also)
        beyond = [
            each
            for each in settlements
            if each.action and type(each.delivery.handle) is not Copied and self._is_beyond(each)
        ]
        gone = {id(delivery) for delivery in self.inner.late([each.delivery for each in beyond])}
        self._copy([each for each in beyond if id(each.delivery) not in gone])
        late: list[Settlement] = []
        native: list[Settlement] = []
        asked: dict[int, Settlement] = {}
        for each in settlements:
            handle = each.delivery.handle
            if id(each.delivery) in gone:
                late.append(each)
            elif type(handle) is not Copied:
                native.append(each)
            elif not handle.acknowledged:
                native.append(Settlement(handle.delivery))
                asked[id(native[-1])] = each
        if self._counts is not None:
            self._counts.settled([each for each in native if id(each) not in asked])
        late += (asked.get(id(each), each) for each in self.inner.settle(native))
        for each in asked.values():
            each.delivery.handle.acknowledged = True
        return late

    def _copy(self, settlements: Sequence[Settlement]) -> None:
        """Publish or park the new forms. Each is noted at its delivery as soon as it is safe, so
        that nothing is done twice when the batch is given again."""
        dead = [each for each in settlements if each.action is Action.BURY]
        later = [each for each in settlements if each.action is not Action.BURY and each.delay > 0]
        again = [each for each in settlements if each.action is not Action.BURY and not each.delay]
        if dead:
            self._publish(dead_queue(self._queue), dead)
        if again:
            self._publish(self._queue, again)
        if later:
            self._park(later)

    def _park(self, settlements: Sequence[Settlement]) -> None:
        now, longest = self._clock.now(), self._can.delay_publish
        try:
            self._broker.park(self._queue, [_form(each, now + each.delay) for each in settlements])
            self._note(settlements)
        except Unsupported as error:  # nobody may refuse what is fetched already
            if not self._warned:
                self._warned = True
                log.warning("%s Without one they come back in %s at most.", error, span(longest))
            dues = [now + min(each.delay, longest) for each in settlements]
            self._publish(self._queue, settlements, dues)

    def _publish(
        self, queue: str, settlements: Sequence[Settlement], dues: Sequence[float] = ()
    ) -> None:
        forms = [_form(each, due) for each, due in zip_longest(settlements, dues)]
        try:
            self._broker.inner.publish(queue, forms)
        except PartlyPublished as error:
            self._note([settlements[place] for place in error.accepted])
            raise
        self._note(settlements)

    def _note(self, settlements: Sequence[Settlement]) -> None:
        self._has_copied = True
        if self._counts is not None:  # what is left of them is only to be acknowledged
            self._counts.settled([Settlement(each.delivery) for each in settlements])
        for each in settlements:
            each.delivery.handle = Copied(msgspec.structs.replace(each.delivery))

    def _give_back_uncounted(self, counts: LossCounts) -> None:
        """What is in hand goes back when the inbox is closed, and is not lost by that."""
        held = counts.held()
        lost = {id(delivery) for delivery in self.inner.late(held)}
        counts.settled([Settlement(each, Action.RELEASE) for each in held if id(each) not in lost])

    def late(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        return self.inner.late([each for each in deliveries if type(each.handle) is not Copied])

    def wake(self) -> None:
        self.inner.wake()

    def keep_alive(self) -> int:
        return self.inner.keep_alive()

    def beat(self) -> Beat | None:
        return self.inner.beat()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._on_close()
            if self._counts is not None:
                with suppress(Unavailable):  # it is closed all the same
                    self._give_back_uncounted(self._counts)
        self.inner.close()


def _form(settlement: Settlement, due: float | None = None) -> Outgoing:
    """Return the message that takes the place of a delivery."""
    delivery = settlement.delivery
    body = delivery.body if settlement.body is None else settlement.body
    return Outgoing(body, delivery.priority, due, key=delivery.key, headers=delivery.headers)
