"""Dedupe: a call that has succeeded is not made again, and while it runs its like waits.

Calls are told apart by their arguments, by some of them, or by the message's own `dedupe_key`. The
mark is made on success only, before the message leaves the broker: a crash in between means a call
that is made twice, never one that is not made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fbcli.controls.base import ALL_MAY, Admission, Control, Drop, Place, Verdict, Wait
from fbcli.controls.claims import Claims
from fbcli.stores.base import DONE, GRANTED, Writes
from fbcli.stores.keys import PUSHER, dedupe_space, key_of, unique_space
from fbcli.task import ENDED, SUCCEEDED, Task
from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option

_SAME = Drop("duplicate: the same call has succeeded before")
_RUNNING = Wait("the same call is running")


class DedupeControl(Control):
    """Its options."""

    dedupe: bool = option(
        False,
        kinds.switch(),
        "Dedupe",
        "Drop a message whose call has succeeded before, or wait while it runs.",
    )
    dedupe_key: tuple[str, ...] | None = option(
        None,
        kinds.names(),
        "Dedupe",
        "The arguments that tell calls apart, like user_id; by default all.",
        needs=("dedupe",),
    )
    dedupe_ttl: float | None = option(
        None,
        kinds.seconds(above=0),
        "Dedupe",
        "How long a success is remembered (seconds); by default for ever.",
        needs=("dedupe",),
    )

    def admission(self, place: Place, carried: Collection[str]) -> Admission | None:
        if not self.dedupe:
            return None
        space = dedupe_space(place.queue)
        fading = () if self.dedupe_ttl is None else (space, unique_space(place.queue))
        return Dedupe(Claims.at(place, space), self.dedupe_key, self.dedupe_ttl, fading)


class DedupeMessage(Declaration):
    """What a message may set for itself."""

    dedupe_key: str | None = option(None, kinds.text())
    """What counts as the same call, instead of its arguments."""


class Dedupe(Admission):
    """`names`: the arguments that count (None: all); `ttl`: seconds a success is remembered (None:
    for ever)."""

    name = "dedupe"

    def __init__(
        self,
        claims: Claims,
        names: Sequence[str] | None,
        ttl: float | None,
        fading: Sequence[str] = (),
    ) -> None:
        self.space = claims.space
        self.fading = fading
        self._claims = claims
        self._names = names
        self._ttl = ttl

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        names = self._names
        keys = [
            own
            if isinstance(own := task.extra.get("dedupe_key"), str)
            else key_of(task.arguments, names)
            for task in tasks
        ]
        answers = self._claims.take(tasks, keys)
        if answers.count(GRANTED) == len(tasks):
            return ALL_MAY
        return [
            None if answer == GRANTED else _SAME if answer == DONE else _RUNNING
            for answer in answers
        ]

    def close(self, tasks: Sequence[Task], writes: Writes) -> None:
        done = [task for task in tasks if task.state == SUCCEEDED]
        self._claims.mark(done, self._ttl, writes)
        if len(done) < len(tasks):
            self._claims.free([task for task in tasks if task.state != SUCCEEDED], writes)


class UniqueControl(DedupeControl):
    """Goes by what the message carries, and by the options of dedupe."""

    carries = ("unique",)

    def admission(self, place: Place, carried: Collection[str]) -> Admission | None:
        if "unique" not in carried:
            return None
        space = unique_space(place.queue)
        return Unique(space, PUSHER, remembered=self.dedupe, ttl=self.dedupe_ttl)


class Unique(Admission):
    """Gives back the claim of a message that was pushed as unique (`extra.unique`: its key) when it
    has ended. It was claimed at push, by the task's id.

    `remembered`: for calls that are deduped, too, whether a success goes on refusing their like at
    push (and how long: `ttl`).
    """

    name = "unique"

    def __init__(self, space: str, owner: str, *, remembered: bool, ttl: float | None) -> None:
        self._space = space
        self._owner = owner
        self._remembered = remembered
        self._ttl = ttl

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        return ALL_MAY

    def close(self, tasks: Sequence[Task], writes: Writes) -> None:
        ended = [
            (task, key)
            for task in tasks
            if task.state in ENDED and isinstance(key := task.extra.get("unique"), str)
        ]
        done = [each for each in ended if self._remembered and each[0].state == SUCCEEDED]
        freed = [each for each in ended if not (self._remembered and each[0].state == SUCCEEDED)]
        writes.mark(self._space, *_named(done), owner=self._owner, ttl=self._ttl)
        writes.free(self._space, *_named(freed), owner=self._owner)


def _named(ended: Sequence[tuple[Task, str]]) -> tuple[list[str], list[str]]:
    return [key for _, key in ended], [task.task_id for task, _ in ended]
