"""How many calls of a consumer run at once: as many as it was told, or a number that finds its own
level."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fbcli.controls.base import NEVER
from fbcli.controls.concurrency import AutoConcurrency
from fbcli.pools.base import Pool
from fbcli.task import Run

LEVEL_PERIOD = 0.25
"""Seconds between two looks at whether the concurrency that finds its own level should change."""


class Sizing:
    """Used by the intake's thread, `resize` by any."""

    def __init__(self, pool: Pool[Run], wake: Callable[[], None]) -> None:
        self._pool = pool
        self._wake = wake
        self._wanted: int | None = None
        self._level: AutoConcurrency | None = None
        self._look_at = 0.0

    def resize(self, size: int, level: AutoConcurrency | None = None) -> None:
        """Have so many calls run at once; with `level` let it find its own from there."""
        self._level = level
        self._wanted = size
        self._wake()

    def adjust(self, now: float, waiting: int) -> None:
        """Change how many calls run at once, when it is time. `now` is monotonic; `waiting`: calls
        that wait for their time outside of the pool."""
        if self._wanted is None and self._level is None:
            return
        size, self._wanted = self._wanted, None
        if self._level is not None and now >= self._look_at:
            self._look_at = now + LEVEL_PERIOD
            size = self._level.size(now, self._pool.busy(), self._pool.pending() + waiting)
        if size is not None and size != self._pool.size:
            self._pool.resize(size)

    def wait(self) -> float:
        """Return the seconds after which it wants to look again, while anything is in hand."""
        return NEVER if self._level is None else LEVEL_PERIOD

    def learn(self, seconds: Sequence[float], now: float) -> None:
        """Take note of calls that have ended, by their durations."""
        if self._level is not None:
            self._level.learn(seconds, now)
