"""Expiry: a message older than its `expires` is dropped unrun, and counted."""

from __future__ import annotations

from fbcli.controls.base import Admission, Drop
from fbcli.task import Task


class Expiry(Admission):
    """Measures from `extra.publish_time`; a message without one never expires."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def admit(self, task: Task, now: float) -> Drop | None:
        published = task.extra.get("publish_time")
        if not isinstance(published, (int, float)) or now - published <= self.seconds:
            return None
        return Drop(f"expired: published {now - published:.1f} s ago, its limit is {self.seconds:g} s")
