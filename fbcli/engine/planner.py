"""Which controls a message passes: plans for one consumer, that of the function and those of
messages with options of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fbcli.arguments.signature import Signature
from fbcli.controls.base import Place
from fbcli.controls.catalogue import CARRIED, admissions_of
from fbcli.controls.timeout import Deadlines
from fbcli.engine.plan import Plan
from fbcli.options.model import Options
from fbcli.options.per_message import at_the_door

MOST_PLANS = 1000
"""How many combinations of per-message options are kept compiled."""


class Planner:
    """Makes the plans of one consumer. `function` is in the form that its pool calls."""

    def __init__(
        self,
        *,
        queue: str,
        address: str,
        function: Callable[..., Any],
        signature: Signature,
        rows: str,
        options: Options,
        place: Place,
        deadlines: Deadlines,
    ) -> None:
        self._queue = queue
        self._address = address
        self._function = function
        self._signature = signature
        self._rows = rows
        self._options = options
        self._place = place
        self._deadlines = deadlines
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self.plan = self._compile(options, options.results, frozenset())
        """That of messages which set nothing for themselves."""
        self._plans[(), options.results, frozenset()] = self.plan
        self.spaces = [each.space for each in self.plan.admissions if each.space is not None]
        """Where the consumer holds claims while its tasks run."""
        self.fading = [space for each in self.plan.admissions for space in each.fading]
        """Where it leaves marks that end by themselves."""

    def plan_for(self, extra: dict[str, Any]) -> Plan:
        """Return the plan of a message that sets options for itself, and convert these; raises
        `BadMessage` when they cannot be used."""
        changes = at_the_door(extra)
        keeps = extra.get("result", self._options.results)
        carried = CARRIED.intersection(extra)
        key = (tuple(sorted(changes.items())) if changes else (), keeps, carried)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            options = self._options.model_copy(update=changes) if changes else self._options
            plan = self._plans[key] = self._compile(options, keeps, carried)
        return plan

    def _compile(self, options: Options, keeps: bool, carried: frozenset[str]) -> Plan:
        if options.timeout is not None:
            self._deadlines.expect(options.timeout)
        return Plan(
            self._queue,
            self._address,
            self._function,
            self._signature,
            options,
            rows=self._rows,
            keeps=keeps,
            admissions=admissions_of(options, self._place, carried),
        )
