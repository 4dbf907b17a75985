"""Expiry: a message older than its `expires` is dropped unrun, and counted."""

from __future__ import annotations

from collections.abc import Sequence

from fbcli.controls.base import Admission, Drop, Verdict
from fbcli.task import Task
from fbcli.values.durations import span


class Expiry(Admission):
    """Measures from `extra.publish_time`; a message without one never expires."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        return [self._verdict(task.extra.get("publish_time"), now) for task in tasks]

    def _verdict(self, published: object, now: float) -> Drop | None:
        if not isinstance(published, int | float) or now - published <= self.seconds:
            return None
        return Drop(
            f"expired: published {span(now - published)} ago, its limit is {span(self.seconds, 3)}"
        )
