"""Who is killed when: one after the other, at random moments, of three two consumers and one
producer, in any order."""

from __future__ import annotations

import random
from collections.abc import Callable

from fbcli.clock import Clock

KillOne = Callable[[random.Random], bool]
"""Kills one; False: there is none to be killed now."""


class Reaper:
    """Kills every so many seconds in the mean (0: never); the gaps are as random as those of
    accidents (exponential)."""

    def __init__(
        self,
        every: float,
        consumers: KillOne,
        producers: KillOne,
        chance: random.Random,
        clock: Clock,
    ) -> None:
        self._every, self._chance, self._clock = every, chance, clock
        self._consumers, self._producers = consumers, producers
        self._deck: list[bool] = []
        """Whose turn is next, from the end: True is a producer's."""
        self._at = clock.monotonic() + self._gap()

    def tick(self) -> None:
        """Kill when it is time. When nobody is at work, time begins anew: whoever comes next shall
        live as long as the others. With no producer left it is a consumer's turn."""
        if not self._every or self._clock.monotonic() < self._at:
            return
        if not self._deck:
            self._deck = [False, False, True]
            self._chance.shuffle(self._deck)
        if (self._deck[-1] and self._producers(self._chance)) or self._consumers(self._chance):
            self._deck.pop()
        self._at = self._clock.monotonic() + self._gap()

    def _gap(self) -> float:
        return self._chance.expovariate(1 / self._every) if self._every else 0.0
