"""How an SQLite file gives its space back after a backlog, and how long a push takes meanwhile."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, Target
from benchmarks.messages import fill
from benchmarks.place import Place, end
from fbcli.broker import Outgoing, Settlement
from fbcli.broker_registry import open_broker

COUNT = 200_000
SECONDS = 4.0
BEAT = 0.2


def pushing(url: str) -> None:
    """Push, and tell after each push how long it took, until somebody ends it."""
    broker = open_broker(url)
    broker.publish("pushed", [Outgoing(b"{}")])
    while True:
        begun = time.perf_counter()
        broker.publish("pushed", [Outgoing(b"{}")])
        print((time.perf_counter() - begun) * 1000, flush=True)
        time.sleep(0.001)


def given_back(place: Place, kept: float | None) -> Mapping[str, float]:
    """Drain a backlog but for a part, then push while the file shrinks; `kept` None: push only."""
    url = place.sqlite()
    path = Path(url.removeprefix("sqlite:///"))
    count = place.deep or place.scaled(COUNT)
    broker = open_broker(url)
    if kept is not None:
        fill(url, "drained", count)
    inbox = broker.open("drained", consumer_id="space", prefetch=500, lease=600)
    left = 0 if kept is None else int(count * (1 - kept))
    while left > 0 and (found := inbox.fetch(min(left, 500), 0)):
        inbox.settle([Settlement(each) for each in found])
        left -= len(found)
    before = path.stat().st_size
    log = place.folder / "pushes"
    with log.open("wb") as out:
        program = f"from benchmarks.space import pushing; pushing({url!r})"
        pusher = place.start(sys.executable, "-c", program, stdout=out)
        while not log.stat().st_size:
            time.sleep(0.01)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            inbox.keep_alive()
            time.sleep(BEAT)
        end(pusher)
    pushes = sorted(map(float, log.read_text().splitlines()[:-1]))
    inbox.close()
    after = path.stat().st_size
    broker.close()
    return {
        "longest": pushes[-1],
        "p99": pushes[len(pushes) * 99 // 100],
        "median": pushes[len(pushes) // 2],
        "before": before / 1e6,
        "after": after / 1e6,
    }


BENCHMARKS = [
    Benchmark(
        "space.sqlite",
        f"an SQLite file in which {COUNT:,} messages (or as --deep says) have waited; one process"
        f" pushes (synchronous=FULL) while another, whose heart beats every {BEAT:g} s, has nothing"
        " to do. floor: the same where no backlog was.",
        {
            FLOOR: partial(given_back, kept=None),
            OURS: partial(given_back, kept=0.0),
            "fb, half still waiting": partial(given_back, kept=0.5),
        },
        (
            Figure("longest", "longest push", "ms", {OURS: Target(high=50)}, min),
            Figure("p99", "99 of 100 pushes", "ms", best=min),
            Figure("median", "median push", "ms", best=min),
            Figure("before", "the file before", "MB", best=min),
            Figure("after", "and after", "MB", {OURS: Target(high=1)}, min),
        ),
    )
]
