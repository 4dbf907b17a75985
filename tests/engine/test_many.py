"""Many functions consumed in one process: what they share, and that none of them notices it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fbcli.address.address import Address
from fbcli.booster import Booster
from fbcli.engine.consumer import Consumer
from fbcli.settings import load
from tests.servers import wait_until

COUNT = 20
LONG = 7
"""The argument of a call that does not end by itself."""


def threads() -> Counter[str]:
    """Count this process's threads by the kind of their name."""
    return Counter(
        "-".join(thread.name.split("-")[:2])
        for thread in threading.enumerate()
        if thread.name.startswith("fb-")
    )


@pytest.fixture(params=["memory", "sqlite", "redis", "redis+list"])
def boosters(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Booster[Any, Any]]]:
    """Functions as separate modules have them: each with settings of its own, that say the same."""
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/queue.db"}.get(request.param)
    url = url or str(request.getfixturevalue("redis_url"))
    if request.param == "redis+list":
        url = url.replace("redis://", "redis+list://")

    def made(number: int) -> Booster[Any, Any]:
        def work(x: int) -> None:
            seen.append((number, x))
            if x == LONG:
                gate.wait(60)

        address = Address(f"many:work{number}", "many", f"work{number}")
        settings = load(tmp_path, {}, broker=url)
        return Booster(work, address=address, settings=settings, heartbeat=1.0, watchdog=60.0)

    seen: list[tuple[int, int]] = []
    gate = threading.Event()
    made_boosters = [made(number) for number in range(COUNT)]
    for booster in made_boosters:
        booster.__dict__.update(seen=seen, gate=gate)
    yield made_boosters
    for booster in made_boosters:
        booster.queue.broker.close()
        booster.settings.open_store().close()


def test_what_is_done_beside_the_work_is_done_once(boosters: list[Booster[Any, Any]]) -> None:
    before = threads()
    consumers = [booster.consume() for booster in boosters]
    wait_until(lambda: all(each.state == "running" for each in consumers), "all to consume")
    running = threads() - before
    assert running["fb-many.work0"] == 1
    del running["fb-mover"]  # where delays are emulated: one for each `Broker` object
    services = sum(count for name, count in running.items() if not name.startswith("fb-many"))
    assert services <= 5, running
    for booster in boosters:
        booster.push_many({"x": number} for number in range(3))
    seen = boosters[0].__dict__["seen"]
    wait_until(lambda: len(seen) == 3 * COUNT, "all to run")
    assert sorted(set(seen)) == [(n, x) for n in range(COUNT) for x in range(3)]
    store = boosters[0].settings.open_store()
    wait_until(
        lambda: sum(record.counts.succeeded for record in store.consumers()) == 3 * COUNT,
        "each to have told the store of its own",
    )
    assert len(store.consumers()) == COUNT
    for consumer in consumers[1:]:
        consumer.stop(1.0)
    assert all(consumer.join(20) for consumer in consumers[1:])
    wait_until(lambda: len(store.consumers()) == 1, "the others to have taken leave")
    boosters[0].push(LONG)
    wait_until(lambda: seen[-1] == (0, LONG), "the one that is left to go on")
    assert_keeps_its_lease(boosters[0], consumers[0])
    boosters[0].__dict__["gate"].set()
    consumers[0].stop(10.0)
    assert consumers[0].join(20)
    wait_until(lambda: not threads() - before, "all threads to have ended")


def assert_keeps_its_lease(booster: Booster[Any, Any], consumer: Consumer) -> None:
    """It keeps what it holds for a lease (two seconds) and more, and is known, though those it
    began with have gone."""
    queue = booster.queue
    other = queue.broker.open(queue.name, consumer_id="other", prefetch=1, lease=60.0)
    until = time.monotonic() + 3.0
    taken = 0

    def over() -> bool:
        nonlocal taken
        taken += other.keep_alive()
        return time.monotonic() > until

    wait_until(over, "a lease and a half to pass")
    other.close()
    assert taken == 0
    store = booster.settings.open_store()
    assert [record.consumer_id for record in store.consumers()] == [consumer.consumer_id]
