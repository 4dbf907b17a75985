"""How long a person waits for a command: from the shell's start of it until its exit."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial

from benchmarks.draining import TRIVIAL
from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, Target
from benchmarks.place import Place

RUNS = 10


def bare(place: Place, program: str) -> Mapping[str, float]:
    begun = time.monotonic()
    place.start(sys.executable, "-c", program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).wait()
    return {"ms": (time.monotonic() - begun) * 1000}


def helped(place: Place) -> Mapping[str, float]:
    return {"ms": place.fb("--help") * 1000}


def pushed(place: Place, url: dict[str, str], kind: str) -> Mapping[str, float]:
    """Push to one and the same queue in all rounds: the database exists, but for the first time."""
    if kind not in url:
        url[kind] = place.fresh(kind)
        place.fb("push", TRIVIAL, "x=1", "--broker", url[kind], "--store", url[kind])
    return {"ms": place.fb("push", TRIVIAL, "x=1", "--broker", url[kind], "--store", url[kind]) * 1000}


def _under(milliseconds: float) -> tuple[Figure, ...]:
    return (Figure("ms", "start to exit", "ms", {OURS: Target(high=milliseconds)}),)


BENCHMARKS = [
    Benchmark(
        "start.help",
        f"`fb --help`, {RUNS} times. floor: an interpreter that imports nothing; typer: one that imports typer and rich.",
        {
            FLOOR: partial(bare, program="pass"),
            "typer": partial(bare, program="import typer, rich.table, rich.panel"),
            OURS: helped,
        },
        _under(150),
        rounds=RUNS,
    ),
    Benchmark(
        "start.push.sqlite",
        "`fb push benchmarks.tasks:trivial x=1`, on the disk when it returns. floor: an interpreter that imports nothing.",
        {FLOOR: partial(bare, program="pass"), OURS: partial(pushed, url={}, kind="sqlite")},
        _under(200),
        rounds=RUNS,
    ),
    Benchmark(
        "start.push.redis",
        "the same to Redis. floor: an interpreter that imports redis.",
        {FLOOR: partial(bare, program="import redis"), OURS: partial(pushed, url={}, kind="redis")},
        _under(300),
        rounds=RUNS,
    ),
]
