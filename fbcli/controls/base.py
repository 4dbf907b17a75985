"""The contract of controls: policies around running, one file each. One that is off is not there,
and costs nothing.

A control knows tasks and the store, and nothing of brokers. It acts at up to three moments:
- a *gate* says when a queue's messages may be fetched and started at all (rate, pause): work over
  it waits in the broker;
- *admission* decides on tasks before they take a slot, and never counts as an attempt;
- *closing*: what admission took in the store for a task is given back once the outcome is known,
  before the message is settled.

Two act on what runs: retry judges an attempt that has failed (`engine.lifecycle`), timeout looks
after those that have not ended.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from fbcli.task import Task

NEVER = float("inf")


class Opening(NamedTuple):
    """How far a gate is open."""

    room: int
    """How many tasks may pass now."""
    again: float = NEVER
    """When to ask again for more (monotonic seconds); only of interest when `room` does not
    suffice."""


OPEN = Opening(1 << 30)
"""No limit."""


class Shut(NamedTuple):
    """What a closed gate says to people."""

    state: str
    """One word, as a state of the consumer."""
    note: str = ""
    """Until when, or what next."""


class Gate(ABC):
    """Governs the flow of one queue in one process. Called by the intake's thread only, but for
    `shut`."""

    paces = False
    """Whether it governs starts too: then tasks are handed over only at their time and into a free
    slot."""

    @abstractmethod
    def fetchable(self, now: float) -> Opening:
        """How many messages are worth holding, those held already included. `now` is monotonic
        seconds."""

    def startable(self, now: float, wanted: int) -> Opening:
        """How many of the `wanted` tasks that are at hand may start now. Only where it `paces`."""
        return OPEN

    def started(self, count: int, now: float) -> None:  # noqa: B027  most gates do not care
        """Take note that `count` tasks have started."""

    def closed(self, now: float) -> bool:
        """Whether nothing may be held at all: what was fetched and has not started goes back."""
        return False

    def shut(self, now: float) -> Shut | None:
        """What to tell people while no work, or hardly any, is taken; None: it is. From any
        thread."""
        return None

    def learn(self, tasks: Sequence[Task], now: float) -> None:  # noqa: B027  most gates do not care
        """Take note of outcomes: tasks that have been settled."""

    def close(self) -> None:  # noqa: B027  most gates keep nothing
        """The consumer ends, or has another gate instead."""


class Drop(NamedTuple):
    """Admission's verdict: acknowledge it unrun, for this reason."""

    reason: str


class Later(NamedTuple):
    """Admission's verdict: give it back to the broker until `at` (Unix seconds)."""

    at: float


class Wait(NamedTuple):
    """Admission's verdict: hold it, and ask again when something has ended, or in a moment."""

    reason: str


Verdict = Drop | Later | Wait | None
"""None: run it."""


class Admission(ABC):
    """Decides on tasks before they take a slot. Called by the intake's thread only."""

    @abstractmethod
    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        """Return a verdict for each, in order. `now` is Unix seconds. Raises `Unavailable`; is
        asked again then."""

    def close(self, tasks: Sequence[Task]) -> None:  # noqa: B027  most take nothing
        """These tasks, which were admitted, have their outcome, and are settled when this returns.
        Idempotent: called again when the broker or store could not be reached. Raises
        `Unavailable`."""
