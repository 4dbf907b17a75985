"""The evenly spaced slots of a shared rate, as arithmetic: for stores that hand them out
themselves. Knows no clock and no store."""

from __future__ import annotations

from math import floor
from typing import NamedTuple

from fbcli.stores.base import Tokens

IDLE_SECONDS = 60.0
"""How long a grid is remembered after its next slot was free."""


class Grid(NamedTuple):
    """What is remembered of a shared rate."""

    last: float
    """Time of the last slot that was taken. The next one follows at the rate of whoever asks for
    it."""
    taken: float
    """When it was taken. Should the clock be before that, it was put back, and the grid moves with
    it."""


def take(
    grid: Grid | None, now: float, qps: float, count: int, *, ahead: float, slack: float
) -> tuple[Tokens, Grid | None]:
    """Return the slots that are handed out at `now`, and what is to be remembered then. See
    `Store.take_tokens`."""
    start = now
    if grid is not None:
        free = grid.last + 1 / qps + min(0.0, now - grid.taken)
        if free >= now - slack:
            start = free
    count = min(count, floor((now + ahead - start) * qps) + 1)
    if count < 1:
        return Tokens(0, start - now), grid
    return Tokens(count, start - now), Grid(start + (count - 1) / qps, now)


def forgotten_at(grid: Grid, qps: float) -> float:
    """Return the time from which a grid makes no difference any more."""
    return grid.last + 1 / qps + IDLE_SECONDS
