"""What a consumer counts: written by its intake alone, read by whoever shows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from fbcli.task import CANCELLED, DROPPED, FAILED, RELEASED, REQUEUED, RETRY, SUCCEEDED, Task

SAMPLE = 512
"""How many recent durations are kept for the mean and the 95th percentile."""


class Counts(msgspec.Struct):
    """Totals since the consumer started. Those of several processes add up."""

    succeeded: int = 0
    failed: int = 0
    """For good: dead letters."""
    retried: int = 0
    """Attempts that failed and were, or will be, followed by another."""
    requeued: int = 0
    released: int = 0
    """Given back unrun or unfinished, because this consumer stopped, paused, or was too early."""
    dropped: int = 0
    """Expired, or done before."""
    cancelled: int = 0
    late: int = 0
    """Outcomes that settled nothing, since the lease had been lost."""
    reclaimed: int = 0
    """Messages of dead consumers given back to the queue."""

    @property
    def done(self) -> int:
        """Tasks that have ended, one way or the other."""
        return self.succeeded + self.failed + self.dropped + self.cancelled

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            *(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__)
        )


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

    def as_report(self) -> dict[str, Any]:
        """For the store: what other machines see of this consumer."""
        report: dict[str, Any] = msgspec.to_builtins(self.counts)
        sample = list(self.seconds)
        report["mean_ms"] = round(sum(sample) / len(sample) * 1000, 3) if sample else 0.0
        return report
