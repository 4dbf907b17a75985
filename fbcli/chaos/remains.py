"""What a trial leaves on the broker: its dead letters, counted, and its queue, removed."""

from __future__ import annotations

import time
from collections.abc import Callable

from fbcli.broker import Delivery
from fbcli.chaos.analysis import Buried
from fbcli.queues.dead import DeadLetters, Letter
from fbcli.queues.envelope import number
from fbcli.queues.queue import Queue

PATIENCE = 3.0
"""Seconds that messages of dead consumers may be late, on a busy machine."""

PAUSE = 0.2
"""Seconds between two looks while messages of dead consumers come back."""


class Remains:
    """Of one queue. Every method raises `Unavailable`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.letters: list[Buried] = []
        """The dead letters, as of the last look."""

    def look(self) -> bool:
        """Look at the dead letters; return whether there are others than before. A broker that
        cannot show them hands them over."""
        before = len(self.letters)
        if self._queue.broker.capabilities.peek:
            self.letters = [_buried(letter) for letter in DeadLetters(self._queue).browse()]
        else:
            _take_all(self._queue.dead, lambda body: self.letters.append(_buried(Letter(body))))
        return len(self.letters) != before

    def count(self) -> int | None:
        """Count what the queue holds, in whatever state; None: the broker cannot tell."""
        size = self._queue.size()
        return (
            None
            if size is None or size.in_flight is None
            else size.ready + size.in_flight + (size.delayed or 0)
        )

    def clear(self, until: float, monotonic: Callable[[], float]) -> int:
        """Remove all messages, and what dead consumers have left: by `until` (monotonic) it has
        come back. Return how many messages have not, even some seconds later."""
        deadline = max(until, monotonic()) + PATIENCE
        while True:
            self._queue.reclaim()
            for line in (self._queue, self._queue.dead):
                if line.broker.capabilities.purge:
                    line.clear()
                else:
                    _take_all(line, lambda body: None)
            now, left = monotonic(), self.count()
            if (not left and now >= until) or now >= deadline:
                self._forget_consumers()
                return left or 0
            time.sleep(PAUSE)

    def _forget_consumers(self) -> None:
        """Take those that were killed off the list of the living, where they would stay for some
        seconds more."""
        store = self._queue.open_store()
        here = [each for each in store.consumers() if each.queue == self._queue.name]
        store.retire([record.consumer_id for record in here])


def _take_all(queue: Queue, handle: Callable[[bytes], None]) -> None:
    def handle_all(taken: list[Delivery]) -> None:
        for delivery in taken:
            handle(delivery.body)

    queue.take(lambda body: True, handle_all)


def _buried(letter: Letter) -> Buried:
    task, deliveries = letter.arguments.get("number"), number(letter.obituary.get("deliveries"))
    return Buried(
        task if type(task) is int else None, None if deliveries is None else int(deliveries)
    )
