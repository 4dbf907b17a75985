"""Delay: a message that arrives before its `extra.delay_until` goes back to wait, whoever published it."""

from __future__ import annotations

from fbcli.controls.base import Admission, Later
from fbcli.task import Task

TOLERANCE = 0.01
"""Seconds: the clocks of brokers and consumers never agree to the microsecond."""


class Delay(Admission):
    """Only for messages that carry `delay_until`."""

    def admit(self, task: Task, now: float) -> Later | None:
        until = task.extra.get("delay_until")
        if isinstance(until, (int, float)) and until > now + TOLERANCE:
            return Later(until)
        return None
