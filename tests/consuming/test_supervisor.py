"""Child processes kept alive: started, watched, started again, told to stop, counted together."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbcli.consuming.supervisor import GRACE, TRIES, Supervisor
from fbcli.errors import ExitCode
from fbcli.processes.restarts import STEADY
from tests.engine.factories import Clock
from tests.servers import wait_until

CHILD = """
import os, signal, socket, sys, time
sys.path[:0] = {path!r}
from fbcli.consuming import wire
from fbcli.consuming.wire import ProcessReport
from fbcli.engine.tally import Snapshot
from fbcli.processes.channel import Channel
from fbcli.stores.base import Counts
import msgspec

channel = Channel(socket.socket(fileno=os.dup(0)))
spec = channel.receive(msgspec.json.decode)
if spec.get("dies"):
    sys.exit(spec["dies"])
count = spec.get("succeeded", 1)
snapshot = Snapshot("q", "m:f", Counts(succeeded=count), in_flight=2, running=1)
channel.send(ProcessReport(snapshots=[snapshot]))
channel.send(ProcessReport(said={{"event": {{"pid": os.getpid()}}}}))
if "failure" in spec:
    channel.send(ProcessReport(failure=spec["failure"]))
    sys.exit(spec["code"])
if spec.get("recycle"):
    channel.send(ProcessReport(recycle=True))
if "over" in spec:
    channel.send(ProcessReport(over=spec["over"]))
    sys.exit(spec["over"])
while (said := channel.receive(wire.instruction)) is not None:
    channel.send(ProcessReport(said={{"told": msgspec.to_builtins(said)}}))
    if said.stop and not spec.get("deaf"):
        break
if spec.get("deaf"):
    time.sleep(600)
channel.send(ProcessReport(over=0))
"""


class Stage:
    """A supervisor by a clock that the test turns, and what its children have said."""

    def __init__(self, *specs: dict[str, Any], endless: bool = True, drain: float = 5.0) -> None:
        self.clock = Clock()
        self.said: list[dict[str, Any]] = []
        code = CHILD.format(path=[entry for entry in sys.path if entry])
        self.supervisor = Supervisor(
            [sys.executable, "-c", code],
            specs,
            folder=str(Path.cwd()),
            drain=drain,
            endless=endless,
            on_message=self.said.append,
            clock=self.clock,
        )
        self.supervisor.start()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Tick until it holds."""

        def ticked() -> bool:
            self.supervisor.tick()
            return condition()

        wait_until(ticked, what)

    def run(self, count: int) -> set[int]:
        """Tick until so many children have told of themselves; return their process ids."""
        self.until(
            lambda: sum(map(bool, self.supervisor.snapshots().values())) >= count, "all to speak"
        )
        return set(self.supervisor.pids())

    def events(self) -> int:
        return sum("event" in each for each in self.said)

    def told(self) -> list[dict[str, Any]]:
        return [each["told"] for each in self.said if "told" in each]


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def make(*specs: dict[str, Any], **how: Any) -> Stage:
        stages.append(Stage(*specs, **how))
        return stages[-1]

    yield make
    for each in stages:
        for child in each.supervisor._children:
            if child is not None:
                child.process.kill()
                child.process.wait()
                child.channel.close()


def test_children_run_and_what_they_say_is_passed_on(stage: Callable[..., Stage]) -> None:
    on = stage({"succeeded": 3}, {"succeeded": 4})
    pids = on.run(2)
    assert len(pids) == 2
    on.until(lambda: on.events() == 2, "their events")
    assert {each["event"]["pid"] for each in on.said} == pids
    totals = [snapshot.counts.succeeded for (snapshot,) in on.supervisor.snapshots().values()]
    assert sorted(totals) == [3, 4]
    assert not on.supervisor.over()


def test_all_stop_when_told_to(stage: Callable[..., Stage]) -> None:
    on = stage({}, {})
    on.run(2)
    on.supervisor.stop(2.5)
    on.until(on.supervisor.over, "all to end")
    assert on.told() == [{"stop": True, "drain": 2.5}] * 2
    assert on.supervisor.failure is None


def test_one_that_is_killed_is_followed_by_another_later_and_later(
    stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture
) -> None:
    on = stage({})
    (first,) = on.run(1)
    waits = []
    for _ in range(3):
        os.kill(on.supervisor.pids()[0], signal.SIGKILL)
        with caplog.at_level(logging.ERROR):
            on.until(lambda: not on.supervisor.pids(), "it to be noticed")
        start_at = on.supervisor._start_at[0]
        assert start_at is not None
        waits.append(start_at - on.clock.at)
        on.supervisor.tick()
        assert not on.supervisor.pids(), "not yet"
        on.clock.at = start_at
        on.until(lambda: bool(on.supervisor.pids()), "another one")
    assert first not in on.supervisor.pids()
    assert waits == sorted(waits)
    assert waits[-1] > 1.5 * waits[0]
    assert "killed by SIGKILL; another one starts in" in caplog.text
    on.clock.at += STEADY + 1
    os.kill(on.supervisor.pids()[0], signal.SIGKILL)
    on.until(lambda: not on.supervisor.pids(), "it to be noticed")
    start_at = on.supervisor._start_at[0]
    assert start_at is not None
    assert start_at - on.clock.at < waits[-1], "one that has lived long was well"


