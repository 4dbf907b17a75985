"""The contract of controls: policies around running, one file each. One that is off is not there, and costs nothing.

A control knows a task and the store, and nothing of brokers. It acts at up to three moments:
- a *gate* says when a queue's messages may be fetched and started at all (rate, pause): work over it waits in the broker;
- *admission* decides on one task before it takes a slot, and never counts as an attempt;
- *around the call*: an onion of what is switched on, composed once at start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import NamedTuple

from fbcli.task import Task

NEVER = float("inf")


class Opening(NamedTuple):
    """How far a gate is open."""

    room: int
    """How many tasks may pass now."""
    again: float = NEVER
    """When to ask again for more (monotonic seconds); only of interest when `room` does not suffice."""


OPEN = Opening(1 << 30)
"""No limit."""


class Gate(ABC):
    """Governs the flow of one queue in one process. Called by the intake's thread only."""

    paces = False
    """Whether it governs starts too: then tasks are handed over only at their time and into a free slot."""

    @abstractmethod
    def fetchable(self, now: float) -> Opening:
        """How many messages are worth holding, those held already included. `now` is monotonic seconds."""

    def startable(self, now: float) -> Opening:
        """How many tasks may start now. Only where it `paces`."""
        return OPEN

    def started(self, count: int, now: float) -> None:  # noqa: B027  most gates do not care
        """Take note that `count` tasks have started."""

    def closed(self) -> bool:
        """Whether nothing may be held at all: what was fetched and has not started goes back."""
        return False


class Drop(NamedTuple):
    """Admission's verdict: acknowledge it unrun, for this reason."""

    reason: str


class Later(NamedTuple):
    """Admission's verdict: give it back to the broker until `at` (Unix seconds)."""

    at: float


Verdict = Drop | Later | None
"""None: run it."""


class Admission(ABC):
    """Decides on one task before it takes a slot."""

    @abstractmethod
    def admit(self, task: Task, now: float) -> Verdict:
        """`now` is Unix seconds."""


class Around(ABC):
    """Wraps each attempt."""

    @abstractmethod
    def around(self, task: Task) -> AbstractContextManager[None]:
        """Entered right before the call and left right after it, in the thread or coroutine that makes it."""
