"""Batches: how they are gathered, called, and what becomes of each message when a call fails, is
interrupted, or hangs."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fbcli.arguments.signature import Signature
from fbcli.broker import Outgoing
from fbcli.broker_registry import open_broker
from fbcli.engine.batch import Batch, BatchGatherer, arun_batch, run_batch
from fbcli.engine.callables import awaitable_call, plain_call
from fbcli.engine.consumer import Consumer
from fbcli.engine.lifecycle import concluded
from fbcli.engine.plan import Plan
from fbcli.engine.work import Work
from fbcli.errors import DeadLetter, TaskCancelled, TaskTimeout
from fbcli.stores import open_store
from fbcli.task import CANCELLED, FAILED, RELEASED, RETRY, RUNNING, SUCCEEDED
from tests.engine.factories import ids, options, plan, tasks
from tests.servers import wait_until

Rows = list[dict[str, Any]]


def many(rows: Rows) -> None:
    """The function of plans that need none of their own."""


def members(batches: list[Batch]) -> list[list[str]]:
    return [ids(batch.tasks) for batch in batches]


class TestGatherer:
    def test_a_batch_is_there_when_it_is_full(self) -> None:
        gatherer, kind = BatchGatherer(3, 1.0), plan(many, rows="rows")
        gatherer.add(tasks(kind, "a", "b"), 10.0)
        assert gatherer.ready(10.0) == []
        assert gatherer.again() == 11.0
        gatherer.add(tasks(kind, "c", "d", "e", "f", "g"), 10.4)
        assert members(gatherer.ready(10.4)) == [["a", "b", "c"], ["d", "e", "f"]]
        assert gatherer.again() == 11.4, "the rest has come with the last"
        assert gatherer.ready(11.39) == []
        assert members(gatherer.ready(11.4)) == [["g"]]
        assert gatherer.again() is None
        assert gatherer.ready(99.0) == []

    def test_time_makes_batches_of_what_there_is(self) -> None:
        gatherer, kind = BatchGatherer(2, 1.0), plan(many, rows="rows")
        gatherer.add(tasks(kind, "a", "b", "c", "d", "e"), 10.0)
        assert members(gatherer.ready(12.0)) == [["a", "b"], ["c", "d"], ["e"]]

    def test_a_later_message_does_not_put_the_first_off(self) -> None:
        gatherer, kind = BatchGatherer(9, 1.0), plan(many, rows="rows")
        gatherer.add(tasks(kind, "a"), 10.0)
        gatherer.add(tasks(kind, "b"), 10.9)
        assert members(gatherer.ready(11.0)) == [["a", "b"]]

    def test_those_with_different_options_are_not_called_together(self) -> None:
        gatherer, kind, other = (
            BatchGatherer(2, 1.0),
            plan(many, rows="rows"),
            plan(many, rows="rows", retries=0),
        )
        gatherer.add([*tasks(kind, "a"), *tasks(other, "b")], 10.0)
        gatherer.add(tasks(kind, "c"), 10.5)
        assert members(gatherer.ready(10.5)) == [["a", "c"]]
        assert gatherer.again() == 11.0
        assert members(gatherer.ready(11.0)) == [["b"]]

    def test_take_back(self) -> None:
        gatherer, kind = BatchGatherer(9, 60.0), plan(many, rows="rows")
        gatherer.add(tasks(kind, "c"), 10.0)
        assert ids(gatherer.take_back()) == ["c"]
        assert gatherer.take_back() == []
        assert gatherer.again() is None


Carry = Callable[[Callable[..., Any], Batch], None]


def batch_of(function: Callable[[Rows], Any], *task_ids: str, **given: Any) -> Batch:
    """Return a batch that results are kept of. Retries are made at once."""
    return Batch(tasks(plan(function, rows="rows", keeps=True, **given), *task_ids))


@pytest.fixture(params=["threads", "asyncio"])
def carry_out(request: pytest.FixtureRequest) -> Callable[[Batch], None]:
    """Carry a batch out, by either driver."""

    def by(called: Callable[..., Any], batch: Batch) -> Plan:
        old = batch.plan
        return Plan(
            old.queue, old.address, called, old.signature, old.options, rows="rows", keeps=True
        )

    def change(batch: Batch, made: Plan) -> None:
        batch.plan = made
        for task in batch.tasks:
            task.plan = made

    def in_thread(batch: Batch) -> None:
        change(batch, by(plain_call(batch.plan.function, Signature.of(batch.plan.function)), batch))
        run_batch(batch)

    def in_loop(batch: Batch) -> None:
        change(
            batch, by(awaitable_call(batch.plan.function, Signature.of(batch.plan.function)), batch)
        )
        asyncio.run(arun_batch(batch))

    return in_thread if request.param == "threads" else in_loop


def names(rows: Rows) -> str:
    return "".join(row["x"] for row in rows)


class TestBatch:
    def test_one_call_for_all(self, carry_out: Callable[[Batch], None]) -> None:
        calls: list[str] = []

        def work(rows: Rows) -> str:
            calls.append(names(rows))
            return "done"

        batch = batch_of(work, "a", "b", "c")
        carry_out(batch)
        assert calls == ["abc"]
        assert [(task.state, task.value, task.attempt) for task in batch.tasks] == [
            (SUCCEEDED, "done", 1)
        ] * 3
        assert concluded(batch.tasks) is batch.tasks
        assert sum(task.seconds for task in batch.tasks) == pytest.approx(batch.seconds)

    def test_a_list_of_as_many_values_is_one_for_each(
        self, carry_out: Callable[[Batch], None]
    ) -> None:
        batch = batch_of(lambda rows: [row["x"] * 2 for row in rows], "a", "b")
        carry_out(batch)
        assert [task.value for task in batch.tasks] == ["aa", "bb"]
        single = batch_of(lambda rows: [row["x"] * 2 for row in rows], "a")
        carry_out(single)
        assert [task.value for task in single.tasks] == ["aa"], (
            "whether it was alone or not makes no difference"
        )

    def test_when_it_fails_each_is_tried_alone(
        self, carry_out: Callable[[Batch], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        calls: list[str] = []

        def work(rows: Rows) -> str:
            calls.append(names(rows))
            if "b" in calls[-1]:
                raise ValueError("no b")
            return calls[-1]

        batch = batch_of(work, "a", "b", "c", retries=1)
        with caplog.at_level(logging.WARNING):
            carry_out(batch)
        assert calls == ["abc", "a", "b", "b", "c"]
        assert [task.state for task in batch.tasks] == [SUCCEEDED, FAILED, SUCCEEDED]
        assert [task.attempt for task in batch.tasks] == [1, 2, 1], (
            "the call for all was no attempt of any"
        )
        assert [task.value for task in batch.tasks] == ["a", None, "c"]
        failure = batch.tasks[1].failure
        assert failure is not None
        assert (failure.error_type, failure.error) == ("ValueError", "no b")
        assert "a batch of 3 failed: ValueError: no b" in caplog.text

    def test_a_single_message_is_no_batch(self, carry_out: Callable[[Batch], None]) -> None:
        calls: list[str] = []

        def work(rows: Rows) -> None:
            calls.append(names(rows))
            raise DeadLetter("not this one")

        batch = batch_of(work, "a")
        carry_out(batch)
        assert calls == ["a"]
        assert batch.tasks[0].state == FAILED

    def test_what_has_no_outcome_when_it_ends_was_cut_off(self) -> None:
        for given, state in (({"timeout": 1}, RETRY), ({}, CANCELLED)):
            batch = batch_of(many, "a", "b", **given)
            batch.tasks[0].state = SUCCEEDED
            assert [task.state for task in concluded(batch.tasks)] == [SUCCEEDED, state], (
                "by its timeout, or since nobody wants it"
            )

    def test_it_is_known_by_the_task_that_it_works_on(self) -> None:
        batch = batch_of(many, "a", "b")
        assert (batch.task_id, batch.arguments) == ("a", {"rows": [{"x": "a"}, {"x": "b"}]})
        batch.only(batch.tasks[1])
        assert (batch.task_id, batch.arguments) == ("b", {"rows": [{"x": "b"}]})
        batch.attempt += 1
        assert [task.attempt for task in batch.tasks] == [0, 1]
        batch.all()
        assert batch.task_id == "a"


class TestLeftBehind:
    """A call that cannot be interrupted: its copy is settled, and it may go on changing what is its
    own."""

    def test_the_copy_stays_as_it_is(self) -> None:
        batch = batch_of(many, "a", "b")
        batch.only(batch.tasks[1])
        left = copy.copy(batch)
        batch.tasks[1].state = SUCCEEDED
        batch.tasks[1].attempt = 7
        assert [task.state for task in left.tasks] == [RUNNING, RUNNING]
        assert left.tasks[1].attempt == 0
        assert left.task_id == "b"

    def test_all_were_cut_off_that_it_worked_on(self) -> None:
        batch = batch_of(many, "a", "b", retries=1, timeout=1)
        left = copy.copy(batch)
        left.given_up(None)
        assert [(task.state, task.attempt) for task in left.tasks] == [(RETRY, 1)] * 2
        for task in left.tasks:
            assert task.failure is not None
            assert task.failure.error_type == "TaskTimeout"

    def test_it_counts_as_an_attempt_so_that_it_does_not_go_on_for_ever(self) -> None:
        batch = batch_of(many, "a", "b", retries=1, timeout=1)
        for task in batch.tasks:
            task.attempt = 1
        batch.given_up(None)
        assert [task.state for task in batch.tasks] == [FAILED] * 2

    def test_of_those_tried_alone_only_the_one_that_hangs_is_cut_off(self) -> None:
        batch = batch_of(many, "a", "b", "c", retries=1, timeout=1)
        batch.tasks[0].state = SUCCEEDED
        batch.only(batch.tasks[1])
        batch.tasks[1].attempt = 1
        left = copy.copy(batch)
        left.given_up(None)
        assert [task.state for task in left.tasks] == [SUCCEEDED, RETRY, RELEASED]
        assert [task.attempt for task in left.tasks] == [0, 1, 0]


class TestCancelled:
    def test_those_that_are_not_wanted_any_more_are_left_out(self) -> None:
        calls: list[str] = []

        def work(rows: Rows) -> None:
            calls.append(names(rows))
            if len(rows) > 1:
                raise TaskCancelled

        batch = batch_of(work, "a", "b", "c", retries=0)
        batch.unwanted = frozenset("b")
        run_batch(batch)
        assert calls == ["abc", "a", "c"]
        assert [task.state for task in batch.tasks] == [SUCCEEDED, CANCELLED, SUCCEEDED]

    def test_an_interrupt_that_hits_the_next_one_costs_it_nothing(self) -> None:
        def work(rows: Rows) -> None:
            if names(rows) != "c":
                raise TaskCancelled

        batch = batch_of(work, "a", "b", "c", retries=0)
        batch.unwanted = frozenset("b")
        run_batch(batch)
        assert [task.state for task in batch.tasks] == [RELEASED, CANCELLED, SUCCEEDED]

    def test_an_interrupt_between_two_calls_ends_only_them(self) -> None:
        batch = batch_of(many, "a", "b", "c", retries=0)
        batch.tasks[0].state = SUCCEEDED
        batch.unwanted = frozenset("b")
        batch.cut_off(TaskCancelled())
        assert [task.state for task in batch.tasks] == [SUCCEEDED, CANCELLED, RELEASED]
        late = batch_of(many, "a", "b", retries=0, timeout=1)
        late.cut_off(TaskTimeout())
        assert [task.state for task in late.tasks] == [RETRY, RETRY], "a batch counts no attempt"

    def test_a_batch_that_does_not_react_goes_back_without_them(self) -> None:
        left = batch_of(many, "a", "b", retries=0)
        left.unwanted = frozenset("b")
        left.given_up(TaskCancelled())
        assert [task.state for task in left.tasks] == [RELEASED, CANCELLED]
        assert [task.attempt for task in left.tasks] == [0, 0]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What calls wait for that hang; open when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_a_batch_that_hangs_costs_its_neighbours_nothing(
    tmp_path: Path, gate: threading.Event
) -> None:
    calls: list[str] = []

    def work(rows: Rows) -> None:
        calls.append(names(rows))
        if len(rows) > 1:
            raise ValueError("one by one, please")
        if rows[0]["x"] == "b":
            gate.wait()

    with (
        closing(open_broker("memory://")) as broker,
        closing(open_store(f"sqlite:///{tmp_path}/store.db")) as store,
    ):
        broker.publish("q", [Outgoing(json.dumps({"x": x}).encode()) for x in "abc"])
        given = options(batch=3, batch_wait=0.1, timeout=0.3, retries=0, watchdog=0, heartbeat=0.5)
        own = Signature.of(work)
        consumer = Consumer(
            Work("here:work", tmp_path, work, own.open, own.rows, "q", given, broker, store)
        ).start()
        wait_until(lambda: consumer.tally.counts.done == 3, "all to have their outcomes")
        consumer.stop(1.0)
        assert consumer.join(10)
        assert calls == ["abc", "a", "b", "c"]
        counts = consumer.tally.counts
        assert (counts.succeeded, counts.failed, counts.released) == (2, 1, 1)
        (letter,) = broker.peek("q.dead", 9)
        assert json.loads(letter)["x"] == "b"
