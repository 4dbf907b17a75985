"""Tells what became of tasks: every event as data for `--json`, or log lines, of which a second
sees only so many."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fbcli.clock import SYSTEM, Clock
from fbcli.task import DROPPED, FAILED, RELEASED, STATE_NAMES, SUCCEEDED, Task
from fbcli.values.durations import span
from fbcli.values.encoding import embedded

log = logging.getLogger("fbcli.task")
successes = logging.getLogger("fbcli.success")

LINES_PER_SECOND = 20
"""Successes told one by one; when there are more, they are counted."""

OnEvent = Callable[[dict[str, Any]], None]


class EventReporter:
    """Hears of the settled tasks of one queue, in the thread of a `Listener`."""

    def __init__(
        self,
        queue: str,
        on_event: OnEvent | None = None,
        *,
        quiet_success: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        self._queue = queue
        self._on_event = on_event
        self._quiet_success = quiet_success
        self._clock = clock
        self._second = 0
        self._told = 0
        self._untold = 0

    def hear(self, tasks: Sequence[Task], at: float) -> None:
        """Tell what became of these tasks, which were settled at `at` (Unix seconds)."""
        if self._on_event is not None:
            for task in tasks:
                self._on_event(self._event(task, at))
            return
        told = self._room() if not self._quiet_success else 0
        for task in tasks:
            if task.state == SUCCEEDED:
                if told > 0:
                    told -= 1
                    self._told += 1
                    successes.info("succeeded in %s", span(task.seconds), extra=self._extra(task))
                else:
                    self._untold += 1
            elif task.state == FAILED and task.failure is not None and task.attempt:
                log.error(
                    "failed for good after %d attempt%s:\n%s",
                    task.attempt,
                    "" if task.attempt == 1 else "s",
                    task.failure.traceback or task.failure.error,
                    extra=self._extra(task),
                )

    def _room(self) -> int:
        """Return how many lines this second may still see."""
        second = int(self._clock.monotonic())
        if second != self._second:
            self.finish()
            self._second, self._told = second, 0
        return LINES_PER_SECOND - self._told

    def finish(self) -> None:
        """Tell how many were left out."""
        if self._untold and not self._quiet_success:
            successes.info(
                "… and %s more succeeded", f"{self._untold:,}", extra={"queue": self._queue}
            )
        self._untold = 0

    def _extra(self, task: Task) -> dict[str, str]:
        return {"task_id": task.task_id, "queue": self._queue}

    def _event(self, task: Task, at: float) -> dict[str, Any]:
        event: dict[str, Any] = {
            "event": STATE_NAMES[task.state],
            "queue": self._queue,
            "task_id": task.task_id,
            "time": at,
        }
        if task.state not in (RELEASED, DROPPED):
            event["attempt"] = task.attempt
            event["seconds"] = round(task.seconds, 6)
        if task.plan.keeps and task.state == SUCCEEDED:
            event["value"] = embedded(task.value)
        if task.failure is not None:
            event["error_type"] = task.failure.error_type
            event["error"] = task.failure.error
            if task.state == FAILED:
                event["traceback"] = task.failure.traceback
        if task.delay:
            event["delay"] = task.delay
        return event
