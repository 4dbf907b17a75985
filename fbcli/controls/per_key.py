"""Per-key concurrency: so many calls at once for each value of one argument, counted over the whole
fleet."""

from __future__ import annotations

from collections.abc import Sequence

from fbcli.controls.base import Admission, Verdict, Wait
from fbcli.controls.claims import Claims
from fbcli.stores.keys import key_of
from fbcli.task import Task


class MaxPerKey(Admission):
    """A call over the limit waits until another one with the same value has ended."""

    def __init__(self, claims: Claims, argument: str) -> None:
        self._claims = claims
        self._argument = argument
        self._full = Wait(f"as many calls as may be with the same {argument} are running")

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        answers = self._claims.take(
            tasks, [key_of(task.arguments, (self._argument,)) for task in tasks]
        )
        return [None if answer.state == "granted" else self._full for answer in answers]

    def close(self, tasks: Sequence[Task]) -> None:
        self._claims.free(tasks)
