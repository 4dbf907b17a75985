"""Rate: starts of one process paced on a grid of monotonic deadlines, independent of how long the
function runs."""

from __future__ import annotations

import math

from fbcli.controls.base import Gate, Opening

HOLD = 0.5
"""Seconds of work a paced consumer holds ahead of its time; the rest waits in the broker for
whoever has room."""

SLACK = 0.1
"""Seconds a start may lag behind its deadline and still be made up for. So a late wake-up does not
lower the rate, and a pause of the supply is not followed by a burst."""


class Rate(Gate):
    """`qps` starts a second: 0.01 is one in 100 seconds."""

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
