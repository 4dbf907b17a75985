"""What pushing has in common, whatever the broker: the measuring processes of our side."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.child import Go
from benchmarks.draining import TRIVIAL, cpu, spent
from benchmarks.figures import Figure
from benchmarks.messages import queue_of
from benchmarks.place import Place
from fbcli.booster import find_booster
from fbcli.broker_registry import open_broker
from fbcli.settings import load

QUEUE = queue_of(TRIVIAL)
AT_ONCE = 500
"""Messages a floor sends in one round trip or transaction, as many as ours."""

CPU = Figure("cpu", "processor time per message", "µs", best=min)


def call(number: int) -> dict[str, Any]:
    return {
        "x": number,
        "y": 2,
        "extra": {"task_id": f"{number:036d}", "publish_time": time.time()},
    }


def push(go: Go, url: str, count: int) -> dict[str, float]:
    """Ours, one by one, each confirmed before the next."""
    booster = _booster(url)
    booster.push(0)
    go()
    begun, cpu_begun = monotonic(), cpu()
    for number in range(count):
        booster.push(number, y=2)
    return spent(begun, cpu_begun, count)


def push_many(go: Go, url: str, count: int) -> dict[str, float]:
    """Ours, in bulk."""
    booster = _booster(url)
    booster.push(0)
    go()
    begun, cpu_begun = monotonic(), cpu()
    booster.push_many({"x": number, "y": 2} for number in range(count))
    return spent(begun, cpu_begun, count)


def _booster(url: str) -> Any:
    return find_booster(TRIVIAL, load(Path.cwd(), env=os.environ, broker=url, store=url))


def measured(place: Place, kind: str, target: str, full: int) -> Mapping[str, float]:
    """Run a pushing process on an empty broker of a kind; return messages a second."""
    count = place.scaled(full)
    one = place.run(target, url=place.fresh(kind), count=count)
    return {"rate": count / (one["ended"] - one["begun"]), "cpu": one["cpu"] / count * 1e6}


def by_command(place: Place, kind: str, full: int) -> Mapping[str, float]:
    """Messages a second of `fb push ADDRESS -`, less what the same command takes for a single
    one."""
    count, url = place.scaled(full), place.fresh(kind)
    words = ("push", TRIVIAL, "-", "--broker", url, "--store", url)
    one = place.fb(*words, stdin=b'{"x": 0}\n').seconds
    many = place.fb(
        *words, stdin=b"".join(b'{"x": %d, "y": 2}\n' % number for number in range(count))
    ).seconds
    broker = open_broker(url)
    size = broker.size(QUEUE)
    broker.close()
    if size is None or size.ready != count + 1:
        raise RuntimeError(f"fb push - has left {size} instead of {count + 1} messages")
    return {"rate": count / max(1e-9, many - one), "start": one}
