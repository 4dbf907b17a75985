"""The life of one task, written once, without any waiting of its own: attempts, timeout, retry, outcome.

`life` is a generator that says what to do next; two thin drivers do it, one by calling, one by awaiting. A call that succeeds at
once, with no control around it, never enters the generator: that is the hot path.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import traceback
from collections.abc import Generator
from time import perf_counter
from typing import Any

from fbcli.controls.retry import Next
from fbcli.engine.current import running
from fbcli.engine.plan import Plan
from fbcli.errors import TaskTimeout
from fbcli.task import FAILED, RETRY, SUCCEEDED, Failure, Task

log = logging.getLogger("fbcli.task")

TRACEBACK_LINES = 20
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

Life = Generator[float | None, Any, None]
"""Yields None: call the function and send what it returned, or throw what it raised. Yields seconds: wait so long."""


def life(task: Task, error: BaseException | None = None) -> Life:
    """Lead a task to its outcome. `error`: what the first attempt, made by the hot path, has raised."""
    plan: Plan = task.plan
    while True:
        if error is None:
            task.attempt += 1
            try:
                if plan.around is None:
                    value = yield None
                else:
                    with plan.around(task):
                        value = yield None
            except BaseException as raised:  # noqa: BLE001  whatever a task raises is its outcome
                error = raised
            else:
                succeed(task, value)
                return
        following = judge(task, error)
        if not following.here:
            return
        task.retried += 1
        error = None
        if following.wait:
            yield following.wait


def succeed(task: Task, value: Any) -> None:
    """Note a success."""
    task.state = SUCCEEDED
    task.failure = None
    if task.plan.keeps:
        task.value = value


def judge(task: Task, error: BaseException, *, here: bool = True) -> Next:
    """Note a failed attempt in the task, and say what follows. `here` False: not in this slot in any case."""
    plan: Plan = task.plan
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
            f"next in {following.wait:.2g} s" if following.wait else "trying again",
        )
    return following


def failure_of(error: BaseException, plan: Plan) -> Failure:
    """Return an error as text, with the part of its traceback that is the user's."""
    text = str(error)
    if isinstance(error, TaskTimeout) and not error.args:
        text = f"ran longer than its timeout of {plan.options.timeout:g} s"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_OWN)] or list(frames)
    lines = "".join(traceback.format_list(own)).splitlines()[-TRACEBACK_LINES:]
    lines.append(f"{type(error).__qualname__}: {text}")
    return Failure(type(error).__qualname__, _clean(text), _clean("\n".join(lines)))


def _clean(text: str) -> str:
    """Return text that can be written as UTF-8: names of files may hold bytes that are none (lone surrogates)."""
    return text.encode("utf-8", "backslashreplace").decode()


def run(task: Task) -> None:
    """Carry a task out by calling: the driver of pools of threads."""
    plan: Plan = task.plan
    token = running.set(task)
    begun = perf_counter()
    try:
        if plan.around is None:
            task.attempt += 1
            try:
                value = plan.function(**task.arguments)
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its outcome
                _drive(life(task, error), task)
            else:
                task.state = SUCCEEDED
                if plan.keeps:
                    task.value = value
        else:
            _drive(life(task), task)
    except BaseException as error:  # noqa: BLE001  an interrupt that hit between two attempts
        judge(task, error, here=False)
    task.seconds = perf_counter() - begun
    running.reset(token)


def _drive(steps: Life, task: Task) -> None:
    function, arguments = task.plan.function, task.arguments
    try:
        step = next(steps)
        while True:
            if step is None:
                try:
                    value = function(**arguments)
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
    token = running.set(task)
    begun = perf_counter()
    try:
        if plan.around is None:
            task.attempt += 1
            try:
                value = await plan.function(**task.arguments)
            except BaseException as error:  # noqa: BLE001  whatever a task raises is its outcome
                await _adrive(life(task, _meant(error, task)), task)
            else:
                task.state = SUCCEEDED
                if plan.keeps:
                    task.value = value
        else:
            await _adrive(life(task), task)
    except BaseException as error:  # noqa: BLE001  an interrupt that hit between two attempts
        judge(task, _meant(error, task), here=False)
    task.seconds = perf_counter() - begun
    running.reset(token)


async def _adrive(steps: Life, task: Task) -> None:
    function, arguments = task.plan.function, task.arguments
    try:
        step = next(steps)
        while True:
            if step is None:
                try:
                    value = await function(**arguments)
                except BaseException as error:  # noqa: BLE001  the generator decides
                    step = steps.throw(_meant(error, task))
                else:
                    step = steps.send(value)
            else:
                await asyncio.sleep(step)
                step = next(steps)
    except StopIteration:
        return


def _meant(error: BaseException, task: Task) -> BaseException:
    """Return what a cancelled coroutine was cancelled with; any other error as it is.

    Raises it on when the pool itself ends: then the task has no outcome, and its message goes back.
    """
    if isinstance(error, GeneratorExit) or task.interrupted is asyncio.CancelledError:
        raise error
    if isinstance(error, asyncio.CancelledError) and task.interrupted is not None:
        meant, task.interrupted = task.interrupted(), None
        uncancel = getattr(asyncio.current_task(), "uncancel", None)
        if uncancel is not None:
            uncancel()
        return meant
    return error


def interrupted(task: Task) -> None:
    """Note the outcome of a task whose run was cut off before it could note one."""
    judge(task, TaskTimeout(), here=False)
    if task.state not in (FAILED, RETRY):
        task.state = FAILED
