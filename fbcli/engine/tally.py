"""What a consumer counts: written by its intake alone, read by whoever shows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from fbcli.stores.base import Counts
from fbcli.task import CANCELLED, DROPPED, FAILED, RELEASED, REQUEUED, RETRY, SUCCEEDED, Task

SAMPLE = 512
"""How many recent durations are kept for the mean and the 95th percentile."""


class Snapshot(msgspec.Struct):
    """The state of one consumer at one moment, as it travels to the view."""

    queue: str
    address: str
    counts: Counts
    in_flight: int = 0
    """Held: running, waiting for a slot, or waiting to be settled."""
    running: int = 0
    concurrency: int = 0
    state: str = "running"
    """running, draining, stopped; or why no work is taken: paused, closed (outside its hours),
    tripped (by its breaker)."""
    note: str = ""
    """Until when, or what next, for a person."""
    trouble: str = ""
    """What keeps it from working, for a person; empty when all is well."""
    seconds: list[float] = []
    """Recent durations of calls."""
    backlog: int | None = None
    """Ready messages in the broker, when last looked."""
    delayed: int | None = None
    unfinished: int = 0
    """Tasks that were still running when the drain time was over, and went back to the queue."""


class Tally:
    """Counters of one consumer."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = Counts()
        self.seconds: deque[float] = deque(maxlen=SAMPLE)

    def count(self, tasks: Sequence[Task]) -> list[float]:
        """Count tasks that have been settled; return the durations of the calls among them."""
        counts = self.counts
        seconds: list[float] = []
        add = seconds.append
        for task in tasks:
            state = task.state
            if state == SUCCEEDED:
                counts.succeeded += 1
                add(task.seconds)
            elif state == FAILED:
                counts.failed += 1
                add(task.seconds)
            elif state == RETRY:
                counts.retried += 1
                add(task.seconds)
            elif state == REQUEUED:
                counts.requeued += 1
            elif state == RELEASED:
                counts.released += 1
            elif state == DROPPED:
                counts.dropped += 1
            elif state == CANCELLED:
                counts.cancelled += 1
            if task.retried:
                counts.retried += task.retried
        self.seconds.extend(seconds)
        return seconds
