"""Measuring processes that empty a queue filled before: the consumer as users have it, and an inbox
without any engine."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from benchmarks.child import Go
from benchmarks.messages import queue_of
from benchmarks.place import Place
from benchmarks.tasks import trivial
from fbcli.booster import find_booster
from fbcli.broker import Settlement
from fbcli.broker_registry import open_broker
from fbcli.engine.consumer import Consumer
from fbcli.settings import load

TRIVIAL = "benchmarks.tasks:trivial"
ATRIVIAL = "benchmarks.tasks:atrivial"


decode_message = msgspec.json.Decoder(dict[str, Any]).decode
"""The fastest there is, for floors too: what is measured is not the decoder."""


def cpu() -> float:
    """Seconds that this process has kept a core busy."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def spent(begun: float, cpu_begun: float, count: int) -> dict[str, float]:
    """What a measuring process returns."""
    return {"begun": begun, "ended": monotonic(), "cpu": cpu() - cpu_begun, "count": count}


def consumer(go: Go, url: str, address: str, options: Mapping[str, Any]) -> dict[str, float]:
    """Consume until the queue is empty, all defaults but `options`: from before it opens until all
    is closed."""
    settings = load(Path.cwd(), env=os.environ, broker=url, store=url)
    ours = Consumer(find_booster(address, settings, options).work(), burst=True)
    go()
    begun, cpu_begun = monotonic(), cpu()
    ours.serve()
    if ours.failure is not None:
        raise ours.failure
    return spent(begun, cpu_begun, ours.tally.counts.succeeded)


def inbox(go: Go, url: str, queue: str, batch: int) -> dict[str, float]:
    """The broker alone, without engine: fetch, decode, call, acknowledge. The engine is the
    rest."""
    broker = open_broker(url)
    mouth = broker.open(queue, consumer_id="bench", prefetch=batch, lease=10.0)
    go()
    begun, cpu_begun, count = monotonic(), cpu(), 0
    while deliveries := mouth.fetch(batch, 0.0):
        for delivery in deliveries:
            arguments = decode_message(delivery.body)
            del arguments["extra"]
            trivial(**arguments)
        mouth.settle([Settlement(delivery) for delivery in deliveries])
        count += len(deliveries)
    measured = spent(begun, cpu_begun, count)
    mouth.close()
    broker.close()
    return measured


def rate(place: Place, target: str, count: int, *each: Mapping[str, Any]) -> dict[str, float]:
    """Run `target` in one process for each set of arguments; return tasks a second, and
    microseconds of processor a task.

    Raises when not exactly `count` tasks were carried out.
    """
    measured = place.run_together(target, each)
    done = sum(one["count"] for one in measured)
    if done != count:
        raise RuntimeError(f"{target} has carried out {done:.0f} of {count} tasks")
    seconds = max(one["ended"] for one in measured) - min(one["begun"] for one in measured)
    return {"rate": count / seconds, "cpu": sum(one["cpu"] for one in measured) / count * 1e6}


def by_consumer(
    place: Place, url: str, count: int, address: str = TRIVIAL, processes: int = 1, **options: Any
) -> dict[str, float]:
    """As `rate`, of our consumer."""
    arguments = {"url": url, "address": address, "options": options}
    return rate(place, "benchmarks.draining:consumer", count, *[arguments] * processes)


def by_command(place: Place, url: str, count: int) -> dict[str, float]:
    """Tasks a second of `fb consume --burst`, less what it takes on an empty queue (interpreter,
    imports, exit)."""
    words = ("consume", TRIVIAL, "--burst", "--broker", url, "--store", url)
    loaded = place.fb(*words).seconds
    broker = open_broker(url)
    left = broker.size(queue_of(TRIVIAL))
    broker.close()
    if left is None or left.ready or left.in_flight:
        raise RuntimeError(f"fb consume --burst left {left} of {count} messages")
    empty = place.fb(*words).seconds
    return {"rate": count / max(1e-9, loaded - empty), "start": empty}
