"""Delay: how soon after its time a delayed message starts, when ten thousand of them are due."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import partial

from benchmarks import tasks
from benchmarks.child import Go
from benchmarks.figures import OURS, Benchmark, Figure, Target
from benchmarks.messages import body, queue_of
from benchmarks.place import Place
from fbcli.booster import find_booster
from fbcli.broker import Outgoing
from fbcli.engine.consumer import Consumer
from fbcli.settings import load

COUNT = 10_000
ADDRESS = "benchmarks.tasks:due"
LEAD = 3.0
"""Seconds from the publishing to the first due time: all are published by then."""


def lateness(go: Go, url: str, count: int, spread: float) -> dict[str, float]:
    """Publish `count` messages due over `spread` seconds, consume them, and return how late they
    started (milliseconds)."""
    settings = load(env={}, broker=url, store=url)
    booster = find_booster(ADDRESS, settings)
    go()
    first = time.time() + LEAD
    times = [first + spread * number / count for number in range(count)]
    messages = [Outgoing(body({"at": at}), not_before=at) for at in times]
    for start in range(0, count, 500):
        booster.queue.publish(messages[start : start + 500])
    if time.time() >= first:
        raise RuntimeError(f"publishing {count} delayed messages took longer than {LEAD:g} s")
    consumer = Consumer(booster.work(), max_tasks=count)
    watch = threading.Timer(LEAD + spread + 30, consumer.stop)
    watch.start()
    consumer.serve()
    watch.cancel()
    late = sorted(delay * 1000 for delay in tasks.delays)
    if len(late) != count or late[0] < -20:
        raise RuntimeError(
            f"{len(late)} of {count} calls were made, the first {late[0]:.0f} ms after its time"
        )
    return {"p50": late[count // 2], "p99": late[int(count * 0.99) - 1], "most": late[-1]}


def measured(place: Place, kind: str, spread: float) -> Mapping[str, float]:
    url, count = place.fresh(kind), place.scaled(COUNT)
    return place.run("benchmarks.delays:lateness", url=url, count=count, spread=spread)


BENCHMARKS = [
    Benchmark(
        f"delay.{kind}",
        f"{COUNT:,} messages published {LEAD:g} s before the first is due, {queue_of(ADDRESS)};"
        " lateness by the wall clock in the function. 'at once': all due at the same moment.",
        {
            OURS: partial(measured, kind=kind, spread=10.0),
            "fb, at once": partial(measured, kind=kind, spread=0.0),
        },
        (
            Figure("p50", "half start within", "ms", best=min),
            Figure(
                "p99",
                "99 % start within",
                "ms",
                {OURS: Target(high=200), "fb, at once": Target(high=200)},
                min,
            ),
            Figure("most", "latest", "ms", best=min),
        ),
        rounds=2,
    )
    for kind in ("sqlite", "redis", "redis+list")
]
