"""What each act on a queue costs while very many messages wait in it, beside one with 1,000."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import perf_counter

from benchmarks.child import Go
from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, at_most
from benchmarks.messages import body, fill
from benchmarks.place import Place
from fbcli.broker import Delivery, Outgoing, Settlement
from fbcli.broker_registry import open_broker

FEW = 1000
MANY = 300_000
"""What `--deep` replaces: 5,000,000 on SQLite and 10,000,000 on Redis are what it must stand."""

BATCH = 100
TIMES = 300
BATCHES = ("claim", "settle", "publish")
LOOKS = ("size", "peek", "keep_alive", "queues")

Act = Callable[[], object]


@contextmanager
def _opened(url: str, queue: str) -> Iterator[Mapping[str, Act]]:
    """Open a queue, and return what is done with it; in this order it stays as deep as it is."""
    broker = open_broker(url)
    inbox = broker.open(queue, consumer_id="depth", prefetch=BATCH, lease=60)
    again = [Outgoing(body({"x": number, "y": 2})) for number in range(BATCH)]
    found: list[Delivery] = []

    def claim() -> None:
        found[:] = inbox.fetch(BATCH, 0)
        assert len(found) == BATCH

    yield {
        "claim": claim,
        "settle": lambda: inbox.settle([Settlement(each) for each in found]),
        "publish": lambda: broker.publish(queue, again),
        "size": lambda: broker.size(queue),
        "peek": lambda: broker.peek(queue, 10),
        "keep_alive": inbox.keep_alive,
        "queues": broker.queues,
    }
    inbox.close()
    broker.close()


def acts(go: Go, few: str, many: str) -> dict[str, float]:
    """Return what each act takes on both, in microseconds: the fastest tenth of them, since what
    others on the machine do only adds. The two take turns."""
    took: dict[str, list[float]] = {}
    with _opened(few, "few") as on_few, _opened(many, "many") as on_many:
        go()
        for _ in range(TIMES):
            for which, todo in (("few", on_few), ("many", on_many)):
                for name, act in todo.items():
                    begun = perf_counter()
                    act()
                    took.setdefault(f"{which}.{name}", []).append(perf_counter() - begun)
    return {name: statistics.quantiles(each, n=10)[0] * 1e6 for name, each in took.items()}


class Queues:
    """Two queues of one broker, filled once for all rounds; on SQLite in a file each."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._few = self._many = ""
        self._measured: dict[str, float] = {}

    def few(self, place: Place) -> Mapping[str, float]:
        if not self._few:
            self._few = place.fresh(self._kind)
            self._many = self._few if self._kind == "redis" else place.fresh(self._kind)
            fill(self._few, "few", FEW)
            fill(self._many, "many", place.deep or place.scaled(MANY))
        self._measured = place.run("benchmarks.depth:acts", few=self._few, many=self._many)
        return self._of("few")

    def many(self, place: Place) -> Mapping[str, float]:
        return self._of("many")

    def _of(self, which: str) -> Mapping[str, float]:
        return {
            name.removeprefix(f"{which}."): took
            for name, took in self._measured.items()
            if name.startswith(which)
        }


def _benchmark(kind: str) -> Benchmark:
    queues = Queues(kind)
    figure = partial(Figure, unit="µs", targets={OURS: at_most(1.2)}, best=min)
    return Benchmark(
        f"depth.{kind}",
        f"acts on a queue in which {MANY:,} messages (or as --deep says) wait, against one of"
        f" {FEW:,}; batches of {BATCH}, the fastest tenth of {TIMES}.",
        {FLOOR: queues.few, OURS: queues.many},
        (
            *(figure(act, f"{act} of {BATCH}") for act in BATCHES),
            *(figure(act, act) for act in LOOKS),
        ),
        rounds=3,
    )


BENCHMARKS = [_benchmark("sqlite"), _benchmark("redis")]
