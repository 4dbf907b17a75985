"""Per-key concurrency: so many calls at once for each value of one argument, counted over the whole
fleet."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fbcli.controls.base import ALL_MAY, Admission, Control, Place, Verdict, Wait
from fbcli.controls.claims import Claims
from fbcli.stores.base import GRANTED, Writes
from fbcli.stores.keys import key_of, per_key_space
from fbcli.task import Task
from fbcli.values import kinds
from fbcli.values.declaration import option
from fbcli.values.per_key import PerKey


class PerKeyControl(Control):
    """Its option."""

    max_per_key: PerKey | None = option(
        None,
        kinds.per_key(),
        "Rate",
        "Most calls at once for each value of an argument, on all hosts: customer_id=2.",
    )

    def admission(self, place: Place, carried: Collection[str]) -> Admission | None:
        if self.max_per_key is None:
            return None
        argument, limit = self.max_per_key
        space = per_key_space(place.queue, argument)
        return MaxPerKey(Claims.at(place, space, limit=limit), argument)


class MaxPerKey(Admission):
    """A call over the limit waits until another one with the same value has ended."""

    name = "max_per_key"

    def __init__(self, claims: Claims, argument: str) -> None:
        self.space = claims.space
        self._claims = claims
        self._argument = argument
        self._full = Wait(f"as many calls as may be with the same {argument} are running")

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        answers = self._claims.take(
            tasks, [key_of(task.arguments, (self._argument,)) for task in tasks]
        )
        if answers.count(GRANTED) == len(tasks):
            return ALL_MAY
        return [None if answer == GRANTED else self._full for answer in answers]

    def close(self, tasks: Sequence[Task], writes: Writes) -> None:
        self._claims.free(tasks, writes)
