"""One task from its first attempt to its outcome, run as a thread and as an event loop run it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fbcli.engine.lifecycle import arun, run
from fbcli.errors import TaskTimeout
from fbcli.task import FAILED, SUCCEEDED, Task
from tests.engine.factories import plan, tasks

Carry = Callable[[Task], None]


def awaited(task: Task) -> None:
    """Carry a task out as a pool of coroutines does."""
    called = task.plan.function

    async def call(**arguments: Any) -> Any:
        return called(**arguments)

    task.plan.function = call
    asyncio.run(arun(task))


both = pytest.mark.parametrize("carry", [run, awaited])


def one(function: Callable[..., Any], **options: Any) -> Task:
    (task,) = tasks(plan(function, **options), "t")
    return task


class Mute(Exception):
    def __str__(self) -> str:
        raise KeyError("no words")


@both
def test_an_error_without_words_fails_its_task_as_any_other(carry: Carry) -> None:
    def work(x: str) -> None:
        raise Mute

    task = one(work, retries=1)
    carry(task)
    assert (task.state, task.attempt) == (FAILED, 2)
    assert task.failure is not None
    assert (task.failure.error_type, task.failure.error) == (
        "Mute",
        "its text could not be made: KeyError",
    )


@both
def test_an_attempt_is_not_told_with_the_one_before(carry: Carry) -> None:
    errors = iter([ValueError("first"), ValueError("second")])

    def work(x: str) -> None:
        raise next(errors)

    task = one(work, retries=1)
    carry(task)
    assert task.failure is not None
    assert task.failure.error == "second"
    assert "first" not in task.failure.traceback


@both
def test_a_later_attempt_may_succeed(carry: Carry) -> None:
    divisors = iter([0, 0, 5])

    def work(x: str) -> float:
        return 10 / next(divisors)

    task = one(work, retries=2, keeps=True)
    carry(task)
    assert (task.state, task.attempt, task.retried, task.value) == (SUCCEEDED, 3, 2, 2.0)
    assert task.failure is None


def test_a_coroutine_that_ran_too_long_tells_where_it_was() -> None:
    async def work(x: str) -> None:
        await asyncio.sleep(60)

    async def scene() -> Task:
        task = one(work, timeout=30, retries=0)
        running = asyncio.create_task(arun(task))
        await asyncio.sleep(0)
        task.interrupted = TaskTimeout
        running.cancel()
        await running
        return task

    task = asyncio.run(scene())
    assert task.failure is not None
    assert task.failure.error == "ran longer than its timeout of 30 s"
    assert "await asyncio.sleep(60)" in task.failure.traceback
