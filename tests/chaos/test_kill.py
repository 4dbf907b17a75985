"""kill -9, again and again: nothing is lost, what runs twice was in flight at a kill, and it is back within three heartbeats."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet, children_of, kill_tree
from tests.servers import wait_until

ROUNDS = 20
HEARTBEAT = 1.0
SETTLING = 1.0
"""Seconds that an outcome may take from the end of the call to the broker (on a busy machine): until then it is in flight."""


@pytest.fixture
def make_fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Fleet]]:
    fleets: list[Fleet] = []

    def make(kind: str) -> Fleet:
        broker = f"sqlite:///{tmp_path}/queue.db" if kind == "sqlite" else request.getfixturevalue("redis_url")
        fleets.append(Fleet(tmp_path, broker))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.end()


def at_work(fleet: Fleet, consumer: subprocess.Popen[bytes]) -> bool:
    """Whether a child of this consumer has begun a task."""
    children = set(children_of(consumer.pid))
    return any(run.pid in children for runs in fleet.runs().values() for run in runs)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("function", ["work", "awork"], ids=["threads", "asyncio"])
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_kill_9_of_whole_trees_loses_nothing(make_fleet: Callable[[str], Fleet], kind: str, function: str) -> None:
    fleet, chance = make_fleet(kind), random.Random(f"{kind}{function}")
    total = 1500
    fleet.push(function, range(total))
    options = ("--concurrency", "4", "--processes", "2", "--heartbeat", str(HEARTBEAT), "--log-level", "WARNING")
    fleet.consume(function, "--concurrency", "2", "--heartbeat", str(HEARTBEAT), "--log-level", "WARNING")
    kills: list[tuple[float, list[int]]] = []
    for _ in range(ROUNDS):
        if total - len(fleet.ended()) < 800:
            fleet.push(function, range(total, total + 800))
            total += 800
        victim = fleet.consume(function, *options)
        wait_until(lambda victim=victim: at_work(fleet, victim), "the new consumer to work")
        time.sleep(chance.uniform(0.0, 0.6))
        kills.append((time.time(), kill_tree(victim)))
    fleet.consume(function, *options)
    fleet.wait_for(total)
    runs = fleet.runs()
    assert fleet.ended() == set(range(total)), "none lost"
    repeated = {number: done for number, done in runs.items() if len(done) > 1}
    for number, done in repeated.items():
        for run in done[:-1]:
            killed = [at for at, pids in kills if run.pid in pids]
            assert killed, f"{number} ran again though its process {run.pid} was not killed"
            assert run.ended is None or run.ended > killed[0] - SETTLING, f"{number} had been done long before the kill"
    wait_until(lambda: sum(fleet.size().values()) == 0, "the queue to be empty")


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_what_was_in_flight_is_back_within_three_heartbeats(make_fleet: Callable[[str], Fleet], kind: str) -> None:
    fleet = make_fleet(kind)
    options = ("--concurrency", "8", "--heartbeat", str(HEARTBEAT))
    victim = fleet.consume("work", *options)
    fleet.push("work", range(8), seconds=60)
    wait_until(lambda: len(fleet.runs()) == 8, "all to run")
    fleet.consume("work", *options)
    wait_until(lambda: _consumers(fleet) == 2, "the survivor to be there")
    killed = time.time()
    kill_tree(victim)
    wait_until(lambda: all(len(done) == 2 for done in fleet.runs().values()), "all to run again")
    late = max(done[1].begun for done in fleet.runs().values()) - killed
    assert late < 3 * HEARTBEAT


def _consumers(fleet: Fleet) -> int:
    (line,) = [json.loads(line) for line in fleet.fb("queues", "--json").splitlines()]
    return int(line["consumers"])


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_long_task_under_a_live_owner_runs_once(make_fleet: Callable[[str], Fleet], kind: str) -> None:
    fleet = make_fleet(kind)
    for _ in range(3):
        fleet.consume("work", "--heartbeat", "0.3", "--concurrency", "2")
    fleet.push("work", range(4), seconds=2.0)
    fleet.wait_for(4)
    assert all(len(done) == 1 for done in fleet.runs().values()), "2 s is more than six heartbeats"


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_child_that_dies_is_replaced_and_its_tasks_come_back(make_fleet: Callable[[str], Fleet], kind: str) -> None:
    fleet = make_fleet(kind)
    fleet.push("work", range(300))
    parent = fleet.consume("work", "--processes", "2", "--concurrency", "2", "--heartbeat", "0.5")
    fleet.wait_for(20)
    victim = children_of(parent.pid)[0]
    os.kill(victim, signal.SIGKILL)
    fleet.wait_for(300)
    assert "was killed by SIGKILL" in fleet.log_text()
    assert len(children_of(parent.pid)) == 2
    parent.terminate()
    assert parent.wait(30) == 0


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_children_stop_in_order_when_their_parent_is_killed(make_fleet: Callable[[str], Fleet], kind: str) -> None:
    fleet = make_fleet(kind)
    fleet.push("work", range(2000))
    parent = fleet.consume("work", "--processes", "2", "--concurrency", "2")
    fleet.wait_for(10)
    children = children_of(parent.pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "the orphans to end")
    runs = fleet.runs()
    assert all(run.ended for done in runs.values() for run in done), "they drained"
    size = fleet.size()
    assert size["in_flight"] == 0
    assert size["ready"] == 2000 - len(runs)
