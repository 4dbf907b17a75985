"""Observers of settled tasks: each hears of all in order, none holds up or breaks the engine or
another one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fbcli.arguments.signature import Signature
from fbcli.broker import Outgoing
from fbcli.broker_registry import open_broker
from fbcli.controls.base import OPEN
from fbcli.engine import listeners as module
from fbcli.engine.consumer import Consumer
from fbcli.engine.listeners import CatchUp, Listener
from fbcli.engine.work import Work
from fbcli.stores import open_store
from fbcli.task import FAILED, RELEASED, SUCCEEDED, Task
from tests.engine.factories import Clock, ids, options, plan, tasks
from tests.servers import wait_until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What slow listeners wait for; open when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


class Heard:
    """What a listener has heard of."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.times: list[float] = []

    def __call__(self, tasks: Sequence[Task], at: float) -> None:
        self.ids += ids(tasks)
        self.times.append(at)


def batch(*task_ids: str) -> list[Task]:
    return tasks(plan(), *task_ids)


def ended(listener: Listener) -> None:
    wait_until(listener.end, "it to have heard of all")


def test_all_is_heard_of_in_order_and_in_another_thread() -> None:
    heard, threads = Heard(), set()

    def hear(tasks: Sequence[Task], at: float) -> None:
        threads.add(threading.current_thread().name)
        heard(tasks, at)

    listener = Listener("events", hear)
    for number in range(100):
        listener.tell(batch(f"{number}a", f"{number}b"), float(number))
    ended(listener)
    assert heard.ids == [f"{number}{x}" for number in range(100) for x in "ab"]
    assert heard.times == [float(number) for number in range(100)]
    assert threads == {"fb-events"}
    assert listener.end()


def test_one_that_hears_of_nothing_has_no_thread() -> None:
    listener = Listener("idle", Heard())
    assert listener.end()
    assert not any(thread.name == "fb-idle" for thread in threading.enumerate())


def test_one_that_raises_is_told_once_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()

    def hear(tasks: Sequence[Task], at: float) -> None:
        heard(tasks, at)
        raise ZeroDivisionError("its own fault")

    listener = Listener("history", hear)
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            listener.tell(batch(str(number)), 0.0)
        ended(listener)
    assert len(heard.ids) == 10
    (record,) = caplog.records
    assert "history has failed" in record.message
    assert record.exc_info


def test_what_one_is_too_slow_for_is_left_out(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_UNHEARD", 100)
    heard = Heard()

    def hear(tasks: Sequence[Task], at: float) -> None:
        gate.wait(60)
        heard(tasks, at)

    listener = Listener("metrics", hear)
    with caplog.at_level(logging.WARNING):
        for number in range(300):
            listener.tell(batch(str(number)), 0.0)
    assert listener.left_out == 200
    assert not listener.behind, "it holds up nobody"
    gate.set()
    ended(listener)
    assert heard.ids == [str(number) for number in range(100)]
    assert len(caplog.records) == 1


def test_one_that_must_hear_of_all_holds_back_work_instead(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_UNHEARD", 100)
    heard = Heard()

    def hear(tasks: Sequence[Task], at: float) -> None:
        gate.wait(60)
        heard(tasks, at)

    listener = Listener("events", hear, all=True)
    catch_up = CatchUp(listener)
    assert catch_up.fetchable(0.0) == OPEN
    assert catch_up.shut(0.0) is None
    for number in range(300):
        listener.tell(batch(str(number)), 0.0)
    assert catch_up.fetchable(5.0) == (0, 5.0 + CatchUp.LOOK)
    shut = catch_up.shut(0.0)
    assert shut is not None
    assert shut.state == "waiting"
    gate.set()
    wait_until(lambda: catch_up.fetchable(0.0) == OPEN, "it to catch up")
    ended(listener)
    assert len(heard.ids) == 300


def test_one_that_is_stuck_is_not_waited_for_for_ever(
    gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    listener = Listener("events", lambda tasks, at: bool(gate.wait(60)) and None, clock=clock)
    listener.tell(batch("a", "b"), 0.0)
    assert not listener.end()
    clock.at += module.STUCK - 0.1
    assert not listener.end()
    clock.at += 0.2
    with caplog.at_level(logging.ERROR):
        assert listener.end()
    assert "2 tasks were not told of" in caplog.text


Make = Callable[..., Work]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make the work of a function for which messages `a`, `b`, … are waiting."""
    with (
        closing(open_broker("memory://")) as broker,
        closing(open_store(f"sqlite:///{tmp_path}/store.db")) as store,
    ):

        def make(function: Any, xs: str, **given: Any) -> Work:
            broker.publish("q", [Outgoing(b'{"x": "%c"}' % ord(x)) for x in xs])
            signature = Signature.of(function)
            return Work(
                "here:work", tmp_path, function, signature, "", "q", options(**given), broker, store
            )

        yield make


def test_consumers_tell_all_of_their_listeners(make: Make) -> None:
    states: dict[str, int] = {}
    heard = Heard()

    def hear(tasks: Sequence[Task], at: float) -> None:
        states.update((task.arguments["x"], task.state) for task in tasks)

    def work(x: str) -> None:
        if x == "b":
            raise ValueError(x)

    first, second = Listener("first", hear), Listener("second", heard)
    Consumer(make(work, "abc", retries=0), burst=True, listeners=[first, second]).serve()
    ended(first)
    ended(second)
    assert states == {"a": SUCCEEDED, "b": FAILED, "c": SUCCEEDED}
    assert len(heard.ids) == 3


def test_a_listener_that_hangs_stops_nobody_from_settling(
    make: Make, gate: threading.Event
) -> None:
    heard = Heard()

    def hang(tasks: Sequence[Task], at: float) -> None:
        gate.wait(60)

    hanging, hearing = Listener("hanging", hang), Listener("hearing", heard)
    consumer = Consumer(make(lambda x: None, "abcdefgh"), burst=True, listeners=[hanging, hearing])
    consumer.serve()
    assert consumer.tally.counts.succeeded == 8
    ended(hearing)
    assert len(heard.ids) == 8


def test_what_is_given_back_unfinished_is_told_of(make: Make, gate: threading.Event) -> None:
    states: list[int] = []
    listener = Listener("events", lambda tasks, at: states.extend(task.state for task in tasks))
    begun = threading.Event()

    def work(x: str) -> None:
        begun.set()
        gate.wait(60)

    consumer = Consumer(make(work, "a"), listeners=[listener]).start()
    assert begun.wait(60)
    consumer.stop(0.0)
    assert consumer.join(60)
    ended(listener)
    assert states == [RELEASED]
