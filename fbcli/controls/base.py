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

Beside itself a control declares the options that it owns, in a `Control`, which
`controls/catalogue.py` lists. All else that has to do with options follows from there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from fbcli.clock import Clock
from fbcli.task import Task
from fbcli.values.declaration import Declaration

if TYPE_CHECKING:
    from fbcli.stores.base import Store, Writes

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

    name = "gate"
    """By which it says what it holds up."""
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

    def look_at(self) -> float:
        """When it may change by itself (monotonic seconds), whether it is asked or not."""
        return NEVER

    def shut(self, now: float) -> Shut | None:
        """What to tell people while no work, or hardly any, is taken; None: it is. From any
        thread."""
        return None

    def hold(self, now: float) -> str | None:
        """Return why no work, or hardly any, is taken, for a person; None: it is. From any
        thread."""
        shut = self.shut(now)
        return None if shut is None else ": ".join(filter(None, shut))

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

ALL_MAY: Sequence[Verdict] = ()
"""No verdict at all: run them all."""


class Admission(ABC):
    """Decides on tasks before they take a slot. Called by the intake's thread only."""

    name = "admission"
    """By which it says what it holds up."""
    space: str | None = None
    """Where it holds claims for the consumer, which are to be kept while their tasks run; None:
    nowhere."""
    fading: Sequence[str] = ()
    """Where it leaves marks that end by themselves."""

    @abstractmethod
    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        """Return a verdict for each, in order, or `ALL_MAY`. `now` is Unix seconds. Raises
        `Unavailable`; is asked again then."""

    def close(self, tasks: Sequence[Task], writes: Writes) -> None:  # noqa: B027  most take nothing
        """These tasks have their outcome, and are settled together with `writes`, or right after:
        add what gives back what was taken for them. Called again, with the same tasks, when broker
        or store could not be reached; so each write may be repeated."""


class Place(NamedTuple):
    """What a control may know of the consumer that it is made for."""

    queue: str
    store: Store
    owner: str
    """What the consumer is called in the store."""
    heartbeat: float
    """Seconds."""
    clock: Clock
    wake: Callable[[], None] = lambda: None
    """Has the intake look again, for gates that open by themselves. From any thread."""


class Control(Declaration):
    """Declares a control's options, as fields, and builds what it does where they switch it on.

    Its methods are called with the options of a consumer as `self`, and know their own fields only.
    """

    carries: ClassVar[tuple[str, ...]] = ()
    """Keys of `extra` that switch its admission on for a message."""

    live: ClassVar[bool] = False
    """Whether `fb limit` may change its options while it runs: then its gate is made anew."""

    def gate(self, place: Place) -> Gate | None:
        """Return its gate; None: it is off, or has none."""
        return None

    def admission(self, place: Place, carried: Collection[str]) -> Admission | None:
        """Return its admission for messages that carry these keys in `extra`; None: it is off."""
        return None
