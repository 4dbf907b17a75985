"""Deadlines: moved, struck and given up, with a clock of the test's own."""

from __future__ import annotations

import threading

import pytest

from fbcli.broker import Delivery
from fbcli.controls.timeout import GRACE, SWEEP, Deadlines, Timeout, deadline_of
from fbcli.errors import TaskCancelled, TaskTimeout
from fbcli.task import CANCELLED, Task

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
    """Without a thread: the test looks. Notes what was struck and given up."""

    def __init__(self) -> None:
        self.clock = Hand()
        self.struck: list[tuple[str, type[BaseException]]] = []
        self.given_up: list[str] = []
        self.runs = True
        """Whether the pool runs what is to be interrupted."""
        self.lets_go = True
        """Whether the pool can leave a call behind."""
        super().__init__(self.hit, self.leave, self.clock)
        self._thread = object()  # type: ignore[assignment]

    def hit(self, task: Task, exception: type[BaseException]) -> bool:
        if self.runs:
            self.struck.append((task.task_id, exception))
        return self.runs

    def leave(self, task: Task) -> bool:
        self.given_up.append(task.task_id)
        return self.lets_go

    def at(self, seconds: float) -> float | None:
        """Look, so many seconds after the start."""
        self.clock.at = START + seconds
        return self.fire_due(self.clock.at)


@pytest.fixture
def deadlines() -> Watched:
    return Watched()


def a_task(task_id: str = "t") -> Task:
    return Task(Delivery(b"", 0), task_id, {}, {}, None)


def test_a_deadline_is_there_while_the_attempt_runs(deadlines: Watched) -> None:
    task = a_task()
    assert deadline_of(task) is None
    with Timeout(5, deadlines).around(task):
        deadline = deadline_of(task)
        assert deadline is not None
        assert (deadline.left(), deadline.unix()) == (5, EPOCH + START + 5)
    assert deadline_of(task) is None
    assert deadlines.at(6) is None
    assert deadlines.struck == []


def test_an_extended_deadline_strikes_later(deadlines: Watched) -> None:
    deadline = deadlines.arm(a_task(), 5)
    assert deadline.extend(10)
    assert deadlines.at(5) == START + 15, "looked at again when it is due"
    assert deadline.extend(1)
    assert deadline.extend(1)
    assert deadlines.at(15) == START + 17
    assert deadlines.struck == []
    deadlines.at(17)
    assert deadlines.struck == [("t", TaskTimeout)]
    assert not deadline.extend(10), "too late"
    deadlines.at(17 + GRACE)
    assert deadlines.given_up == ["t"]
    assert deadlines.at(1000) is None


def test_an_attempt_that_has_ended_cannot_be_extended(deadlines: Watched) -> None:
    deadline = deadlines.arm(a_task(), 5)
    deadlines.disarm(deadline)
    assert not deadline.extend(10)


@pytest.mark.parametrize("timeout", [None, 0.5, 60])
def test_a_cancelled_task_is_struck_at_once_and_given_up_after_the_grace(deadlines: Watched, timeout: float | None) -> None:
    task = a_task()
    if timeout is not None:
        deadlines.arm(task, timeout)
    assert deadlines.strike_now(task, TaskCancelled)
    assert deadlines.struck == [("t", TaskCancelled)]
    deadline = deadline_of(task)
    assert deadline is not None
    assert deadline.cancelled
    assert not deadline.extend(10)
    assert not deadlines.strike_now(task, TaskCancelled), "once is enough"
    deadlines.at(GRACE - 0.1)
    assert deadlines.given_up == [], "its timeout does not cut the grace short"
    deadlines.at(GRACE)
    assert deadlines.given_up == ["t"]
    assert deadlines.struck == [("t", TaskCancelled)]
    assert deadlines.at(100) is None
    assert deadline_of(task) is None


def test_a_cancelled_task_that_ends_in_time_is_not_given_up(deadlines: Watched) -> None:
    plain, timed = a_task("plain"), a_task("timed")
    with deadlines.arm(timed, 60):
        deadlines.strike_now(timed, TaskCancelled)
        deadlines.strike_now(plain, TaskCancelled)
    plain.state = timed.state = CANCELLED
    assert deadlines.at(GRACE) is None
    assert deadlines.given_up == []
    assert deadline_of(plain) is deadline_of(timed) is None


def test_what_does_not_run_any_more_is_not_struck(deadlines: Watched) -> None:
    task, timed = a_task(), a_task("timed")
    deadlines.arm(timed, 5)
    deadlines.runs = False
    assert not deadlines.strike_now(task, TaskCancelled)
    assert not deadlines.strike_now(timed, TaskCancelled)
    assert deadline_of(task) is None
    deadlines.runs = True
    deadlines.at(5)
    assert deadlines.struck == [("timed", TaskTimeout)], "the timeout holds"


def test_one_that_cannot_be_left_behind_is_not_struck_again_while_it_tidies_up(deadlines: Watched) -> None:
    deadlines.lets_go = False
    task = a_task()
    deadlines.strike_now(task, TaskCancelled)
    for second in range(1, 4):
        deadlines.at(second * GRACE)
        assert not deadlines.strike_now(task, TaskCancelled)
    assert deadlines.struck == [("t", TaskCancelled)]
    task.state = CANCELLED
    assert deadlines.at(10) is None
    assert deadline_of(task) is None


def test_ended_attempts_do_not_pile_up(deadlines: Watched) -> None:
    lasting = [a_task(f"t{number}") for number in range(10)]
    for task in lasting:
        deadlines.arm(task, 3600)
    for _ in range(10 * SWEEP):
        with deadlines.arm(a_task(), 7200):
            pass
    assert len(deadlines._heap) <= SWEEP
    deadlines.at(3600)
    assert [task_id for task_id, _ in deadlines.struck] == [task.task_id for task in lasting]


def test_closing_forgets_all(deadlines: Watched) -> None:
    task = a_task()
    deadlines.arm(task, 5)
    deadlines.close()
    assert deadline_of(task) is None


def test_the_thread_strikes_by_itself() -> None:
    struck = threading.Event()

    def strike(task: Task, exception: type[BaseException]) -> bool:
        struck.set()
        return True

    deadlines = Deadlines(strike, lambda task: True)
    try:
        far, near = a_task("far"), a_task("near")
        with deadlines.arm(far, 3600), deadlines.arm(near, 0.01):
            assert struck.wait(10)
            deadline = deadline_of(near)
            assert deadline is not None
            assert deadline.struck is TaskTimeout
    finally:
        deadlines.close()
