"""A delay survives kill -9 of everything: what was pushed for later runs, at its time or after it,
whoever has died meanwhile."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fbcli.address.address import Address
from fbcli.broker_registry import open_broker
from fbcli.chaos.processes import kill_child
from fbcli.emulation.mover import LEASE
from tests.chaos.fleet import Fleet, address
from tests.servers import wait_until
from tests.servers.redis import RedisServer

COUNT = 200
FIRST, LAST = 1.0, 4.0
"""Seconds from the push to when the first and the last are due."""

CLOCKS = 0.002
"""Seconds by which the clocks of a server and of its clients may differ on one host."""

LEAST_KILLS = 3

OPTIONS = ("--concurrency", "4", "--heartbeat", "0.5")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that keeps what it has confirmed, also when it is killed."""
    with RedisServer(appendonly=True) as server:
        yield server


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[Callable[[str], Fleet]]:
    fleets: list[Fleet] = []

    def make(broker: str) -> Fleet:
        fleets.append(Fleet(tmp_path, broker))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.end()


def push_delayed(fleet: Fleet) -> dict[int, float]:
    """Push all, in any order; return when each is due (Unix seconds)."""
    begin = time.time() + FIRST
    dues = {number: begin + (LAST - FIRST) * number / COUNT for number in range(COUNT)}
    numbers = random.Random(7).sample(range(COUNT), COUNT)
    lines = (
        json.dumps({"number": number, "seconds": 0.01, "extra": {"delay_until": dues[number]}})
        for number in numbers
    )
    fleet.fb("push", address("work"), "-", stdin="\n".join(lines))
    return dues


def kill_again_and_again(
    fleet: Fleet,
    server: RedisServer | None,
    until: float,
    look: Callable[[], object] = lambda: None,
) -> None:
    """Start a consumer and kill it, now and then together with the server, a few times and until a
    moment (Unix seconds)."""
    chance, kills = random.Random(COUNT), 0
    while kills < LEAST_KILLS or time.time() < until:
        victim = fleet.consume("work", *OPTIONS)
        wait_until(
            lambda kills=kills: fleet.log_text().count("consuming") > kills,
            "the consumer to be there",
        )
        time.sleep(chance.uniform(0.0, 0.3))
        if server is not None and kills % 2 == 0:
            server.kill()
            kill_child(victim)
            server.start()
        else:
            kill_child(victim)
        kills += 1
        look()


def check_all_in_time(fleet: Fleet, dues: dict[int, float]) -> None:
    calls = fleet.calls()
    assert set(calls) == set(dues), "none lost"
    early = {
        number: call.begun - dues[number]
        for number in dues
        for call in calls[number]
        if call.begun < dues[number] - CLOCKS
    }
    assert not early, f"before their time, by seconds: {early}"


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_each_runs_and_none_before_its_time(
    make_fleet: Callable[[str], Fleet], kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue("server") if kind == "redis" else None
    fleet = make_fleet(server.url if server else f"sqlite:///{tmp_path}/queue.db")
    dues = push_delayed(fleet)
    kill_again_and_again(fleet, server, max(dues.values()))
    fleet.consume("work", *OPTIONS)
    fleet.wait_for(COUNT)
    check_all_in_time(fleet, dues)
    wait_until(lambda: sum(fleet.size().values()) == 0, "nothing to be left")


def test_what_is_parked_in_the_store_is_moved_in_its_time(
    make_fleet: Callable[[str], Fleet], server: RedisServer
) -> None:
    """Where the broker cannot delay. The queue is paused while consumers are killed: this broker
    cannot acknowledge, so what they had taken would be lost; they go on to move what is due."""
    fleet = make_fleet(server.url.replace("redis://", "redis+list://"))
    fleet.fb("pause", address("work"))
    dues = push_delayed(fleet)

    def moved() -> set[int]:
        with closing(open_broker(fleet.broker)) as broker:
            bodies = broker.peek(Address.parse(address("work"), fleet.folder).queue, 10 * COUNT)
        now, numbers = time.time(), {int(json.loads(body)["number"]) for body in bodies}
        assert not [number for number in numbers if dues[number] > now + CLOCKS], "before its time"
        return numbers

    kill_again_and_again(fleet, server, max(dues.values()), look=moved)
    fleet.consume("work", *OPTIONS)
    wait_until(
        lambda: moved() == set(dues),
        "all to be moved; what a mover died with, when its lease has run out",
        timeout=LEASE + 30,
    )
    assert not fleet.calls(), "paused"
    fleet.fb("resume", address("work"))
    fleet.wait_for(COUNT)
    check_all_in_time(fleet, dues)
    wait_until(lambda: sum(fleet.size().values()) == 0, "nothing to be left")
