"""Concurrency that finds its own level: more calls at once as long as that costs them no time,
fewer when they are in each other's way.

It goes by how long calls take, which tells soonest that something behind them is full, and checks
that by how many of them end. Pure: it knows what it is told. Its figures are those that did well in
simulation (see its test): with room for a few calls, for one (as where Python computes), and
without limit; with durations all alike, scattered, and of two kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from typing import NamedTuple

PERIOD = 0.5
"""Seconds that a level is watched at least before it is judged; for longer calls, as long as a call
takes."""

FEW, ENOUGH = 10, 100
"""Calls that must have ended before a level is judged: the more, the more they differ, but never
more than enough."""

SURE = 0.15
"""How exactly the typical duration must be known (standard error of its logarithm)."""

SAMPLE = 512
"""Most durations that are looked at in a period."""

GROWTH, SHRINKING = 0.1, 0.75
"""By how much a level grows (at least by one call), and what is left of one that shrinks."""

AT_EASE, SLOW, TOO_SLOW = 1.15, 1.4, 2.0
"""Times the duration of calls that are not in each other's way. Below `SLOW` a level may grow, over
`TOO_SLOW` it shrinks. Over `AT_EASE` it is probed now and then: a lower one might do as well."""

GAIN = 1.1
"""A level does not shrink while so many times more calls end than when they were quick."""

HELPED = 0.75
"""A level that was halved has helped when calls take at most so much of the time they took. If not,
they are slow by themselves."""

WORTH = 0.9
"""A probed level is kept when so much of the throughput is left."""

PROBE_EVERY, PROBE_AGAIN = 40, 4
"""Periods from one probe to the next: when it was in vain, and when it was not."""

LEARNING = 0.3
"""How far the known duration of calls at ease follows at each judgement."""


class AutoConcurrency:
    """Begins at `start` calls at once and stays between `least` and `most`. Used by the intake's
    thread only."""

    def __init__(self, start: int = 4, most: int = 1000, least: int = 1) -> None:
        self.level = min(max(start, least), most)
        """How many calls at once are good, as far as it knows."""
        self._least = least
        self._most = most
        self._baseline = 0.0
        """Seconds that a call takes when none is in another's way; 0: not known yet."""
        self._throughput = 0.0
        """Calls a second when they last took no longer than that."""
        self._shrunk: _Sight | None = None
        """What was seen before the level began to shrink; None: it does not."""
        self._probed: _Sight | None = None
        """What was seen of the level above that which is probed; None: none is."""
        self._probe_in = PROBE_AGAIN
        self._settling: _Settling | None = None
        self._period: _Period | None = None

    def learn(self, seconds: Sequence[float], now: float) -> None:
        """Take note of calls that have ended, by their durations. `now` is monotonic seconds."""
        if self._settling is not None:
            self._settling.count += len(seconds)
        elif self._period is not None:
            self._period.add(seconds)

    def size(self, now: float, running: int, waiting: int) -> int:
        """Return how many calls may run at once from now on, while `running` do and `waiting` are
        at hand.

        To be asked a few times a second. With nothing waiting, too, all slots taken count as a wish
        for more: whoever has long calls leaves what waits in the broker.
        """
        if self._settling is not None and self._settling.over(now, running):
            self._settling = self._period = None
        if self._settling is None:
            if self._period is None:
                self._period = _Period(now)
            elif (sight := self._period.look(now, running, waiting, self.level)) is not None:
                self._period = _Period(now)
                self._judge(sight, now)
        return self.level

    def _judge(self, sight: _Sight, now: float) -> None:
        """Go by what a period has shown."""
        latency = sight.latency
        if self._probed is not None:
            self._end_probe(self._probed, sight, now)
            return
        self._baseline = self._baseline or latency
        if latency < AT_EASE * self._baseline:
            self._baseline += (latency - self._baseline) * LEARNING
        if not sight.saturated:
            return
        slowness = latency / self._baseline
        self._probe_in -= 1
        if slowness > TOO_SLOW and sight.throughput <= GAIN * self._throughput:
            self._shrink(sight, now)
            return
        self._shrunk = None
        if slowness > AT_EASE and self._probe_in <= 0:
            self._probed = sight
            self._change(self.level // 2, latency, now)
        elif slowness < SLOW:
            self._throughput = sight.throughput
            self.level = min(self._most, self.level + max(1, int(self.level * GROWTH)))

    def _shrink(self, sight: _Sight, now: float) -> None:
        """Calls take too long: have fewer of them. When that does not help, it is the work that has
        changed."""
        before = self._shrunk or sight
        halved = self.level <= max(self._least, before.level // 2)
        if halved and (before is sight or sight.latency > HELPED * before.latency):
            self._shrunk = None
            self._baseline = sight.latency
            self._change(before.level, sight.latency, now)
        else:
            self._shrunk = sight if halved else before
            self._change(int(self.level * SHRINKING), sight.latency, now)

    def _end_probe(self, before: _Sight, sight: _Sight, now: float) -> None:
        """A lower level has shown how long calls take at ease now; stay there when it does as
        well."""
        self._probed = None
        up = sight.latency > self._baseline
        self._baseline += (sight.latency - self._baseline) * (0.5 if up else 1.0)
        if sight.throughput >= WORTH * before.throughput:
            self._probe_in = PROBE_AGAIN
        else:
            self._probe_in = PROBE_EVERY
            self._change(before.level, sight.latency, now)

    def _change(self, level: int, latency: float, now: float) -> None:
        self.level = max(self._least, level)
        self._settling = _Settling(self.level, now + latency)


class _Sight(NamedTuple):
    """What a period has shown of a level."""

    level: int
    latency: float
    """Seconds that a call typically takes."""
    throughput: float
    """Calls that ended a second."""
    saturated: bool
    """Whether more would have run, had they been allowed to."""


class _Settling:
    """The time after a change in which calls end that began before it, the longest of them last:
    nothing is learned from them."""

    def __init__(self, level: int, until: float) -> None:
        self._level = level
        self._until = until
        self._drained = False
        self.count = 0
        """Calls that have ended since no more than `level` run."""

    def over(self, now: float, running: int) -> bool:
        """Whether those that end now were begun at this level."""
        if not self._drained:
            self._drained = running <= self._level
            self.count = 0
        return self._drained and self.count >= self._level and now >= self._until


class _Period:
    """The time in which a level is watched."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._count = 0
        self._looks = 0
        self._full = 0
        self._seen = 0
        self._sum = 0.0
        self._squares = 0.0

    def add(self, seconds: Sequence[float]) -> None:
        """Take note of calls that have ended."""
        self._count += len(seconds)
        for each in seconds[: SAMPLE - self._seen]:
            logarithm = log(max(each, 1e-6))
            self._seen += 1
            self._sum += logarithm
            self._squares += logarithm * logarithm

    def look(self, now: float, running: int, waiting: int, level: int) -> _Sight | None:
        """Take note of what runs; return what was seen once that is enough.

        Durations are taken by their geometric mean: one call that hangs moves it little, and where
        calls are of two kinds, some more of the one do not, as they do a median.
        """
        self._looks += 1
        self._full += running >= level or (waiting > 0 and running >= 0.9 * level)
        elapsed = now - self._began
        if elapsed < PERIOD or self._seen < FEW:
            return None
        mean = self._sum / self._seen
        spread = sqrt(max(0.0, self._squares / self._seen - mean * mean))
        latency = exp(mean)
        if elapsed < latency or (self._seen < ENOUGH and spread > SURE * sqrt(self._seen)):
            return None
        return _Sight(level, latency, self._count / elapsed, saturated=2 * self._full > self._looks)
