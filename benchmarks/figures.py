"""What is measured: a benchmark has sides (a floor, ours, others) that run in turn, and figures
that every side returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.place import Place

FLOOR = "floor"
OURS = "fb"


class Missing(Exception):
    """A side cannot be run here; the text says why and what to do."""


@dataclass(frozen=True)
class Target:
    """Bounds of the median: of the figure itself, or, when `relative`, of its ratio to the first
    side's."""

    low: float = -math.inf
    high: float = math.inf
    relative: bool = False

    def met(self, median: float, ratio: float | None) -> bool:
        judged = ratio if self.relative else median
        return judged is not None and self.low <= judged <= self.high

    def text(self, unit: str) -> str:
        suffix = "×" if self.relative else f" {unit}".rstrip()
        if math.isinf(self.high):
            return f"≥ {self.low:g}{suffix}"
        if math.isinf(self.low):
            return f"≤ {self.high:g}{suffix}"
        return f"{self.low:g}–{self.high:g}{suffix}"


def at_least(ratio: float) -> Target:
    """So many times the first side, or more."""
    return Target(low=ratio, relative=True)


def at_most(ratio: float) -> Target:
    """So many times the first side, or less."""
    return Target(high=ratio, relative=True)


@dataclass(frozen=True)
class Figure:
    """One number that every side of a benchmark returns under `key`."""

    key: str
    title: str
    unit: str
    targets: Mapping[str, Target] = field(default_factory=dict)
    """By side; a side without one is shown for information."""
    best: Callable[[Sequence[float]], float] = max
    """`min` where less is better: the round that others on the machine have disturbed least."""


Side = Callable[["Place"], Mapping[str, float]]
"""Measures once, in processes of its own where it matters, and returns its figures by key."""


@dataclass(frozen=True)
class Benchmark:
    """Sides are run in the order given, round after round; ratios are to the first one."""

    name: str
    settings: str
    """What a reader must know to judge it: what is consumed or pushed, acknowledgement, fsync."""
    sides: Mapping[str, Side]
    figures: tuple[Figure, ...]
    rounds: int | None = None
    """Its own number of rounds, for what varies little or takes long; None: as asked for."""
