"""The circuit breaker, at times that the test makes up."""

from __future__ import annotations

import pytest

from fbcli.broker import Delivery
from fbcli.controls.breaker import Breaker
from fbcli.options.model import Options
from fbcli.task import (
    CANCELLED,
    DROPPED,
    FAILED,
    RELEASED,
    REQUEUED,
    RETRY,
    SUCCEEDED,
    Failure,
    Task,
)
from fbcli.values.thresholds import Threshold

MANY = 1000


def ended(
    state: int, error: str = "ConnectionError", *, retried: int = 0, attempt: int = 1
) -> Task:
    """Return a task with this outcome."""
    task = Task(Delivery(b"", 0), "t1", {}, {}, None, attempt=attempt, state=state, retried=retried)
    if state in (FAILED, RETRY):
        task.failure = Failure(error, "it broke")
    return task


def failing(count: int) -> list[Task]:
    return [ended(FAILED) for _ in range(count)]


@pytest.fixture
def breaker() -> Breaker:
    """Opens at three failures within ten seconds."""
    return Breaker(Threshold(3, 10.0))


def test_the_option() -> None:
    options = Options.make({"breaker": "5/1m"}, source=str)
    assert options.breaker == Threshold(5, 60.0)
    breaker = Breaker(options.breaker)
    breaker.learn(failing(4), 0.0)
    assert not breaker.closed(0.0)
    breaker.learn(failing(1), 59.9)
    assert breaker.fetchable(59.9) == (0, pytest.approx(119.9))


def test_failures_within_the_time_open_it(breaker: Breaker) -> None:
    breaker.learn(failing(2), 100.0)
    assert breaker.fetchable(100.0).room > MANY
    assert breaker.shut(100.0) is None
    breaker.learn(failing(1), 110.0)
    assert breaker.closed(110.0), "what is held goes back"
    assert breaker.fetchable(110.0) == (0, 120.0)
    assert breaker.shut(110.0) == ("tripped", "too many calls failed; tries a call in 10 s")


def test_failures_that_are_long_ago_do_not(breaker: Breaker) -> None:
    for now in (0.0, 5.1, 10.2, 15.3, 20.4):
        breaker.learn(failing(1), now)
    assert not breaker.closed(20.4)
    assert breaker.fetchable(20.4).room > MANY
    breaker.learn(failing(1), 20.5)
    assert breaker.closed(20.5), "those at 15.3, 20.4 and 20.5 are three"


def test_successes_between_failures_change_nothing(breaker: Breaker) -> None:
    breaker.learn([*failing(2), ended(SUCCEEDED), ended(SUCCEEDED), *failing(1)], 0.0)
    assert breaker.closed(0.0)


def test_each_failed_attempt_counts_also_where_it_was_followed_by_another(breaker: Breaker) -> None:
    breaker.learn([ended(SUCCEEDED, retried=2)], 0.0)
    assert not breaker.closed(0.0)
    breaker.learn([ended(RETRY)], 1.0)
    assert breaker.closed(1.0)


@pytest.mark.parametrize(
    "task",
    [
        ended(REQUEUED),
        ended(RELEASED),
        ended(DROPPED),
        ended(CANCELLED),
        ended(SUCCEEDED),
        ended(FAILED, "DeadLetter"),
        ended(FAILED, "BadMessage", attempt=0),
    ],
)
def test_what_says_nothing_of_failing_calls(breaker: Breaker, task: Task) -> None:
    breaker.learn([task] * 100, 0.0)
    assert breaker.fetchable(0.0).room > MANY


def test_a_trial_that_succeeds_closes_it(breaker: Breaker) -> None:
    breaker.learn(failing(3), 0.0)
    breaker.learn([ended(SUCCEEDED), *failing(5)], 5.0)
    assert breaker.fetchable(5.0) == (0, 10.0), "what still ran says nothing new"
    assert breaker.fetchable(10.0).room == 1
    assert not breaker.closed(10.0)
    breaker.learn([ended(REQUEUED), ended(FAILED, "DeadLetter")], 11.0)
    assert breaker.fetchable(11.0).room == 1, "still not known"
    assert breaker.shut(11.0) == ("tripped", "too many calls failed; trying one call")
    breaker.learn([ended(SUCCEEDED)], 12.0)
    assert breaker.fetchable(12.0).room > MANY
    assert breaker.shut(12.0) is None
    breaker.learn(failing(2), 13.0)
    assert not breaker.closed(13.0), "it counts anew"
    breaker.learn(failing(1), 13.0)
    assert breaker.closed(13.0)


@pytest.mark.parametrize("outcome", [ended(FAILED), ended(RETRY), ended(CANCELLED, retried=1)])
def test_a_trial_that_fails_opens_it_anew(breaker: Breaker, outcome: Task) -> None:
    breaker.learn(failing(3), 0.0)
    assert breaker.fetchable(10.5).room == 1
    breaker.learn([outcome], 12.0)
    assert breaker.fetchable(12.0) == (0, 22.0)
    assert breaker.closed(21.9)
    assert not breaker.closed(22.0)


def test_one_failure_may_be_enough() -> None:
    breaker = Breaker(Threshold(1, 0.5))
    breaker.learn([ended(SUCCEEDED, retried=1)], 0.0)
    assert breaker.fetchable(0.0) == (0, 0.5)


def test_what_it_says(breaker: Breaker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="fbcli.consumer")
    breaker.learn(failing(7), 0.0)
    assert caplog.messages == ["3 failed calls within 10 s: taking no work for as long"]
    for _ in range(3):
        breaker.fetchable(10.0)
    assert caplog.messages[1:] == ["trying one call"]
    breaker.learn(failing(1), 11.0)
    assert caplog.messages[2:] == ["the call that was tried has failed: taking no work for 10 s"]
    breaker.fetchable(21.0)
    breaker.learn([ended(SUCCEEDED)], 22.0)
    assert caplog.messages[3:] == [
        "trying one call",
        "the call that was tried has succeeded: taking work as before",
    ]
