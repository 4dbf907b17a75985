"""Delay: a message that arrives before its `extra.delay_until` goes back to wait, whoever published
it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fbcli.controls.base import Admission, Control, Later, Place, Verdict
from fbcli.task import Task
from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option

TOLERANCE = 0.01
"""Seconds: the clocks of brokers and consumers never agree to the microsecond."""


class DelayControl(Control):
    """Goes by what the message carries."""

    carries = ("delay_until",)

    def admission(self, place: Place, carried: Collection[str]) -> Admission | None:
        return Delay() if "delay_until" in carried else None


class DelayMessage(Declaration):
    """What a message may set for itself."""

    delay_until: float | None = option(None, kinds.moment())
    """Unix time before which it does not start."""


class Delay(Admission):
    """Only for messages that carry `delay_until`."""

    name = "delay"

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        return [self._verdict(task.extra.get("delay_until"), now) for task in tasks]

    @staticmethod
    def _verdict(until: object, now: float) -> Later | None:
        return Later(until) if isinstance(until, int | float) and until > now + TOLERANCE else None