def test_totals_do_not_go_down_with_a_child(stage: Callable[..., Stage]) -> None:
    on = stage({"succeeded": 5})
    (pid,) = on.run(1)
    os.kill(pid, signal.SIGKILL)
    on.until(lambda: not on.supervisor.pids(), "it to be noticed")
    on.clock.at += 60
    on.until(lambda: sum(map(bool, on.supervisor.snapshots().values())) == 2, "the next to speak")
    snapshots = [snapshot for (snapshot,) in on.supervisor.snapshots().values()]
    assert sum(snapshot.counts.succeeded for snapshot in snapshots) == 10
    assert sorted((snapshot.state, snapshot.running) for snapshot in snapshots) == [
        ("running", 1),
        ("stopped", 0),
    ]


def test_one_whose_work_is_done_is_replaced_only_where_there_is_always_work(
    stage: Callable[..., Stage],
) -> None:
    burst = stage({"over": 0}, endless=False)
    burst.until(burst.supervisor.over, "it to be over")
    assert burst.events() == 1
    endless = stage({"over": 0}, endless=True)
    endless.until(lambda: endless.events() >= 3, "one after the other")


def test_one_that_wants_to_be_replaced_is(stage: Callable[..., Stage]) -> None:
    on = stage({"over": 0, "recycle": True}, endless=False)
    on.until(lambda: on.events() >= 2, "the next one")


def test_a_failure_that_another_start_would_not_change_ends_all(
    stage: Callable[..., Stage],
) -> None:
    on = stage({}, {"failure": "No such function.", "code": int(ExitCode.NOT_FOUND)})
    on.until(on.supervisor.over, "all to end")
    assert on.supervisor.failure is not None
    reason, code = on.supervisor.failure
    assert reason.endswith("No such function.")
    assert code == ExitCode.NOT_FOUND
    assert {"stop": True, "drain": 5.0} in on.told()


def test_a_deaf_one_is_replaced(stage: Callable[..., Stage]) -> None:
    on = stage({"failure": "It is deaf.", "code": int(ExitCode.UNREACHABLE)})
    on.until(lambda: on.supervisor._start_at[0] is not None and on.events() == 1, "its end")
    on.clock.at += 60
    on.until(lambda: on.events() == 2, "the next one")
    assert on.supervisor.failure is None


def test_children_that_never_start_are_given_up(stage: Callable[..., Stage]) -> None:
    on = stage({"dies": 1})

    def over() -> bool:
        if not on.supervisor.pids():  # only the waits are cut short, or one would have lived long
            on.clock.at += 60
        return on.supervisor.over()

    on.until(over, "it to be given up")
    assert on.supervisor.failure is not None
    assert f"{TRIES} in a row have failed" in on.supervisor.failure[0]


def test_one_that_does_not_stop_in_time_is_killed(
    stage: Callable[..., Stage], caplog: pytest.LogCaptureFixture
) -> None:
    on = stage({"deaf": True})
    on.run(1)
    on.supervisor.stop(1.0)
    on.supervisor.tick()
    on.clock.at += 1.0 + GRACE - 0.1
    on.supervisor.tick()
    assert on.supervisor.pids()
    on.clock.at += 0.2
    with caplog.at_level(logging.ERROR):
        on.until(on.supervisor.over, "it to be killed")
    assert "did not end in time" in caplog.text


def test_all_are_replaced_when_asked(stage: Callable[..., Stage]) -> None:
    on = stage({}, {})
    before = on.run(2)
    on.supervisor.restart()
    on.until(
        lambda: len(on.supervisor.pids()) == 2 and before.isdisjoint(on.supervisor.pids()),
        "new ones",
    )
    assert not on.supervisor.over()


def test_the_quiet_stay_so_also_when_they_are_replaced(stage: Callable[..., Stage]) -> None:
    on = stage({})
    (pid,) = on.run(1)
    on.supervisor.quiet()
    on.until(lambda: on.told() == [{"quiet": True}], "it to be told")
    os.kill(pid, signal.SIGKILL)
    on.until(lambda: not on.supervisor.pids(), "it to be noticed")
    on.clock.at += 60
    on.until(lambda: on.told() == [{"quiet": True}] * 2, "the next one to be told")


def test_they_describe_themselves(stage: Callable[..., Stage]) -> None:
    on = stage({})
    (pid,) = on.run(1)
    (line,) = on.supervisor.describe()
    assert str(pid) in line
    on.until(lambda: on.told() == [{"dump": True}], "it to be told")
    assert json.dumps(on.told())
