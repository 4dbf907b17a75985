"""Consuming a trivial function from Redis: the engine's own cost a task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import monotonic
from typing import Any

import redis

from benchmarks import draining
from benchmarks.child import Go
from benchmarks.draining import ATRIVIAL, TRIVIAL, cpu, decode_message, spent
from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, at_least
from benchmarks.messages import fill, queue_of
from benchmarks.place import Place
from benchmarks.tasks import trivial

QUEUE = queue_of(TRIVIAL)
COUNT = 200_000
LONGER = 3
"""A floor gets so many times the messages, to be disturbed by others on the machine for as long as
ours is."""
DECODERS = {"msgspec": decode_message, "json": json.loads}


def bare(go: Go, url: str, decoder: str) -> dict[str, float]:
    """The floor: what a message costs when nothing is safe. `decoder`: msgspec, or the slower json
    of the standard library."""
    client, loads = redis.Redis.from_url(url), DECODERS[decoder]
    client.ping()
    go()
    begun, cpu_begun, count = monotonic(), cpu(), 0
    while bodies := client.lpop(QUEUE, 100):
        for body in bodies:
            arguments = loads(body)
            del arguments["extra"]
            trivial(**arguments)
        count += len(bodies)
    return spent(begun, cpu_begun, count)


def _filled(place: Place, address: str = TRIVIAL, times: int = 1) -> tuple[str, int]:
    url, count = place.redis(), place.scaled(COUNT)
    for _ in range(times):
        fill(url, queue_of(address), count)
    return url, count * times


def floor(place: Place, decoder: str = "msgspec", processes: int = 1) -> Mapping[str, float]:
    url, count = _filled(place, times=LONGER)
    return draining.rate(
        place,
        "benchmarks.consume_redis:bare",
        count,
        *[{"url": url, "decoder": decoder}] * processes,
    )


def inbox(place: Place) -> Mapping[str, float]:
    url, count = _filled(place, times=LONGER)
    return draining.rate(
        place, "benchmarks.draining:inbox", count, {"url": url, "queue": QUEUE, "batch": 500}
    )


def ours(place: Place, address: str = TRIVIAL, **options: Any) -> Mapping[str, float]:
    url, count = _filled(place, address)
    return draining.by_consumer(place, url, count, address, **options)


def command(place: Place) -> Mapping[str, float]:
    return draining.by_command(place, *_filled(place))


CPU = Figure("cpu", "processor time per task", "µs", best=min)

BENCHMARKS = [
    Benchmark(
        "consume.redis",
        f"{COUNT:,} messages of 110 bytes, filled before; {LONGER} times as many for the floors. "
        "floor: LPOP 100, msgspec's decoder, call; no acknowledgement. "
        "inbox: our Redis broker without engine (fetch 500, call, acknowledge).",
        {
            FLOOR: floor,
            "floor, stdlib json": lambda place: floor(place, "json"),
            "inbox, no engine": inbox,
            OURS: ours,
            "fb, 8 threads": lambda place: ours(place, mode="threads", concurrency=8),
            "fb, solo": lambda place: ours(place, mode="solo"),
            "fb, async def": lambda place: ours(place, ATRIVIAL),
            "fb consume --burst": command,
        },
        (
            Figure(
                "rate",
                "throughput",
                "tasks/s",
                {OURS: at_least(0.30), "fb, 8 threads": at_least(0.25)},
            ),
            CPU,
            Figure("start", "start and end on an empty queue", "s", best=min),
        ),
    ),
    Benchmark(
        "consume.redis.processes",
        "two consumers of one queue against one; the redis-server needs a core too.",
        {"one": ours, OURS: lambda place: ours(place, processes=2)},
        (Figure("rate", "two processes", "tasks/s", {OURS: at_least(1.4)}), CPU),
    ),
    Benchmark(
        "consume.redis.processes.floor",
        "the bare loop in two processes against one: what this machine allows.",
        {"one": floor, "two": lambda place: floor(place, processes=2)},
        (Figure("rate", "two bare loops", "tasks/s"),),
    ),
]
