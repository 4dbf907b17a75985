"""Why a task is not run: which control holds it, since when, and why; as the store, `fb show`,
`fb queues` and `--verbose` tell it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fbcli.address.address import Address
from fbcli.booster import Booster
from fbcli.controls.catalogue import CONTROLS
from fbcli.engine.consumer import Consumer
from fbcli.engine.holds import MOST_NAMED, Held, Holds, by_control
from fbcli.monitoring.overview import obstacles, overview
from fbcli.results.status import statuses
from fbcli.settings import load
from fbcli.stores.records import Hold
from tests.engine.factories import Clock
from tests.servers import wait_until


class TestHolds:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def now(self) -> list[Held]:
        """What is held now."""
        return []

    @pytest.fixture
    def holds(self, clock: Clock, now: list[Held]) -> Holds:
        return Holds("q", [lambda: now, lambda: ()], clock)

    def test_it_knows_since_when(self, clock: Clock, now: list[Held], holds: Holds) -> None:
        assert holds.look() == []
        begun = clock.at
        now.append(Held("pause", "paused: goes on in 20 s"))
        assert holds.look() == [Hold("pause", "paused: goes on in 20 s", begun)]
        clock.at += 5
        now[:] = [Held("pause", "paused: goes on in 15 s"), Held("rate", "soon", ["a", "b"])]
        assert holds.look() == [
            Hold("pause", "paused: goes on in 15 s", begun),
            Hold("rate", "soon", clock.at, 2, ["a", "b"]),
        ]
        now.clear()
        assert holds.look() == []
        clock.at += 5
        now.append(Held("pause", "paused"))
        assert holds.look()[0].since == clock.at, "it has begun anew"

    def test_what_has_been_noted_before_is_believed(self, now: list[Held], holds: Holds) -> None:
        now.append(Held("dedupe", "the same call is running", ["a"], since=7.0))
        assert holds.look()[0].since == 7.0

    def test_a_crowd_is_counted_and_not_named(self, now: list[Held], holds: Holds) -> None:
        now.append(Held("rate", "soon", [str(number) for number in range(1000)]))
        (hold,) = holds.look()
        assert (hold.count, len(hold.tasks)) == (1000, MOST_NAMED)

    def test_begin_and_end_are_told_once(
        self, clock: Clock, now: list[Held], holds: Holds, caplog: pytest.LogCaptureFixture
    ) -> None:
        now.append(Held("dedupe", "the same call is running", ["a"]))
        with caplog.at_level(logging.INFO, "fbcli.held"):
            for _ in range(3):
                holds.look()
                clock.at += 1
            now.clear()
            holds.look()
            holds.look()
        assert [record.message for record in caplog.records] == [
            "held by dedupe: the same call is running (1 task)",
            "no longer held by dedupe",
        ]

    def test_tasks_are_put_together_by_control_and_reason(self) -> None:
        waiting = [
            ("dedupe", "same", "a", 5.0),
            ("max_per_key", "full", "b", 4.0),
            ("dedupe", "same", "c", 3.0),
        ]
        assert by_control(waiting) == [
            Held("dedupe", "same", ["a", "c"], 3.0),
            Held("max_per_key", "full", ["b"], 4.0),
        ]


def test_every_control_that_can_hold_something_has_a_name_of_its_own() -> None:
    """Made for a consumer with all options on, or nearly."""
    from fbcli.controls.base import Admission, Gate

    def leaves(kind: type) -> Iterator[type]:
        for each in kind.__subclasses__():
            yield each
            yield from leaves(each)

    named = [
        each.name
        for kind in (Gate, Admission)
        for each in leaves(kind)
        if each.__module__.startswith("fbcli.controls.")
    ]
    assert len(CONTROLS) > 5
    assert not {"gate", "admission"} & set(named)
    assert len(set(named)) >= len(named) - 1, "the two kinds of rate are one to a person"


Make = Callable[..., Booster[Any, Any]]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What calls wait for; open when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def make(tmp_path: Path, gate: threading.Event) -> Iterator[Make]:
    settings = load(tmp_path, {}, broker=f"sqlite:///{tmp_path}/queue.db")

    def work(x: int) -> None:
        gate.wait(60)

    def make(**options: Any) -> Booster[Any, Any]:
        address = Address("here:work", "here", "work")
        return Booster(work, address=address, settings=settings, heartbeat=1.0, **options)

    yield make
    settings.open_broker().close()
    settings.open_store().close()


def consuming(booster: Booster[Any, Any]) -> Any:
    """Consume in this context."""

    class Consuming:
        def __enter__(self) -> Consumer:
            self.consumer = booster.consume()
            return self.consumer

        def __exit__(self, *_: object) -> None:
            self.consumer.stop(0.0)
            assert self.consumer.join(30)

    return Consuming()


def held(booster: Booster[Any, Any]) -> list[Hold]:
    """What the record of its consumer tells; nothing before there is one."""
    return [hold for record in booster.settings.open_store().consumers() for hold in record.holds]


def test_a_task_that_waits_for_its_like(make: Make) -> None:
    booster = make(dedupe=True, concurrency=4)
    first, second = booster.push(1), booster.push(1)
    with consuming(booster):
        wait_until(lambda: len(held(booster)) == 1, "one to wait")
        store = booster.settings.open_store()
        by_id = {each.task_id: each for each in statuses(store, [first.task_id, second.task_id])}
        states = sorted(each.state for each in by_id.values())
        assert states == ["running", "waiting"]
        (waiting,) = (each for each in by_id.values() if each.state == "waiting")
        assert waiting.hold is not None
        assert waiting.run is not None
        assert (waiting.hold.by, waiting.hold.reason) == ("dedupe", "the same call is running")
        assert waiting.known
        (row,) = overview(booster.settings)
        assert [(hold.by, hold.count) for hold in row.held] == [("dedupe", 1)]
        assert obstacles([booster.queue]) == [
            "here.work is held up by dedupe: the same call is running (1 task)."
        ]
        since = waiting.hold.since
        wait_until(lambda: held(booster)[0].since == since, "the next record to say the same")


def test_a_task_that_waits_for_the_rate(make: Make, gate: threading.Event) -> None:
    gate.set()
    booster = make(qps=0.02)
    booster.push_many({"x": number} for number in range(3))
    with consuming(booster) as consumer:
        wait_until(lambda: consumer.tally.counts.succeeded == 1, "the first one")
        wait_until(lambda: any(hold.by == "rate" for hold in held(booster)), "it to be told")
        assert "next call may start in" in held(booster)[0].reason


def test_a_queue_that_is_paused(make: Make) -> None:
    booster = make()
    booster.settings.open_store().pause("here.work")
    with consuming(booster):
        wait_until(lambda: [hold.by for hold in held(booster)] == ["pause"], "it to be told")
        booster.settings.open_store().resume("here.work")
        wait_until(lambda: held(booster) == [], "it to be over")


def test_what_ends_is_held_up_by_nothing(make: Make, gate: threading.Event) -> None:
    gate.set()
    booster = make(dedupe=True)
    booster.push(1)
    with closing(booster.settings.open_store()), consuming(booster) as consumer:
        wait_until(lambda: consumer.tally.counts.succeeded == 1, "it to end")
        wait_until(lambda: bool(booster.settings.open_store().consumers()), "a record")
        assert held(booster) == []
