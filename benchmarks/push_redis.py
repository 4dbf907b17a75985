"""Pushing to Redis: one by one, each confirmed; and in bulk."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

import redis

from benchmarks.child import Go
from benchmarks.draining import cpu, spent
from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, at_least
from benchmarks.pushing import AT_ONCE, CPU, QUEUE, by_command, call, measured

SINGLES = 30_000
MANY = 200_000


def lpush(go: Go, url: str, count: int) -> dict[str, float]:
    """The floor of single pushes: redis-py, one LPUSH after the other."""
    client = redis.Redis.from_url(url)
    client.ping()
    go()
    begun, cpu_begun = monotonic(), cpu()
    for number in range(count):
        client.lpush(QUEUE, json.dumps(call(number)))
    return spent(begun, cpu_begun, count)


def pipelined(go: Go, url: str, count: int) -> dict[str, float]:
    """The floor of many: redis-py's pipeline, an RPUSH for each message, 500 a round trip."""
    client = redis.Redis.from_url(url)
    client.ping()
    go()
    begun, cpu_begun = monotonic(), cpu()
    for start in range(0, count, AT_ONCE):
        pipeline = client.pipeline(transaction=False)
        for number in range(start, min(count, start + AT_ONCE)):
            pipeline.rpush(QUEUE, json.dumps(call(number)))
        pipeline.execute()
    return spent(begun, cpu_begun, count)


def variadic(go: Go, url: str, count: int) -> dict[str, float]:
    """A harder floor: one RPUSH with 500 messages."""
    client = redis.Redis.from_url(url)
    client.ping()
    go()
    begun, cpu_begun = monotonic(), cpu()
    for start in range(0, count, AT_ONCE):
        client.rpush(
            QUEUE,
            *[json.dumps(call(number)) for number in range(start, min(count, start + AT_ONCE))],
        )
    return spent(begun, cpu_begun, count)


def _side(target: str, full: int) -> Any:
    return lambda place: measured(place, "redis", target, full)


BENCHMARKS = [
    Benchmark(
        "push.redis.one",
        f"{SINGLES:,} pushes, each confirmed before the next. floor: redis-py client.lpush(queue,"
        " json.dumps(…)).",
        {
            FLOOR: _side("benchmarks.push_redis:lpush", SINGLES),
            OURS: _side("benchmarks.pushing:push", SINGLES),
        },
        (Figure("rate", "one by one", "messages/s", {OURS: at_least(0.9)}), CPU),
    ),
    Benchmark(
        "push.redis.many",
        f"{MANY:,} messages, {AT_ONCE} a round trip. floor: redis-py pipeline of RPUSH; variadic:"
        f" one RPUSH of {AT_ONCE}.",
        {
            FLOOR: _side("benchmarks.push_redis:pipelined", MANY),
            "variadic": _side("benchmarks.push_redis:variadic", MANY),
            OURS: _side("benchmarks.pushing:push_many", MANY),
            "fb push -": lambda place: by_command(place, "redis", MANY),
        },
        (
            Figure(
                "rate", "in bulk", "messages/s", {OURS: at_least(0.25), "fb push -": at_least(0.25)}
            ),
            CPU,
            Figure("start", "fb push - of one line", "s"),
        ),
    ),
]
