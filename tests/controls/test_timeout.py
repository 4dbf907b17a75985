"""Deadlines: moved, interrupted and given up, with a clock of the test's own."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

from fbcli.broker import Delivery
from fbcli.controls.timeout import GRACE, Deadlines, deadline_of
from fbcli.engine.lifecycle import begin, failed
from fbcli.errors import TaskCancelled, TaskTimeout
from fbcli.task import CANCELLED, SUCCEEDED, Task

START = 1000.0
EPOCH = 1_700_000_000.0


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = START

    def monotonic(self) -> float:
        return self.at

    def now(self) -> float:
        return EPOCH + self.at


class Watched(Deadlines):
    """Without a thread: the test looks. Notes what was interrupted and given up."""

    def __init__(self) -> None:
        self.clock = Hand()
        self.tasks: list[Task] = []
        """What the pool runs."""
        self.interrupted: list[tuple[str, type[BaseException]]] = []
        self.given_up: list[str] = []
        self.runs = True
        """Whether the pool still runs what is to be interrupted."""
        self.lets_go = True
        """Whether the pool can leave a call behind."""
        super().__init__(lambda: list(self.tasks), self.hit, self.leave, self.clock)
        self._thread = object()  # type: ignore[assignment]

    def begins(self, task_id: str = "t", timeout: float | None = None) -> Task:
        """Have the pool run a task whose attempt begins now."""
        task = a_task(task_id, timeout)
        if timeout is not None:
            self.expect(timeout)
        task.begun = self.clock.at
        self.tasks.append(task)
        return task

    def hit(self, task: Task, exception: type[BaseException]) -> bool:
        if self.runs:
            self.interrupted.append((task.task_id, exception))
        return self.runs

    def leave(self, task: Task) -> bool:
        self.given_up.append(task.task_id)
        if self.lets_go:
            self.tasks.remove(task)
        return self.lets_go

    def at(self, seconds: float) -> float:
        """Look, so many seconds after the start; return how many seconds after it the next look is
        due."""
        self.clock.at = START + seconds
        return self.look(self.clock.at) - START


@pytest.fixture
def deadlines() -> Watched:
    return Watched()


def a_task(task_id: str = "t", timeout: float | None = None) -> Task:
    return Task(Delivery(b"", 0), task_id, {}, {}, SimpleNamespace(timeout=timeout))


def test_a_deadline_is_there_while_the_attempt_runs(deadlines: Watched) -> None:
    task = a_task(timeout=5)
    assert deadline_of(task) is None
    task.begun = START
    deadline = deadline_of(task)
    assert deadline is not None
    assert (deadline.due, deadline.unix(deadlines.clock)) == (START + 5, EPOCH + START + 5)
    task.state = SUCCEEDED
    assert deadline_of(task) is None


def test_what_nothing_limits_has_none(deadlines: Watched) -> None:
    task = deadlines.begins()
    assert deadline_of(task) is None
    assert deadlines.at(1e6) == float("inf")


def test_each_attempt_has_its_own(deadlines: Watched) -> None:
    task = a_task(timeout=60)
    begin(task)
    first = deadline_of(task)
    assert first is not None
    assert first.extend(10)
    failed(task)
    assert deadline_of(task) is None
    deadlines.tasks.append(task)
    deadlines.look(time.monotonic() + 1000)
    assert deadlines.interrupted == [], "it waits for its next attempt"
    begin(task)
    second = deadline_of(task)
    assert second is not None
    assert second.due < first.due


def test_strikes_once_then_gives_up(deadlines: Watched) -> None:
    deadlines.begins("stuck", 5)
    quick = deadlines.begins("quick", 5)
    assert deadlines.at(4.9) == 5
    assert deadlines.interrupted == []
    deadlines.tasks.remove(quick)
    assert deadlines.at(5) == 5 + GRACE
    assert deadlines.interrupted == [("stuck", TaskTimeout)]
    assert deadlines.given_up == []
    deadlines.at(5 + GRACE)
    assert deadlines.given_up == ["stuck"]
    deadlines.at(1000)
    assert len(deadlines.interrupted) == 1


def test_none_that_begins_after_a_look_is_due_before_the_next(deadlines: Watched) -> None:
    deadlines.begins("long", 60)
    deadlines.expect(5)
    again = deadlines.at(3)
    deadlines.begins("short", 5)
    assert again <= 8
    assert deadlines.at(again) == 3 + 5 + GRACE
    assert deadlines.interrupted == [("short", TaskTimeout)]


def test_an_extended_deadline_strikes_later(deadlines: Watched) -> None:
    deadline = deadline_of(deadlines.begins(timeout=5))
    assert deadline is not None
    assert deadline.extend(10)
    deadlines.at(5)
    assert deadline.extend(1)
    assert deadline.extend(1)
    assert deadlines.at(15) == 17
    assert deadlines.interrupted == []
    deadlines.at(17)
    assert deadlines.interrupted == [("t", TaskTimeout)]
    assert not deadline.extend(10), "too late"
    deadlines.at(17 + GRACE)
    assert deadlines.given_up == ["t"]


@pytest.mark.parametrize("timeout", [None, 0.5, 60])
def test_a_cancelled_task_is_interrupted_at_once_and_given_up_after_the_grace(
    deadlines: Watched, timeout: float | None
) -> None:
    task = deadlines.begins(timeout=timeout)
    assert deadlines.interrupt_now(task, TaskCancelled)
    assert deadlines.interrupted == [("t", TaskCancelled)]
    deadline = deadline_of(task)
    assert deadline is not None
    assert deadline.cancelled
    assert not deadline.extend(10)
    assert not deadlines.interrupt_now(task, TaskCancelled), "once is enough"
    assert deadlines.at(GRACE - 0.1) <= GRACE
    assert deadlines.given_up == [], "its timeout does not cut the grace short"
    deadlines.at(GRACE)
    assert deadlines.given_up == ["t"]
    assert deadlines.interrupted == [("t", TaskCancelled)]


def test_what_waits_for_its_next_attempt_can_be_cancelled(deadlines: Watched) -> None:
    task = deadlines.begins(timeout=5)
    failed(task)
    assert deadlines.interrupt_now(task, TaskCancelled)
    assert deadlines.interrupted == [("t", TaskCancelled)]


def test_a_cancelled_task_that_ends_in_time_is_not_given_up(deadlines: Watched) -> None:
    plain, timed = deadlines.begins("plain"), deadlines.begins("timed", 60)
    deadlines.interrupt_now(timed, TaskCancelled)
    deadlines.interrupt_now(plain, TaskCancelled)
    plain.state = timed.state = CANCELLED
    deadlines.at(GRACE)
    assert deadlines.given_up == []
    assert deadline_of(plain) is deadline_of(timed) is None


def test_what_does_not_run_any_more_is_not_interrupted(deadlines: Watched) -> None:
    task, timed = deadlines.begins(), deadlines.begins("timed", 5)
    deadlines.runs = False
    assert not deadlines.interrupt_now(task, TaskCancelled)
    assert not deadlines.interrupt_now(timed, TaskCancelled)
    deadlines.runs = True
    deadlines.at(5)
    assert deadlines.interrupted == [("timed", TaskTimeout)], "the timeout holds"
    timed.state = SUCCEEDED
    assert not deadlines.interrupt_now(timed, TaskCancelled)


def test_one_that_cannot_be_left_behind_is_not_interrupted_again_while_it_tidies_up(
    deadlines: Watched,
) -> None:
    deadlines.lets_go = False
    task = deadlines.begins()
    deadlines.interrupt_now(task, TaskCancelled)
    for second in range(1, 4):
        assert deadlines.at(second * GRACE) == (second + 1) * GRACE
        assert not deadlines.interrupt_now(task, TaskCancelled)
    assert deadlines.interrupted == [("t", TaskCancelled)]
    assert len(deadlines.given_up) == 3
    task.state = CANCELLED
    assert deadlines.at(10) == float("inf")


def test_a_batch_is_its_task_in_hand(deadlines: Watched) -> None:
    first, second = a_task("a", 5), a_task("b", 5)
    batch = SimpleNamespace(task=first, task_id="a")
    first.begun = START
    deadlines.expect(5)
    deadlines.tasks.append(batch)  # type: ignore[arg-type]
    deadlines.at(5)
    assert deadlines.interrupted == [("a", TaskTimeout)]
    batch.task, batch.task_id, second.begun = second, "b", START + 5
    assert deadlines.at(6) == 10
    deadlines.at(10)
    assert deadlines.interrupted[1:] == [("b", TaskTimeout)]


def test_the_thread_strikes_by_itself_and_looks_sooner_for_a_shorter_one() -> None:
    interrupted = threading.Event()
    far, near = a_task("far", 3600), a_task("near", 0.01)
    running: list[Task] = [far]

    def interrupt(task: Task, exception: type[BaseException]) -> bool:
        assert (task, exception) == (near, TaskTimeout)
        interrupted.set()
        return True

    deadlines = Deadlines(lambda: running, interrupt, lambda task: True)
    try:
        deadlines.expect(3600)
        begin(far)
        deadlines.expect(0.01)
        begin(near)
        running.append(near)
        assert interrupted.wait(60)
        deadline = deadline_of(near)
        assert deadline is not None
        assert deadline.interrupted_with is TaskTimeout
    finally:
        deadlines.close()
    assert deadlines._thread is not None
    deadlines._thread.join(60)
    assert not deadlines._thread.is_alive()
