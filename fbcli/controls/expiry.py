"""Expiry: a message older than its `expires` is dropped unrun, and counted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fbcli.controls.base import Admission, Control, Drop, Place, Verdict
from fbcli.task import Task
from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option
from fbcli.values.durations import span

EXPIRES = kinds.seconds(above=0)


class ExpiryControl(Control):
    """Its option."""

    expires: float | None = option(
        None, EXPIRES, "Failure", "Seconds after its publishing when a message is dropped unrun."
    )

    def admission(self, place: Place, carried: Collection[str]) -> Admission | None:
        return None if self.expires is None else Expiry(self.expires)


class ExpiryMessage(Declaration):
    """What a message may set for itself."""

    expires: float | None = option(None, EXPIRES)


class Expiry(Admission):
    """Measures from `extra.publish_time`; a message without one never expires."""

    name = "expires"

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
