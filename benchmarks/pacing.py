"""Rate: how exact `--qps` is, in the mean and from one start to the next, by the function's own
clock."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping
from functools import partial

from benchmarks import draining, tasks
from benchmarks.child import Go
from benchmarks.figures import OURS, Benchmark, Figure, Target
from benchmarks.messages import fill, queue_of
from benchmarks.place import Place

ADDRESS = "benchmarks.tasks:tick"


def ticks(go: Go, url: str, qps: float) -> dict[str, float]:
    """Consume all at `qps`; return the rate of starts, and how much their gaps vary
    (milliseconds)."""
    measured = draining.consumer(go, url, ADDRESS, {"qps": qps})
    starts = sorted(tasks.starts)
    gaps = [(later - earlier) * 1000 for earlier, later in itertools.pairwise(starts)]
    return {
        "count": measured["count"],
        "qps": len(gaps) / (starts[-1] - starts[0]),
        "deviation": statistics.pstdev(gaps),
        "widest": max(gaps),
        "cpu": measured["cpu"] / (measured["ended"] - measured["begun"]) * 100,
    }


def paced(place: Place, kind: str, qps: float, seconds: float) -> Mapping[str, float]:
    url, count = (
        place.fresh(kind),
        round(qps * (seconds if not place.quick else max(seconds / 4, 3 / qps))) + 1,
    )
    fill(url, queue_of(ADDRESS), count, {"number": 1})
    measured = place.run("benchmarks.pacing:ticks", url=url, qps=qps)
    if measured.pop("count") != count:
        raise RuntimeError(f"not all of {count} calls were made")
    return measured


def _benchmark(
    kind: str, qps: float, seconds: float, tolerance: float | None, deviation: float | None
) -> Benchmark:
    targets = (
        {}
        if tolerance is None
        else {OURS: Target(low=qps * (1 - tolerance), high=qps * (1 + tolerance))}
    )
    steady = {} if deviation is None else {OURS: Target(high=deviation)}
    return Benchmark(
        f"pacing.{kind}.{qps:g}",
        f"--qps {qps:g} for {seconds:g} s, messages waiting; starts noted by time.monotonic in the"
        " function.",
        {OURS: partial(paced, kind=kind, qps=qps, seconds=seconds)},
        (
            Figure("qps", "mean rate of starts", "/s", targets),
            Figure("deviation", "standard deviation of gaps", "ms", steady),
            Figure("widest", "widest gap", "ms"),
            Figure("cpu", "processor time meanwhile", "% of a core"),
        ),
        rounds=2,
    )


BENCHMARKS = [
    _benchmark("redis", 50, 20, 0.005, 3.0),
    _benchmark("sqlite", 50, 20, 0.005, 3.0),
    _benchmark("redis", 0.5, 20, 0.005, None),
    _benchmark("redis", 1000, 5, 0.01, None),
    _benchmark("redis", 10_000, 3, 0.02, None),
]
