"""The life of one task, written once, without any waiting of its own: attempts, timeout, retry,
outcome.

`life` is a generator that says what to do next; two thin drivers do it, one by calling, one by
awaiting. A call that succeeds at once never enters the generator: that is the hot path.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator, Sequence
from time import monotonic
from typing import Any

from fbcli.controls.base import NEVER
from fbcli.controls.retry import Next
from fbcli.engine.current import running
from fbcli.engine.failures import describe
from fbcli.engine.plan import Plan
from fbcli.errors import TaskCancelled, TaskTimeout
from fbcli.task import CANCELLED, FAILED, RETRY, RUNNING, SUCCEEDED, Failure, Task
from fbcli.values.durations import span

log = logging.getLogger("fbcli.task")

Life = Generator[float | None, Any, None]
"""Yields None: call the function and send what it returned, or throw what it raised. Yields
seconds: wait so long."""


def life(task: Task, error: BaseException | None = None) -> Life:
    """Lead a task to its outcome. `error`: what the first attempt, made by the hot path, has
    raised."""
    while True:
        if error is None:
            task.attempt += 1
            begin(task)
            try:
                value = yield None
            except GeneratorExit:  # it is let go: the message goes back
                raise
            except BaseException as raised:  # noqa: BLE001  whatever a task raises is its outcome
                error = raised
            else:
                succeed(task, value)
                return
        failed(task)
        following = judge(task, error)
        if not following.here:
            return
        task.retried += 1
        error = None
        if following.wait:
            yield following.wait


def begin(task: Task) -> None:
    """An attempt begins: from now on its timeout counts."""
    task.begun, task.deadline = monotonic(), None


def failed(task: Task) -> None:
    """The attempt is over; the next one has a time of its own."""
    task.begun, task.deadline = NEVER, None


def succeed(task: Task, value: Any) -> None:
    """Note a success."""
    task.state = SUCCEEDED
    task.failure = None
    if task.plan.keeps:
        task.value = value


def judge(task: Task, error: BaseException, *, here: bool = True) -> Next:
    """Note a failed attempt in the task, and say what follows. `here` False: not in this slot in
    any case."""
    plan: Plan = task.plan
    if isinstance(error, TaskCancelled):
        task.state, task.failure = CANCELLED, Failure("Cancelled", "cancelled while it ran")
        return Next(CANCELLED)
    following = plan.retry.after(error, task.attempt)
    task.failure = failure_of(error, plan)
    if not here and following.here:
        following = following._replace(here=False)
    if not following.here:
        task.state, task.delay = following.state, following.wait
    if following.state == RETRY:
        log.warning(
            "attempt %d of %d failed: %s: %s; %s",
            task.attempt,
            plan.options.retries + 1,
            task.failure.error_type,
            task.failure.error,
            f"next in {span(following.wait)}" if following.wait else "trying again",
            extra={"task_id": task.task_id, "queue": plan.queue},
        )
    return following


def failure_of(error: BaseException, plan: Plan) -> Failure:
    """Return an error as text."""
    if isinstance(error, TaskTimeout) and not error.args and plan.timeout is not None:
        return describe(error, f"ran longer than its timeout of {span(plan.timeout, 3)}")
    return describe(error)


def run(task: Task) -> None:
    """Carry a task out by calling: the driver of pools of threads."""
    plan: Plan = task.plan
    steps: Life | None = None
    token = running.set(task)
    task.begun = begun = monotonic()
    try:
        task.attempt += 1
        try:
            value = plan.function(**task.arguments)
        except BaseException as error:  # noqa: BLE001  whatever a task raises is its outcome
            steps = life(task, error)
        else:
            if plan.keeps:
                task.value = value
            task.state = SUCCEEDED
        if steps is not None:  # not while the error is handled: the next attempt's has its own past
            drive(steps, task)
    except BaseException as error:  # noqa: BLE001  an interrupt that hit between two attempts
        cut_off(task, error)
    task.seconds = monotonic() - begun
    running.reset(token)


def drive(steps: Life, task: Any) -> None:
    """Do what a life says, by calling. `task`: one, or a batch, whose arguments change along the
    way."""
    function = task.plan.function
    try:
        step = next(steps)
        while True:
            if step is None:
                try:
                    value = function(**task.arguments)
                except BaseException as error:  # noqa: BLE001  the generator decides
                    step = steps.throw(error)
                else:
                    step = steps.send(value)
            else:
                time.sleep(step)
                step = next(steps)
    except StopIteration:
        return


async def arun(task: Task) -> None:
    """Carry a task out by awaiting: the driver of pools of coroutines."""
    plan: Plan = task.plan
    steps: Life | None = None
    token = running.set(task)
    task.begun = begun = monotonic()
    try:
        task.attempt += 1
        try:
            value = await plan.function(**task.arguments)
        except BaseException as error:  # noqa: BLE001  whatever a task raises is its outcome
            steps = life(task, meant(error, task))
        else:
            if plan.keeps:
                task.value = value
            task.state = SUCCEEDED
        if steps is not None:  # not while the error is handled: the next attempt's has its own past
            await adrive(steps, task)
    except BaseException as error:  # noqa: BLE001  an interrupt that hit between two attempts
        cut_off(task, meant(error, task))
    task.seconds = monotonic() - begun
    running.reset(token)


async def adrive(steps: Life, task: Any) -> None:
    """Do what a life says, by awaiting."""
    function = task.plan.function
    try:
        step = next(steps)
        while True:
            if step is None:
                try:
                    value = await function(**task.arguments)
                except BaseException as error:  # noqa: BLE001  the generator decides
                    step = steps.throw(meant(error, task))
                else:
                    step = steps.send(value)
            else:
                await asyncio.sleep(step)
                step = next(steps)
    except StopIteration:
        return


def meant(error: BaseException, task: Any) -> BaseException:
    """Return what a cancelled coroutine was cancelled with; any other error as it is.

    Raises it on when the pool itself ends: then the task has no outcome, and its message goes back.
    """
    if isinstance(error, GeneratorExit) or task.interrupted is asyncio.CancelledError:
        raise error
    if isinstance(error, asyncio.CancelledError) and task.interrupted is not None:
        cause: BaseException = task.interrupted()
        task.interrupted = None
        uncancel = getattr(asyncio.current_task(), "uncancel", None)
        if uncancel is not None:
            uncancel()
        return cause.with_traceback(error.__traceback__)
    return error


def cut_off(task: Task, error: BaseException) -> None:
    """Note the outcome of a task that an interrupt hit outside of its function, unless it has
    one."""
    if task.state == RUNNING:
        judge(task, error, here=False)


def interrupted(task: Task, error: BaseException | None = None) -> None:
    """Note the outcome of a task whose run was cut off before it could note one; by default that it
    ran too long, or (it may run for ever) that nobody wants it any more."""
    judge(
        task,
        error or (TaskCancelled() if task.plan.options.timeout is None else TaskTimeout()),
        here=False,
    )
    if task.state == CANCELLED:
        return
    if task.state not in (FAILED, RETRY):
        task.state = FAILED


def concluded(tasks: Sequence[Task]) -> Sequence[Task]:
    """Return the tasks of a run that has ended, each with an outcome."""
    for task in tasks:
        if task.state == RUNNING:
            interrupted(task)
    return tasks
