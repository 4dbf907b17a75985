"""Concurrency: 2,000 calls that wait 50 ms each, 100 at once. 1.0 s is perfect; the rest is what
the engine loses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks import draining, tasks
from benchmarks.child import Go
from benchmarks.figures import OURS, Benchmark, Figure, Target
from benchmarks.messages import fill, queue_of
from benchmarks.place import Place

COUNT = 2000
SECONDS = 0.05
CONCURRENCY = 100


def sleepers(go: Go, url: str, address: str, options: Mapping[str, Any]) -> dict[str, float]:
    """Consume all; add to the figures when the first call started and the last one ended."""
    measured = draining.consumer(go, url, address, options)
    return {**measured, "first": min(tasks.starts), "last": max(tasks.ends)}


def ours(place: Place, kind: str, address: str, mode: str) -> Mapping[str, float]:
    url = place.fresh(kind)
    fill(url, queue_of(address), COUNT, {"seconds": SECONDS})
    options = {"mode": mode, "concurrency": CONCURRENCY}
    measured = place.run("benchmarks.naps:sleepers", url=url, address=address, options=options)
    if measured["count"] != COUNT:
        raise RuntimeError(f"{measured['count']} of {COUNT} calls were made")
    return {
        "calls": measured["last"] - measured["first"],
        "process": measured["ended"] - measured["begun"],
    }


UNDER = {OURS: Target(high=1.1)}

BENCHMARKS = [
    Benchmark(
        f"naps.{kind}.{mode}",
        f"{COUNT:,} calls of {SECONDS * 1000:g} ms, {CONCURRENCY} at once, queue filled before;"
        " 'whole' is from before the consumer connects until it has settled, said good-bye and"
        " closed.",
        {OURS: partial(ours, kind=kind, address=address, mode=mode)},
        (
            Figure("calls", "first start to last end", "s", UNDER),
            Figure("process", "whole consumer", "s", UNDER),
        ),
    )
    for kind in ("redis", "sqlite")
    for mode, address in (("threads", "benchmarks.tasks:nap"), ("asyncio", "benchmarks.tasks:anap"))
]
