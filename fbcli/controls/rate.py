"""Rate: starts of one process paced on a grid of monotonic deadlines, independent of how long the
function runs. That of a whole fleet: `fleet_rate`."""

from __future__ import annotations

import math
from typing import Literal

from fbcli.controls.base import Control, Gate, Opening, Place
from fbcli.values import kinds
from fbcli.values.declaration import option
from fbcli.values.durations import span

HOLD = 0.5
"""Seconds of work a paced consumer holds ahead of its time; the rest waits in the broker for
whoever has room."""

SLACK = 0.1
"""Seconds a start may lag behind its deadline and still be made up for. So a late wake-up does not
lower the rate, and a pause of the supply is not followed by a burst."""


class RateControl(Control):
    """The options of this control and of `FleetRate`."""

    live = True

    qps: float | None = option(
        None,
        kinds.number(0.001, 100_000),
        "Rate",
        "Starts per second, evenly paced: 5, 0.02, 200; see --qps-scope.",
    )
    qps_scope: Literal["process", "cluster"] = option(
        "process",
        kinds.choice("process", "cluster"),
        "Rate",
        "Whether qps holds for each process, or for all processes and hosts together.",
    )
    qps_group: str | None = option(
        None,
        kinds.text(200),
        "Rate",
        "Share one qps with all functions of this group, on all hosts.",
        needs=("qps",),
    )

    def gate(self, place: Place) -> Gate | None:
        if not self.qps:
            return None
        if self.qps_scope == "process":
            return Rate(self.qps)
        from fbcli.controls.fleet_rate import FleetRate  # noqa: PLC0415  where one rate is shared

        key = f"group:{self.qps_group}" if self.qps_group else f"queue:{place.queue}"
        return FleetRate(key, self.qps, place.store, place.wake, place.clock)


WORTH_TELLING = 1.0
"""Seconds: that a start has to wait for less, nobody needs to be told."""


class Rate(Gate):
    """`qps` starts a second: 0.01 is one in 100 seconds."""

    name = "rate"
    paces = True

    def __init__(self, qps: float) -> None:
        self._gap = 1.0 / qps
        self._next = -math.inf

    def fetchable(self, now: float) -> Opening:
        begin = max(self._next, now - SLACK)
        horizon = now + HOLD
        if begin > horizon:
            return Opening(0, begin - HOLD)
        room = int((horizon - begin) / self._gap) + 1
        return Opening(room, begin + room * self._gap - HOLD)

    def startable(self, now: float, wanted: int) -> Opening:
        if self._next < now - SLACK:
            self._next = now
        if self._next > now:
            return Opening(0, self._next)
        return Opening(int((now - self._next) / self._gap) + 1, self._next + self._gap)

    def started(self, count: int, now: float) -> None:
        self._next += count * self._gap

    def hold(self, now: float) -> str | None:
        wait = self._next - now
        return None if wait < WORTH_TELLING else f"the next call may start in {span(wait)}"
