"""The last delivery of a message that was lost with its worker again and again: it is carried out
alone, with nothing else in hand.

What ends a worker takes along all that the worker held. So before a message is blamed for it, it
has to end a worker that holds nothing else; its neighbours, which were lost as often, get through.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from fbcli.engine.holds import Held
from fbcli.task import Task

log = logging.getLogger("fbcli.task")

WHY = "lost with its worker again and again: carried out alone, once all else has ended"


def is_last(task: Task) -> bool:
    """Whether it will be buried, should it be lost once more."""
    deliveries = task.delivery.deliveries
    return deliveries > 1 and deliveries >= task.plan.options.max_deliveries


class Isolation:
    """Holds one task until all else has left, and sees when it has ended. Used by the intake's
    thread."""

    def __init__(self) -> None:
        self.task: Task | None = None
        """What is, or shall be, carried out alone."""
        self.waits = False
        """Whether it has not begun."""
        self.careful = False
        """Whether the last message fetched was of this kind: then only one at a time is worth
        fetching."""

    def choose(self, tasks: Sequence[Task]) -> list[Task] | None:
        """Keep one that must be alone, if there is one, and return the others, which must go back;
        None: there is none."""
        chosen = next(filter(is_last, tasks), None)
        self.careful = chosen is not None
        if chosen is None:
            return None
        if self.task is None:
            self.task = chosen
            log.warning(
                "lost with its worker %d times: carried out alone, for the last time",
                chosen.delivery.deliveries - 1,
                extra={"task_id": chosen.task_id, "queue": chosen.plan.queue},
            )
        self.waits |= any(task is self.task for task in tasks)
        return [task for task in tasks if task is not self.task]

    def begin(self) -> Task:
        """All else has left: return what may begin now."""
        assert self.task is not None
        self.waits = False
        return self.task

    def take_back(self) -> list[Task]:
        """Return what has not begun, and forget it."""
        if self.task is None or not self.waits:
            return []
        task, self.task, self.waits = self.task, None, False
        return [task]

    def holds(self) -> list[Held]:
        """Return what waits here until it is alone. From any thread."""
        task = self.task
        if task is None or not self.waits:
            return []
        return [Held("max_deliveries", WHY, [task.task_id])]

    def learn(self, tasks: Iterable[Task], now: float) -> None:
        """Take note of what has left."""
        if self.task is not None and any(task.delivery is self.task.delivery for task in tasks):
            self.task = None
