"""Batch consuming: several messages carried out by one call, whose function gets the list of their
arguments.

A batch that fails is not judged as a whole: its messages are tried one by one, each with attempts
of its own, so that one bad message costs its neighbours nothing but the time.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from time import monotonic

from fbcli.engine.current import running
from fbcli.engine.lifecycle import (
    Life,
    adrive,
    begin,
    cut_off,
    drive,
    failed,
    failure_of,
    interrupted,
    judge,
    life,
    meant,
    succeed,
)
from fbcli.engine.plan import Plan
from fbcli.errors import TaskCancelled
from fbcli.task import CANCELLED, RELEASED, RUNNING, Task

log = logging.getLogger("fbcli.task")


class Batch:
    """Tasks that are carried out together. To a pool it is one task; `task_id` is that of the task
    it is working on."""

    __slots__ = (
        "arguments",
        "interrupted",
        "plan",
        "seconds",
        "task",
        "task_id",
        "tasks",
        "unwanted",
        "whole",
    )

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.plan: Plan = tasks[0].plan
        self.interrupted: type[BaseException] | None = None
        self.seconds = 0.0
        self.unwanted: frozenset[str] = frozenset()
        """Ids of those of its tasks that have been cancelled."""
        self.all()

    def all(self) -> None:
        """Work on all tasks at once."""
        self.whole = True
        self.task = self.tasks[0]
        self.task_id = self.task.task_id
        self.arguments = {self.plan.rows: [task.arguments for task in self.tasks]}

    def only(self, task: Task) -> None:
        """Work on one task alone."""
        self.whole = False
        self.task = task
        self.task_id = task.task_id
        self.arguments = {self.plan.rows: [task.arguments]}

    def cut_off(self, error: BaseException) -> None:
        """Note the outcomes when an interrupt hit outside of the function. What was not meant by it
        goes back."""
        for task in self.tasks:
            if (
                task.state == RUNNING
                and isinstance(error, TaskCancelled)
                and task.task_id not in self.unwanted
            ):
                task.state = RELEASED
            else:
                cut_off(task, error)

    def given_up(self, error: BaseException | None) -> None:
        """Note the outcomes when its call is left behind: it ran too long or (`error`) was
        cancelled. What has an outcome keeps it, and what else it would have tried goes back."""
        for task in self.tasks:
            if task.state != RUNNING:
                continue
            if task.task_id in self.unwanted:
                interrupted(task, TaskCancelled())
            elif error is None and (self.whole or task is self.task):
                task.attempt += self.whole
                interrupted(task)
            else:
                task.state = RELEASED

    def __copy__(self) -> Batch:
        """Return it as it stands, for a call that is left behind and may still change this one."""
        copied = Batch([copy.copy(task) for task in self.tasks])
        copied.unwanted = self.unwanted
        if not self.whole:
            copied.only(copied.tasks[[task is self.task for task in self.tasks].index(True)])
        return copied

    @property
    def attempt(self) -> int:
        return self.task.attempt

    @attempt.setter
    def attempt(self, value: int) -> None:
        self.task.attempt = value


def batch_life(batch: Batch) -> Life:
    """Lead all tasks of a batch to their outcomes; to be driven like `life`."""
    tasks, plan = batch.tasks, batch.plan
    if len(tasks) > 1:
        begin(batch.task)
        try:
            value = yield None
        except GeneratorExit:  # it is let go: the messages go back
            raise
        except BaseException as error:  # noqa: BLE001  whatever a batch raises, its tasks have their say
            failed(batch.task)
            failure = failure_of(error, plan)
            if batch.unwanted:
                log.info(
                    "a batch of %d was interrupted, since some of it was cancelled; trying the rest"
                    " one by one",
                    len(tasks),
                )
            else:
                log.warning(
                    "a batch of %d failed: %s: %s; trying its messages one by one",
                    len(tasks),
                    failure.error_type,
                    failure.error,
                )
        else:
            each = (
                value
                if isinstance(value, list) and len(value) == len(tasks)
                else [value] * len(tasks)
            )
            for task, own in zip(tasks, each, strict=True):
                task.attempt += 1
                succeed(task, own)
            return
    for task in tasks:
        if task.state != RUNNING:
            continue
        if task.task_id in batch.unwanted:
            judge(task, TaskCancelled())
            continue
        batch.only(task)
        yield from life(task)
        if isinstance(task.value, list) and len(task.value) == 1:
            task.value = task.value[0]
        if task.state == CANCELLED and batch.unwanted and task.task_id not in batch.unwanted:
            task.state = RELEASED  # the interrupt was meant for the one before


def run_batch(batch: Batch) -> None:
    """Carry a batch out by calling: the driver of pools of threads."""
    token = running.set(batch)
    begun = monotonic()
    try:
        drive(batch_life(batch), batch)
    except BaseException as error:  # noqa: BLE001  an interrupt that hit between two attempts
        batch.cut_off(error)
    _time(batch, begun)
    running.reset(token)


async def arun_batch(batch: Batch) -> None:
    """Carry a batch out by awaiting: the driver of pools of coroutines."""
    token = running.set(batch)
    begun = monotonic()
    try:
        await adrive(batch_life(batch), batch)
    except BaseException as error:  # noqa: BLE001  an interrupt that hit between two attempts
        batch.cut_off(meant(error, batch))
    _time(batch, begun)
    running.reset(token)


def _time(batch: Batch, begun: float) -> None:
    """Share the time out among the tasks."""
    batch.seconds = monotonic() - begun
    for task in batch.tasks:
        task.seconds = batch.seconds / len(batch.tasks)


class BatchGatherer:
    """Collects tasks until there are `size` of one kind, or the first has waited `wait` seconds.
    Used by the intake's thread."""

    def __init__(self, size: int, wait: float) -> None:
        self.size = size
        self._wait = wait
        self._waiting: dict[int, tuple[float, list[Task]]] = {}

    def add(self, tasks: Sequence[Task], now: float) -> None:
        """Take tasks in at `now` (monotonic seconds). Those with different options are not called
        together."""
        for task in tasks:
            self._waiting.setdefault(id(task.plan), (now, []))[1].append(task)

    def ready(self, now: float) -> list[Batch]:
        """Return the batches that are full, or whose time has come."""
        batches: list[Batch] = []
        for kind, (since, tasks) in list(self._waiting.items()):
            whole = len(tasks) if now >= since + self._wait else len(tasks) // self.size * self.size
            batches += [
                Batch(tasks[start : start + self.size]) for start in range(0, whole, self.size)
            ]
            if whole == len(tasks):
                del self._waiting[kind]
            elif whole:
                self._waiting[kind] = now, tasks[whole:]
        return batches

    def again(self) -> float | None:
        """Return the monotonic time at which the next batch is due without being full."""
        return min((since + self._wait for since, _ in self._waiting.values()), default=None)

    def take_back(self) -> list[Task]:
        """Return all that is waiting, and forget it."""
        taken = [task for _, tasks in self._waiting.values() for task in tasks]
        self._waiting.clear()
        return taken
