"""From push to start: an idle consumer in another process, pushes with pauses, on the host's one
monotonic clock."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import redis

from benchmarks.child import Go
from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, Target, at_most
from benchmarks.place import Place, end, fb_command
from benchmarks.tasks import stamp
from fbcli.booster import find_booster
from fbcli.settings import load

ADDRESS = "benchmarks.tasks:stamp"
ECHO = "bench-echo"
COUNT = 400
WARM = 50
"""The first ones, which do not count: the consumer's start, connections, caches."""
PAUSE = 0.02
"""Mean seconds between two pushes; each pause is half to one and a half of it, so that no poll can
fall into step."""


def echo(url: str) -> None:
    """The floor's other process: BLPOP, decode, note the time."""
    client = redis.Redis.from_url(url)
    while True:
        _, body = client.blpop([ECHO])
        stamp(**json.loads(body))


def push_raw(go: Go, url: str, count: int, out: str) -> dict[str, float]:
    client = redis.Redis.from_url(url)
    client.ping()
    return _push(go, lambda arguments: client.lpush(ECHO, json.dumps(arguments)), count, out)


def push_ours(go: Go, url: str, count: int, out: str) -> dict[str, float]:
    booster = find_booster(ADDRESS, load(Path.cwd(), env=os.environ, broker=url, store=url))
    return _push(go, lambda arguments: booster.push(**arguments), count, out)


def _push(
    go: Go, push: Callable[[dict[str, Any]], object], count: int, out: str
) -> dict[str, float]:
    """Push `count` messages, the last of which makes the consumer write down all delays; return
    those (milliseconds)."""
    go()
    push({"sent": monotonic()})
    time.sleep(1.5)  # the consumer comes up
    for _ in range(count):
        time.sleep(random.uniform(0.5, 1.5) * PAUSE)
        push({"sent": monotonic()})
    push({"sent": monotonic(), "out": out})
    deadline = monotonic() + 20
    while not Path(out).exists():
        if monotonic() > deadline:
            raise TimeoutError("the consumer has not written what it measured")
        time.sleep(0.01)
    delays = [delay * 1000 for delay in json.loads(Path(out).read_text())[WARM:-1]]
    cuts = statistics.quantiles(delays, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "max": max(delays)}


def floor(place: Place) -> Mapping[str, float]:
    url = place.redis()
    program = f"from benchmarks.latency import echo; echo({url!r})"
    return _measured(
        place, url, place.start(sys.executable, "-c", program), "benchmarks.latency:push_raw"
    )


def ours(place: Place, kind: str) -> Mapping[str, float]:
    url = place.fresh(kind)
    with (place.folder / "consume.log").open("wb") as log:
        consumer = place.start(
            fb_command(),
            "consume",
            ADDRESS,
            "--broker",
            url,
            "--store",
            url,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    return _measured(place, url, consumer, "benchmarks.latency:push_ours")


def _measured(
    place: Place, url: str, consumer: subprocess.Popen[bytes], target: str
) -> Mapping[str, float]:
    out = place.folder / "delays.json"
    try:
        return place.run(target, url=url, count=place.scaled(COUNT, 150), out=str(out))
    finally:
        end(consumer)
        out.unlink(missing_ok=True)


P99, MOST = Figure("p99", "99 % within", "ms", best=min), Figure("max", "slowest", "ms", best=min)

BENCHMARKS = [
    Benchmark(
        "latency.redis",
        f"{COUNT} pushes, {PAUSE * 1000:g} ms apart, to an idle `fb consume`: from before the push"
        " until the function starts. floor: LPUSH to a process that waits in BLPOP.",
        {FLOOR: floor, OURS: partial(ours, kind="redis")},
        (Figure("p50", "half within", "ms", {OURS: at_most(1.5)}, min), P99, MOST),
    ),
    Benchmark(
        "latency.sqlite",
        "the same from an SQLite file; pushes are on the disk before they count as done.",
        {OURS: partial(ours, kind="sqlite")},
        (
            Figure("p50", "half within", "ms", {OURS: Target(high=20)}),
            Figure("p99", "99 % within", "ms", {OURS: Target(high=20)}),
            MOST,
        ),
    ),
]
