"""The gates of one consumer taken together: how much may be fetched, started, or held at all. Can
be changed while it consumes."""

from __future__ import annotations

from collections.abc import Sequence

from fbcli.controls.base import NEVER, Gate, Opening, Shut
from fbcli.engine.holds import Held
from fbcli.task import Task


class Gates:
    """Used by the intake's thread; `replace` from any."""

    def __init__(self, gates: Sequence[Gate] = ()) -> None:
        self._gates: tuple[Gate, ...] = ()
        self._pacers: tuple[Gate, ...] = ()
        self.replace(gates)

    def replace(self, gates: Sequence[Gate]) -> None:
        """Go by these gates from now on; those that are no longer among them are closed."""
        before = self._gates
        self._gates = tuple(gates)
        self._pacers = tuple(gate for gate in gates if gate.paces)
        for gate in before:
            if gate not in self._gates:
                gate.close()

    @property
    def paces(self) -> bool:
        """Whether starts are paced: then tasks are handed over only at their time and into a free
        slot."""
        return bool(self._pacers)

    def closed(self, now: float) -> bool:
        """Whether nothing may be held."""
        return any(gate.closed(now) for gate in self._gates)

    def look_at(self) -> float:
        """When any of them may change by itself (monotonic seconds)."""
        return min((gate.look_at() for gate in self._gates), default=NEVER)

    def shut(self, now: float) -> Shut | None:
        """What to tell people while no work is taken; None: it is. From any thread."""
        return next((shut for gate in self._gates if (shut := gate.shut(now)) is not None), None)

    def fetchable(self, now: float, started: int, unit: int = 1) -> Opening:
        """How many messages are worth holding, those held included.

        `started`: how many of those have started, which a gate that paces does not count; `unit`:
        messages a start, with batches.
        """
        least, again = 1 << 30, NEVER
        for gate in self._gates:
            room, ask_at = gate.fetchable(now)
            if gate.paces:
                room = room * unit + started
            if room < least:
                least, again = room, ask_at
        return Opening(least, again)

    def startable(self, now: float, wanted: int) -> Opening:
        """How many of `wanted` may start now; and when to ask again when that is not all."""
        again = NEVER
        for gate in self._pacers:
            opening = gate.startable(now, wanted)
            if opening.room < wanted:
                wanted, again = opening
        return Opening(wanted, again)

    def started(self, count: int, now: float) -> None:
        for gate in self._pacers:
            gate.started(count, now)

    def holds(self, now: float) -> list[Held]:
        """Return which of them take no work, or hardly any, and why. From any thread."""
        reasons = ((gate.name, gate.hold(now)) for gate in self._gates)
        return [Held(name, reason) for name, reason in reasons if reason is not None]

    def learn(self, tasks: Sequence[Task], now: float) -> None:
        """Tell the gates what became of tasks."""
        for gate in self._gates:
            gate.learn(tasks, now)

    def close(self) -> None:
        """The consumer has ended."""
        self.replace(())
