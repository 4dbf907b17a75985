"""From deliveries to tasks that may run: decoded, checked, and admitted by the controls. The rest
gets its outcome here, unrun.

Used by the intake's thread only.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fbcli.broker import Delivery
from fbcli.clock import Clock
from fbcli.controls.base import ALL_MAY, NEVER, Admission, Drop, Later, Verdict, Wait
from fbcli.controls.cancel import Cancel
from fbcli.controls.catalogue import CARRIED
from fbcli.engine.holds import Held, by_control
from fbcli.engine.plan import Plan
from fbcli.errors import BadMessage, FbError, Unavailable
from fbcli.message import decode, new_task_id
from fbcli.options.per_message import FOR_CONSUMERS
from fbcli.task import CANCELLED, DROPPED, FAILED, RELEASED, REQUEUED, RUNNING, Failure, Task
from fbcli.values.error_text import name_of, text_of

task_log = logging.getLogger("fbcli.task")

PLAIN_EXTRA = frozenset({"task_id", "publish_time"})
"""Keys of `extra` that change nothing about how a task runs."""

PLANNED = FOR_CONSUMERS | CARRIED
"""Keys of `extra` with which a message has a plan of its own."""

ASK_AGAIN = 0.2
"""Seconds after which tasks that wait for others are asked about again, when nothing of this
process has ended before."""

BACK = 1.0
"""Seconds, about, for which a task goes back to the broker when too many wait here for others
already."""


class _Waiting(NamedTuple):
    """A task that an admission control holds."""

    task: Task
    by: str
    reason: str
    since: float
    """Unix time."""


PlanFor = Callable[[dict[str, Any]], Plan]


class Admitter:
    """`ended` takes the tasks that do not run."""

    def __init__(
        self,
        plan: Plan,
        plan_for: PlanFor,
        cancel: Cancel,
        ended: Callable[[Task], None],
        clock: Clock,
        waiting_room: int,
    ) -> None:
        self._plan = plan
        self._plan_for = plan_for
        self._cancel = cancel
        self._ended = ended
        self._clock = clock
        self._waiting_room = waiting_room
        self._held: list[_Waiting] = []
        """Until others have ended."""
        self._before: dict[int, _Waiting] = {}
        """Those that waited when they were asked about last, by the id of the object."""
        self._unasked: list[Task] = []
        """Not judged yet, since the store could not be reached."""
        self._ask_at = 0.0
        self._stirred = False
        """Whether something has ended since those that wait were asked about."""
        self.suspicious = False
        """Whether there were messages that have been delivered as often as they may be."""

    @property
    def held(self) -> int:
        """How many tasks it holds."""
        return len(self._held) + len(self._unasked)

    @property
    def waiting(self) -> list[Task]:
        """The tasks that are held until others have ended."""
        return [waiting.task for waiting in self._held]

    def holds(self) -> list[Held]:
        """Return why, and since when, tasks wait here. From any thread."""
        return by_control(
            (waiting.by, waiting.reason, waiting.task.task_id, waiting.since)
            for waiting in list(self._held)
        )

    @property
    def stuck(self) -> bool:
        """Whether the store could not be asked."""
        return bool(self._unasked)

    def receive(self, deliveries: Sequence[Delivery]) -> list[Task]:
        """Return the tasks that may run. Raises `Unavailable`, with nothing lost: they are returned
        by `again`."""
        tasks: list[Task] = []
        add, refuse, plan = tasks.append, self._plan.signature.refuse, self._plan
        cap, converts = plan.options.max_deliveries, plan.signature.converts
        special = bool(plan.admissions)
        self.suspicious &= bool(self.held)
        for delivery in deliveries:
            try:
                arguments, extra = decode(delivery.body)
                reason = refuse(arguments)
                if reason is not None:
                    raise BadMessage(reason)
                task_id = extra.get("task_id")
                if type(task_id) is not str:
                    task_id = new_task_id() if task_id is None else str(task_id)
                if converts:
                    arguments = plan.signature.convert(arguments)
                task = Task(delivery, task_id, arguments, extra, plan)
                if delivery.deliveries >= cap:
                    if delivery.deliveries > cap:
                        raise BadMessage(
                            f"delivered {delivery.deliveries - 1} times, and each time its worker"
                            " died before it was settled"
                        )
                    self.suspicious = True
                if not extra.keys() <= PLAIN_EXTRA:
                    special |= self._set_apart(task)
                add(task)
            except FbError as error:
                self._refuse(delivery, error)
        if self._cancel.wanted:
            tasks = self.sift(tasks)
        return self._admit(tasks) if special else tasks

    def _set_apart(self, task: Task) -> bool:
        """Apply what a message sets for itself; True when admission controls have a say in it."""
        extra = task.extra
        if not extra.keys().isdisjoint(PLANNED):
            task.plan = self._plan_for(extra)
        attempts = extra.get("attempts", 0)
        task.attempt = attempts if type(attempts) is int and attempts > 0 else 0
        return bool(task.plan.admissions)

    def _refuse(self, delivery: Delivery, error: FbError) -> None:
        """Send a message that no call can be made of to the dead letters, with the reason."""
        try:
            _, extra = decode(delivery.body)
            task_id = str(extra.get("task_id") or new_task_id())
        except BadMessage:
            extra, task_id = {}, new_task_id()
        plan = self._plan_for({"unique": True}) if "unique" in extra else self._plan
        task = Task(delivery, task_id, {}, extra, plan, state=FAILED)
        task.failure = Failure(name_of(error), text_of(error))
        task_log.error("refused: %s", error, extra={"task_id": task_id, "queue": self._plan.queue})
        self._ended(task)

    # admission

    def learn(self, tasks: Sequence[Task], now: float) -> None:
        """Take note that something has ended: others may have waited for it."""
        self._stirred = True

    def again(self, now: float) -> list[Task]:
        """Ask anew about those that wait, when something has ended, or it is time. `now` is
        monotonic. Raises `Unavailable`."""
        stirred, self._stirred = self._stirred, False
        if not self.held or (not stirred and not self._unasked and now < self._ask_at):
            return []
        tasks = [*self.waiting, *self._unasked]
        self._before = {id(waiting.task): waiting for waiting in self._held}
        self._held, self._unasked = [], []
        try:
            return self._admit(self.sift(tasks))
        finally:
            self._before = {}

    def ask_at(self) -> float:
        """Return when `again` is worth a call (monotonic seconds)."""
        return self._ask_at if self.held else NEVER

    def must_sift(self) -> bool:
        """Return whether requests to cancel have come that unstarted tasks were not compared with;
        whoever asks does that."""
        fresh, self._cancel.fresh = self._cancel.fresh, False
        return fresh

    def sift(self, tasks: Sequence[Task]) -> list[Task]:
        """Return those of unstarted tasks that nobody has cancelled meanwhile."""
        kept = []
        for task in tasks:
            if task.task_id in self._cancel.wanted:
                self._cancelled(task)
            else:
                kept.append(task)
        return kept

    def take_back(self) -> list[Task]:
        """Return all that it holds, and forget it."""
        taken = [*self.waiting, *self._unasked]
        self._held, self._unasked = [], []
        return taken

    def _admit(self, tasks: list[Task]) -> list[Task]:
        """Ask the admission controls; a task that may not run gets its outcome here, and no
        attempt."""
        groups: dict[int, list[Task]] = {}
        for task in tasks:
            groups.setdefault(id(task.plan), []).append(task)
        passed: list[Task] = []
        rest = list(groups.values())
        try:
            while rest:
                passed += self._pass(rest[0])
                rest.pop(0)
        except Unavailable:
            waiting = {id(each.task) for each in self._held}
            left = (
                task
                for group in rest
                for task in group
                if task.state == RUNNING and id(task) not in waiting
            )
            self._unasked += [*passed, *left]
            raise
        finally:
            self._ask_at = self._clock.monotonic() + ASK_AGAIN
        return passed

    def _pass(self, tasks: list[Task]) -> list[Task]:
        """Return those of tasks with one plan that all of its controls let pass."""
        left = tasks
        for control in tasks[0].plan.admissions:
            if not left:
                break
            left = self._ask(control, left)
        return left

    def _ask(self, control: Admission, tasks: list[Task]) -> list[Task]:
        now = self._clock.now()
        verdicts = control.admit(tasks, now)
        if verdicts is ALL_MAY:
            return tasks
        passed = []
        for task, verdict in zip(tasks, verdicts, strict=True):
            if verdict is None:
                passed.append(task)
            else:
                self._turn_away(task, control, verdict, now)
        return passed

    def _turn_away(self, task: Task, control: Admission, verdict: Verdict, now: float) -> None:
        if isinstance(verdict, Wait):
            if len(self._held) < self._waiting_room:
                before = self._before.get(id(task))
                since = before.since if before is not None and before.by == control.name else now
                self._held.append(_Waiting(task, control.name, verdict.reason, since))
                return
            task.state, task.delay = RELEASED, BACK * (0.5 + random.random())
        elif isinstance(verdict, Later):
            task.state, task.delay = REQUEUED, max(0.0, verdict.at - now)
        elif isinstance(verdict, Drop):
            task.state, task.failure = DROPPED, Failure("Dropped", verdict.reason)
            task_log.info(
                "dropped: %s",
                verdict.reason,
                extra={"task_id": task.task_id, "queue": task.plan.queue},
            )
        self._ended(task)

    def _cancelled(self, task: Task) -> None:
        task.state, task.failure = CANCELLED, Failure("Cancelled", "cancelled before it started")
        task_log.info(
            "cancelled before it started", extra={"task_id": task.task_id, "queue": task.plan.queue}
        )
        self._ended(task)
