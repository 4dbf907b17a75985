"""kill -9 of consumers, children and parents: what was in flight is back within three heartbeats,
and nothing else runs twice.

Kills at random, and the count of what they cost: `test_chaos.py`."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fbcli.chaos.processes import descendants, kill_child
from tests.chaos.fleet import Fleet
from tests.servers import wait_until

HEARTBEAT = 1.0


@pytest.fixture
def make_fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Fleet]]:
    fleets: list[Fleet] = []

    def make(kind: str) -> Fleet:
        broker = (
            f"sqlite:///{tmp_path}/queue.db"
            if kind == "sqlite"
            else request.getfixturevalue("redis_url")
        )
        fleets.append(Fleet(tmp_path, broker))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.end()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_what_was_in_flight_is_back_within_three_heartbeats(
    make_fleet: Callable[[str], Fleet], kind: str
) -> None:
    fleet = make_fleet(kind)
    options = ("--concurrency", "8", "--heartbeat", str(HEARTBEAT))
    victim = fleet.consume("work", *options)
    fleet.push("work", range(8), seconds=60)
    wait_until(lambda: len(fleet.calls()) == 8, "all to run")
    fleet.consume("work", *options)
    wait_until(lambda: _consumers(fleet) == 2, "the survivor to be there")
    killed = time.time()
    kill_child(victim)
    wait_until(lambda: all(len(done) == 2 for done in fleet.calls().values()), "all to run again")
    late = max(done[1].begun for done in fleet.calls().values()) - killed
    assert late < 3 * HEARTBEAT


def _consumers(fleet: Fleet) -> int:
    (line,) = [json.loads(line) for line in fleet.fb("queues", "--json").splitlines()]
    return int(line["consumers"])


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_long_task_under_a_live_owner_runs_once(
    make_fleet: Callable[[str], Fleet], kind: str
) -> None:
    fleet = make_fleet(kind)
    for _ in range(3):
        fleet.consume("work", "--heartbeat", "0.3", "--concurrency", "2")
    fleet.push("work", range(4), seconds=2.0)
    fleet.wait_for(4)
    assert all(len(done) == 1 for done in fleet.calls().values()), "2 s is more than six heartbeats"


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_child_that_dies_is_replaced_and_its_tasks_come_back(
    make_fleet: Callable[[str], Fleet], kind: str
) -> None:
    fleet = make_fleet(kind)
    fleet.push("work", range(300))
    parent = fleet.consume("work", "--processes", "2", "--concurrency", "2", "--heartbeat", "0.5")
    fleet.wait_for(20)
    victim = descendants(parent.pid)[0]
    os.kill(victim, signal.SIGKILL)
    fleet.wait_for(300)
    assert "was killed by SIGKILL" in fleet.log_text()
    assert len(descendants(parent.pid)) == 2
    parent.terminate()
    assert parent.wait(30) == 0


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_children_stop_in_order_when_their_parent_is_killed(
    make_fleet: Callable[[str], Fleet], kind: str
) -> None:
    fleet = make_fleet(kind)
    fleet.push("work", range(2000))
    parent = fleet.consume("work", "--processes", "2", "--concurrency", "2")
    fleet.wait_for(10)
    children = descendants(parent.pid)
    parent.kill()
    parent.wait()
    wait_until(
        lambda: not any(Path(f"/proc/{child}").exists() for child in children), "the orphans to end"
    )
    calls = fleet.calls()
    assert all(call.ended for done in calls.values() for call in done), "they drained"
    size = fleet.size()
    assert size["in_flight"] == 0
    assert size["ready"] == 2000 - len(calls)
