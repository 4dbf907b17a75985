"""From outcomes to a settled broker, in the order that loses nothing: (1) what must be kept is
recorded and confirmed, (2) then the delivery is settled."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Collection, Sequence
from typing import Any

from fbcli.broker import Action, Inbox, Settlement
from fbcli.clock import Clock
from fbcli.message import replace_extra
from fbcli.stores.base import Result, Store, Writes
from fbcli.task import (
    CANCELLED,
    DROPPED,
    ENDED,
    FAILED,
    RELEASED,
    RETRY,
    STATE_NAMES,
    SUCCEEDED,
    Task,
)
from fbcli.values.encoding import embedded

log = logging.getLogger("fbcli.task")

HOST = socket.gethostname()
WORKER = f"{HOST}:{os.getpid()}"


class Settler:
    """Settles for one consumer. Used by the intake's thread only."""

    def __init__(
        self, queue: str, inbox: Inbox, store: Store, clock: Clock, *, together: bool = False
    ) -> None:
        """`together`: the inbox takes the store's writes along (`Store.shares`)."""
        self._queue = queue
        self._together = together
        self._inbox = inbox
        self._store = store
        self._clock = clock

    def settle(self, tasks: Sequence[Task]) -> Sequence[Settlement]:
        """Record and settle a batch of tasks that have their outcome; return the settlements that
        came too late.

        Raises `Unavailable` when broker or store cannot be reached; the same batch may, and must,
        then be given again.
        """
        writes = Writes()
        for group in _by_plan(tasks):
            self._record(group, writes)
            for control in group[0].plan.closers:
                control.close(group, writes)
        also = None
        if self._together:
            also = self._store.prepared(writes)
        else:
            self._store.write(writes)
        settlements: list[Settlement] = []
        add = settlements.append
        for task in tasks:
            if task.state == SUCCEEDED or task.state == DROPPED or task.state == CANCELLED:
                add(Settlement(task.delivery))
            else:
                add(self._unfinished(task))
        return self._inbox.settle(settlements, also)

    def _record(self, tasks: Sequence[Task], writes: Writes) -> None:
        """Have the results of these tasks, all of one plan, saved."""
        plan = tasks[0].plan
        ended = ENDED if plan.keeps else (CANCELLED,)
        kept = [task for task in tasks if task.state in ended]
        if kept:
            now = self._clock.now()
            results = [self._result(task, now) for task in kept]
            writes.save_results(results, plan.options.result_ttl)

    def _result(self, task: Task, finished: float) -> Result:
        """Note: by place, which takes two thirds of the time."""
        failure = task.failure
        return Result(
            task.task_id,
            self._queue,
            STATE_NAMES[task.state],  # type: ignore[arg-type]
            embedded(task.value),
            failure.error_type if failure else "",
            failure.error if failure else "",
            failure.traceback if failure else "",
            task.attempt,
            finished - task.seconds,
            finished,
            WORKER,
        )

    def _unfinished(self, task: Task) -> Settlement:
        """Return the settlement of a task that failed or goes back."""
        delivery = task.delivery
        if task.state == FAILED:
            if not task.plan.options.dead:
                return Settlement(delivery)
            changes: dict[str, Any] = {
                "task_id": task.task_id,
                "dead": self._dead_letter_details(task),
            }
            return Settlement(delivery, Action.BURY, 0.0, replace_extra(delivery.body, changes))
        body = None
        if task.state == RETRY:
            changes = {"task_id": task.task_id, "attempts": task.attempt, "delay_until": None}
            body = replace_extra(delivery.body, changes)
        return Settlement(delivery, Action.RELEASE, task.delay, body)

    def _dead_letter_details(self, task: Task) -> dict[str, Any]:
        failure = task.failure
        return {
            "reason": failure.error if failure else STATE_NAMES[task.state],
            "error_type": failure.error_type if failure else "",
            "traceback": failure.traceback if failure else "",
            "attempts": task.attempt,
            "deliveries": task.delivery.deliveries,
            "queue": self._queue,
            "host": HOST,
            "time": self._clock.now(),
        }


def _by_plan(tasks: Sequence[Task]) -> Collection[Sequence[Task]]:
    """Return the tasks of each plan. Nearly always there is one."""
    plan = tasks[0].plan if tasks else None
    if all(task.plan is plan for task in tasks):
        return [tasks] if tasks else []
    groups: dict[int, list[Task]] = {}
    for task in tasks:
        groups.setdefault(id(task.plan), []).append(task)
    return groups.values()


def release(task: Task) -> Task:
    """Mark a task to be given back, unrun as far as anyone needs to know."""
    task.state = RELEASED
    return task
