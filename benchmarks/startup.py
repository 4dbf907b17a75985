"""How long a person waits for a command: from the shell's start of it until its exit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, at_most
from benchmarks.place import Place, Took

RUNS = 10
LIGHT = "benchmarks.peers.tally:add"
"""A function whose module imports next to nothing: a user's imports are not ours."""


def _figures(took: Took) -> Mapping[str, float]:
    return {"ms": took.seconds * 1000, "cpu": took.cpu * 1000}


def bare(place: Place, program: str) -> Mapping[str, float]:
    return _figures(place.timed(sys.executable, "-c", program))


def helped(place: Place) -> Mapping[str, float]:
    return _figures(place.fb("--help"))


def pushed(place: Place, urls: dict[str, str], kind: str) -> Mapping[str, float]:
    """Push to the same queue in all rounds; the database is made by a push that does not count."""
    words = ["push", LIGHT, "x=1", "--broker", "", "--store", ""]
    first = kind not in urls
    words[-3] = words[-1] = urls.setdefault(kind, place.fresh(kind) if first else "")
    if first:
        place.fb(*words)
    return _figures(place.fb(*words))


def _at_most(ratio: float) -> tuple[Figure, ...]:
    """Bounds to start-up beside the floor; the processor time is what a busy machine disturbs
    least."""
    return (
        Figure("ms", "start to exit", "ms", {OURS: at_most(ratio)}, min),
        Figure("cpu", "processor time of it", "ms", {OURS: at_most(ratio)}, min),
    )


PLAIN = "import sqlite3, json, argparse, importlib, inspect"
"""What a small command line tool of the standard library alone imports."""

BENCHMARKS = [
    Benchmark(
        "start.help",
        f"`fb --help`, {RUNS} times. floor: an interpreter that imports {PLAIN[7:]}; typer: one"
        " that imports typer and rich.",
        {
            FLOOR: partial(bare, program=PLAIN),
            "typer": partial(bare, program="import typer, rich.table, rich.panel"),
            OURS: helped,
        },
        _at_most(4),
        rounds=RUNS,
    ),
    Benchmark(
        "start.push.sqlite",
        f"`fb push {LIGHT} x=1`, on the disk when it returns. floor: as of start.help; libraries:"
        " an interpreter that imports those it uses.",
        {
            FLOOR: partial(bare, program=PLAIN),
            "libraries": partial(bare, program="import typer, msgspec, sqlite3"),
            OURS: partial(pushed, urls={}, kind="sqlite"),
        },
        _at_most(4),
        rounds=RUNS,
    ),
    Benchmark(
        "start.push.redis",
        "the same to Redis.",
        {
            FLOOR: partial(bare, program=PLAIN),
            "libraries": partial(bare, program="import typer, msgspec, redis"),
            OURS: partial(pushed, urls={}, kind="redis"),
        },
        _at_most(6),
        rounds=RUNS,
    ),
]
