"""Dedupe: a call that has succeeded is not made again, and while it runs its like waits.

Calls are told apart by their arguments, by some of them, or by the message's own `dedupe_key`. The
mark is made on success only, before the message leaves the broker: a crash in between means a call
that is made twice, never one that is not made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fbcli.controls.base import Admission, Control, Drop, Place, Verdict, Wait
from fbcli.controls.claims import Claims
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
        claims = Claims.at(place, dedupe_space(place.queue))
        return Dedupe(claims, self.dedupe_key, self.dedupe_ttl)


class DedupeMessage(Declaration):
    """What a message may set for itself."""

    dedupe_key: str | None = option(None, kinds.text())
    """What counts as the same call, instead of its arguments."""


class Dedupe(Admission):
    """`names`: the arguments that count (None: all); `ttl`: seconds a success is remembered (None:
    for ever)."""

    def __init__(self, claims: Claims, names: Sequence[str] | None, ttl: float | None) -> None:
        self.space = claims.space
        self._claims = claims
        self._names = names
        self._ttl = ttl

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        answers = self._claims.take(tasks, [self.key(task) for task in tasks])
        return [
            None if state == "granted" else _SAME if state == "done" else _RUNNING
            for state, _ in answers
        ]

    def key(self, task: Task) -> str:
        """Return what tells this call from others."""
        own = task.extra.get("dedupe_key")
        return own if isinstance(own, str) else key_of(task.arguments, self._names)

    def close(self, tasks: Sequence[Task]) -> None:
        self._claims.mark([task for task in tasks if task.state == SUCCEEDED], self._ttl)
        self._claims.free([task for task in tasks if task.state != SUCCEEDED])


class UniqueControl(DedupeControl):
    """Goes by what the message carries, and by the options of dedupe."""

    carries = ("unique",)

    def admission(self, place: Place, carried: Collection[str]) -> Admission | None:
        if "unique" not in carried:
            return None
        claims = Claims.at(place, unique_space(place.queue), owner=PUSHER)
        return Unique(claims, remembered=self.dedupe, ttl=self.dedupe_ttl)


class Unique(Admission):
    """Gives back the claim of a message that was pushed as unique (`extra.unique`: its key) when it
    has ended.

    `remembered`: for calls that are deduped, too, whether a success goes on refusing their like at
    push (and how long: `ttl`).
    """

    def __init__(self, claims: Claims, *, remembered: bool, ttl: float | None) -> None:
        self._claims = claims
        self._remembered = remembered
        self._ttl = ttl

    def admit(self, tasks: Sequence[Task], now: float) -> Sequence[Verdict]:
        for task in tasks:
            self._note(task)
        return [None] * len(tasks)

    def _note(self, task: Task) -> None:
        """Note what was claimed at push. Note: what was refused or cancelled has not been asked
        about before it is closed."""
        key = task.extra.get("unique")
        if task.claims is None and isinstance(key, str):
            task.claims = {self._claims.space: key}

    def close(self, tasks: Sequence[Task]) -> None:
        ended = [task for task in tasks if task.state in ENDED]
        for task in ended:
            self._note(task)
        if self._remembered:
            self._claims.mark([task for task in ended if task.state == SUCCEEDED], self._ttl)
        self._claims.free(ended)
