"""What each control costs when it is switched on, and each pool, by emptying a queue of trivial
calls: the harshest measure there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import draining
from benchmarks.draining import ATRIVIAL, TRIVIAL
from benchmarks.figures import OURS, Benchmark, Figure, Side, at_least
from benchmarks.messages import fill, queue_of
from benchmarks.place import Place

COUNT = 100_000

CONTROLS: Mapping[str, Mapping[str, Any]] = {
    "retries, backoff": {"retries": 10, "backoff": 5, "retry_on": "OSError"},
    "expires": {"expires": 3600},
    "timeout": {"timeout": 60},
    "rate": {"qps": 100_000},
    "rate, cluster": {"qps": 100_000, "qps_scope": "cluster"},
    "window": {"window": "00:00-12:00; 12:00-00:00"},
    "breaker": {"breaker": "5/60s"},
    "concurrency auto": {"concurrency": "auto"},
    "share pool": {"share_pool": True},
    "max per key": {"max_per_key": "x=2"},
    "dedupe": {"dedupe": True},
    "results": {"results": True},
    "batch": {"batch": 100, "batch_wait": 0.05},
}
"""Options that switch a control on, with values at which it never has to act."""

PACED = ("rate", "rate, cluster")
"""What is paced by its own setting: its throughput says nothing, its processor time does."""

POOLS: Mapping[str, Mapping[str, Any]] = {
    "solo": {"mode": "solo"},
    "asyncio": {"address": ATRIVIAL},
    "process": {"mode": "process", "concurrency": 2},
    "gevent": {"mode": "gevent"},
    "eventlet": {"mode": "eventlet"},
}


def _emptying(kind: str, options: Mapping[str, Any]) -> Side:
    def side(place: Place) -> Mapping[str, float]:
        url, count = place.fresh(kind), place.scaled(COUNT)
        address = (
            "benchmarks.tasks:rows" if "batch" in options else str(options.get("address", TRIVIAL))
        )
        fill(url, queue_of(address), count)
        chosen = {name: value for name, value in options.items() if name != "address"}
        return draining.by_consumer(place, url, count, address, **chosen)

    return side


def _sides(
    kind: str, each: Mapping[str, Mapping[str, Any]]
) -> dict[str, Callable[[Place], Mapping[str, float]]]:
    return {
        OURS: _emptying(kind, {}),
        **{name: _emptying(kind, options) for name, options in each.items()},
    }


BENCHMARKS = [
    *(
        Benchmark(
            f"controls.{kind}",
            f"{COUNT:,} trivial calls, filled before; first side: nothing switched on. Controls"
            " with values at which they never act. dedupe and max per key claim each message in"
            " the store before its call, results saves each after it.",
            _sides(kind, CONTROLS),
            (
                Figure(
                    "rate",
                    "throughput",
                    "tasks/s",
                    {name: at_least(0.85) for name in CONTROLS if name not in PACED},
                ),
                Figure("cpu", "processor time per task", "µs", best=min),
            ),
            rounds=3,
        )
        for kind in ("sqlite", "redis")
    ),
    Benchmark(
        "pools.redis",
        f"{COUNT:,} trivial calls, filled before; first side: threads. In process, gevent and"
        " eventlet the processor time is that of the engine's own process.",
        _sides("redis", POOLS),
        (
            Figure("rate", "throughput", "tasks/s"),
            Figure("cpu", "processor time per task", "µs", best=min),
        ),
        rounds=3,
    ),
]
