"""How soon live consumers do what `fb limit` and `fb cancel` ask for."""

from __future__ import annotations

import itertools
import os
import random
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from benchmarks import marks
from benchmarks.figures import OURS, Benchmark, Figure, Target
from benchmarks.messages import fill, queue_of
from benchmarks.place import Place, end, fb_command
from fbcli.booster import find_booster
from fbcli.queues.limits import change
from fbcli.settings import load
from fbcli.stores import open_store

TIMES = 8
SLOW, FAST = 2, 100
"""Starts a second."""
BETWEEN = 0.25
"""Seconds between two starts that tell the one from the other."""


def limited(place: Place, kind: str) -> Mapping[str, float]:
    """Change the rate up and down; return how long it took until starts came at the new one
    (milliseconds)."""
    url, address, noted = (
        place.fresh(kind),
        "benchmarks.tasks:mark",
        marks.fresh(place.folder / "marks"),
    )
    fill(url, queue_of(address), 100 * FAST, {"path": str(noted)})
    taken: list[float] = []
    with _consumer(place, url, address, "--qps", str(SLOW)), closing(open_store(url)) as store:
        marks.wait_for(noted, 2)
        for number in range(place.scaled(TIMES, 2)):
            qps = SLOW if number % 2 else FAST
            time.sleep(random.uniform(0.5, 1.5))
            asked = time.time()
            change(store, queue_of(address), {"qps": qps})
            taken.append((_changed_at(noted, asked, faster=qps == FAST) - asked) * 1000)
    return {"median": statistics.median(taken), "longest": max(taken)}


def _changed_at(noted: Path, asked: float, *, faster: bool) -> float:
    """Return when the first start came at the new rate, or the last at the old one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.01)
        since = [at for at in marks.times(noted) if at >= asked - BETWEEN]
        gaps = [(earlier, later) for earlier, later in itertools.pairwise(since) if later > asked]
        if faster:
            if (
                quick := next((later for earlier, later in gaps if later - earlier < BETWEEN), None)
            ) is not None:
                return quick
        elif since and time.time() - since[-1] > BETWEEN:
            return max(asked, since[-1])
    raise RuntimeError("the rate has not changed in 30 s")


def cancelled(place: Place, kind: str) -> Mapping[str, float]:
    """Cancel running calls; return how long it took until their outcome was there
    (milliseconds)."""
    url, address, noted = (
        place.fresh(kind),
        "benchmarks.tasks:rest",
        marks.fresh(place.folder / "marks"),
    )
    taken: list[float] = []
    booster = find_booster(address, load(Path.cwd(), env=os.environ, broker=url, store=url))
    with _consumer(place, url, address, "--results"):
        for number in range(place.scaled(TIMES, 2)):
            pushed = booster.push(path=str(noted))
            marks.wait_for(noted, number + 1)
            time.sleep(random.uniform(0.5, 1.5))
            asked = time.monotonic()
            pushed.cancel()
            if pushed.wait(30).state != "cancelled":
                raise RuntimeError("the call was not cancelled")
            taken.append((time.monotonic() - asked) * 1000)
    return {"median": statistics.median(taken), "longest": max(taken)}


@contextmanager
def _consumer(place: Place, url: str, *words: str) -> Iterator[None]:
    with (place.folder / "live_limits.log").open("ab") as log:
        process = place.start(
            fb_command(),
            "consume",
            *words,
            "--broker",
            url,
            "--store",
            url,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        end(process)


FIGURES = (
    Figure("median", "half within", "ms", best=min),
    Figure("longest", "slowest", "ms", {OURS: Target(high=2000)}, min),
)

BENCHMARKS = [
    benchmark
    for kind in ("redis", "sqlite")
    for benchmark in (
        Benchmark(
            f"limit.{kind}",
            f"a live `fb consume`, its rate changed between {SLOW} and {FAST} a second {TIMES}"
            " times: from before it is asked for until the first start at the new rate (up), or"
            " the last at the old one (down).",
            {OURS: partial(limited, kind=kind)},
            FIGURES,
            rounds=1,
        ),
        Benchmark(
            f"cancel.{kind}",
            f"{TIMES} running calls of a live `fb consume`: from before it is asked for until the"
            " result says that it was cancelled.",
            {OURS: partial(cancelled, kind=kind)},
            FIGURES,
            rounds=1,
        ),
    )
]
