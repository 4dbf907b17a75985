"""Runs the sides of a benchmark in turn, so that whatever else the machine does hits all of them
alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.figures import Benchmark, Figure, Missing, Target
from benchmarks.place import Place


@dataclass
class Measured:
    """All values of one benchmark."""

    benchmark: Benchmark
    values: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    """By side, one item a round."""
    missing: dict[str, str] = field(default_factory=dict)
    """Sides that could not run, and why."""

    def of(self, side: str, key: str) -> list[float]:
        return [values[key] for values in self.values[side] if key in values]

    def median(self, side: str, key: str) -> float | None:
        values = self.of(side, key)
        return statistics.median(values) if values else None

    def ratios(self, side: str, key: str) -> list[float]:
        """The figure of a side through that of the first one, round by round."""
        base = next(iter(self.benchmark.sides))
        if base == side or base not in self.values or side not in self.values:
            return []
        return [
            mine / its
            for mine, its in zip(self.of(side, key), self.of(base, key), strict=False)
            if its
        ]

    def ratio(self, side: str, key: str) -> float | None:
        ratios = self.ratios(side, key)
        return statistics.median(ratios) if ratios else None

    def best_ratio(self, side: str, figure: Figure) -> float | None:
        """The best round of a side through the best of the first one: what others on the machine
        disturb least."""
        base = next(iter(self.benchmark.sides))
        if not self.ratios(side, figure.key):
            return None
        return figure.best(self.of(side, figure.key)) / figure.best(self.of(base, figure.key))

    def verdict(self, side: str, figure: Figure) -> bool | None:
        """Whether the target is met; None: there is none, or nothing was measured."""
        target: Target | None = figure.targets.get(side)
        median = self.median(side, figure.key) if side in self.values else None
        if target is None or median is None:
            return None
        return target.met(median, self.ratio(side, figure.key))


def measure(
    benchmark: Benchmark, place: Place, rounds: int, tell: Callable[[str], None]
) -> Measured:
    """Run all sides, round after round. A side that fails is told and left out from then on."""
    measured = Measured(benchmark)
    count = rounds if benchmark.rounds is None else benchmark.rounds
    if place.quick:
        count = min(count, 2)
    for number in range(count):
        for side, run in benchmark.sides.items():
            if side in measured.missing:
                continue
            tell(f"{benchmark.name}: round {number + 1} of {count}, {side}")
            try:
                values = dict(run(place))
            except Missing as missing:
                measured.missing[side] = str(missing)
            except Exception as error:  # noqa: BLE001  told below; the other benchmarks go on
                measured.missing[side] = f"failed: {error}"
            else:
                measured.values.setdefault(side, []).append(values)
    return measured
