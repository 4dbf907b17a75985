"""One rate for a fleet: how exact `--qps-scope cluster` is over four processes, also while one
joins and one is killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from functools import partial

from benchmarks import marks
from benchmarks.figures import OURS, Benchmark, Figure, Target
from benchmarks.messages import fill, queue_of
from benchmarks.place import Place, end, fb_command

ADDRESS = "benchmarks.tasks:mark"
QPS = 200
SECONDS = 20.0


def paced(place: Place, kind: str, *, turmoil: bool) -> Mapping[str, float]:
    """Return the rate over all, and the busiest second in units of the rate. `turmoil`: a fifth
    process joins after a third of the time, and one is killed (kill -9) after another third."""
    url, seconds = place.fresh(kind), place.scaled(int(SECONDS), 5)
    fill(url, queue_of(ADDRESS), int(QPS * (seconds + 10)), {"path": str(place.folder / "marks")})
    noted = marks.fresh(place.folder / "marks")
    fleet = [_consumer(place, url) for _ in range(4)]
    try:
        begun = marks.wait_for(noted, QPS)[-1]
        while (gone := time.time() - begun) < seconds:
            if turmoil and len(fleet) == 4 and gone > seconds / 3:
                fleet.append(_consumer(place, url))
            if turmoil and fleet[0].poll() is None and gone > seconds * 2 / 3:
                fleet[0].kill()
            time.sleep(0.05)
    finally:
        for process in fleet:
            end(process)
    times = [at for at in marks.times(noted) if begun <= at < begun + seconds]
    return {"rate": len(times) / seconds, "busiest": _busiest(times) / QPS}


def _consumer(place: Place, url: str) -> subprocess.Popen[bytes]:
    words = (
        "consume",
        ADDRESS,
        "--qps",
        QPS,
        "--qps-scope",
        "cluster",
        "--broker",
        url,
        "--store",
        url,
    )
    with (place.folder / "fleet.log").open("ab") as log:
        return place.start(
            fb_command(), *map(str, words), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def _busiest(times: list[float]) -> int:
    first = most = 0
    for last, at in enumerate(times):
        while at - times[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


BENCHMARKS = [
    Benchmark(
        f"fleet.{kind}",
        f"--qps {QPS} --qps-scope cluster in four processes of `fb consume` for {SECONDS:g} s;"
        " starts noted in the function. 'join and kill': a fifth joins, one is killed with"
        " kill -9.",
        {
            OURS: partial(paced, kind=kind, turmoil=False),
            "fb, join and kill": partial(paced, kind=kind, turmoil=True),
        },
        (
            Figure(
                "rate",
                "starts of the fleet",
                "/s",
                dict.fromkeys((OURS, "fb, join and kill"), Target(198, 202)),
            ),
            Figure(
                "busiest",
                "busiest second",
                "of the rate",
                dict.fromkeys((OURS, "fb, join and kill"), Target(high=1.05)),
                min,
            ),
        ),
        rounds=2,
    )
    for kind in ("redis", "sqlite")
]
