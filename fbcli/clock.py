"""Time, in one place, so that tests can put their own in: nothing else in fbcli calls
`time.time`. And how long to wait before what has failed is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Where a component takes its time from."""

    def now(self) -> float:
        """Seconds since the epoch (UTC). For what travels or is stored."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back. For waiting and measuring."""
        ...


class SystemClock:
    """The machine's own clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


SYSTEM = SystemClock()


FAR = 60
"""Doubled so often, any wait is far beyond what anybody waits."""


class Backoff:
    """The waits between tries of something that fails: `first` seconds, each time `factor` times as
    long, never more than `most`. By default those for a server that cannot be reached.

    Each is taken at random from the upper part of its range, `jitter` of which is left to chance
    (`chance` returns 0 to 1): so those who have failed together do not all come back together, and
    none comes back at once.
    """

    __slots__ = ("_chance", "_factor", "_first", "_jitter", "_most", "failures")

    def __init__(
        self,
        first: float = 0.1,
        most: float = 5.0,
        *,
        factor: float = 2.0,
        jitter: float = 0.5,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._first, self._most, self._factor = first, most, factor
        self._jitter, self._chance = jitter, chance
        self.failures = 0
        """How many there were since it last went well."""

    def failed(self) -> float:
        """Take note of a failure; return how long to wait now (seconds)."""
        longest = min(self._most, self._first * self._factor ** min(self.failures, FAR))
        self.failures += 1
        return longest * (1 - self._jitter * self._chance())

    def succeeded(self) -> None:
        """Begin anew with the next failure."""
        self.failures = 0
