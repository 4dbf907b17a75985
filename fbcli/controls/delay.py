"""Delay: a message that arrives before its `extra.delay_until` goes back to wait, whoever published
it."""

from __future__ import annotations

from collections.abc import Sequence

from fbcli.controls.base import Admission, Later, Verdict
from fbcli.task import Task

TOLERANCE = 0.01
"""Seconds: the clocks of brokers and consumers never agree to the microsecond."""


class Delay(Admission):
    """Only for messages that carry `delay_until`."""

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        return [self._verdict(task.extra.get("delay_until"), now) for task in tasks]

    @staticmethod
    def _verdict(until: object, now: float) -> Later | None:
        return Later(until) if isinstance(until, int | float) and until > now + TOLERANCE else None
