"""What controls take for a task in the store, so that no two of the fleet do the same at once;
given back when the task has its outcome.

A claim is the task's own: it is known by a token that no other claim of the consumer has. So
whatever is asked of the store may be asked again when its answer was lost. A task notes under which
space it holds which key, so that nothing is asked for that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from fbcli.controls.base import Place
from fbcli.stores.base import GRANTED, Store, Writes
from fbcli.task import Task

LEASE_BEATS = 3.0
"""Claims of a dead consumer are free again after so many heartbeats: then its messages are back,
too."""

_tokens = count(1)


class Claims:
    """The claims of one consumer in one space. Used by the intake's thread; a service of the
    process keeps them."""

    def __init__(self, store: Store, space: str, owner: str, lease: float, limit: int = 1) -> None:
        self.space = space
        self._store = store
        self._owner = owner
        self._lease = lease
        self._limit = limit

    @classmethod
    def at(cls, place: Place, space: str, *, limit: int = 1) -> Claims:
        """Return the claims of a consumer, whose lease is as long as its heartbeat wants."""
        return cls(place.store, space, place.owner, place.heartbeat * LEASE_BEATS, limit)

    def take(self, tasks: Sequence[Task], keys: Sequence[str]) -> Sequence[int]:
        """Claim a key for each task; return the store's answers, `GRANTED` for those that hold it
        already."""
        space = self.space
        asking, asked = tasks, keys
        if any(task.claims and space in task.claims for task in tasks):
            pairs = [
                (task, key)
                for task, key in zip(tasks, keys, strict=True)
                if not (task.claims and space in task.claims)
            ]
            asking, asked = [task for task, _ in pairs], [key for _, key in pairs]
        for task in asking:
            if not task.token:
                task.token = str(next(_tokens))
        answers = self._store.claim(
            space,
            asked,
            [task.token for task in asking],
            owner=self._owner,
            lease=self._lease,
            limit=self._limit,
        )
        for task, key, answer in zip(asking, asked, answers, strict=True):
            if answer == GRANTED:
                self.note(task, key)
        if asking is tasks:
            return answers
        left = iter(answers)
        asked_for = set(map(id, asking))
        return [next(left) if id(task) in asked_for else GRANTED for task in tasks]

    def note(self, task: Task, key: str) -> None:
        """Note that a task holds a key."""
        if task.claims is None:
            task.claims = {self.space: key}
        else:
            task.claims = {**task.claims, self.space: key}

    def free(self, tasks: Sequence[Task], writes: Writes) -> None:
        """Give back what these tasks hold."""
        writes.free(self.space, *self._held(tasks), owner=self._owner)

    def mark(self, tasks: Sequence[Task], ttl: float | None, writes: Writes) -> None:
        """Mark what these tasks hold as done."""
        writes.mark(self.space, *self._held(tasks), owner=self._owner, ttl=ttl)

    def _held(self, tasks: Sequence[Task]) -> tuple[list[str], list[str]]:
        """Return the keys that are held here, and by which tokens."""
        space = self.space
        holders = [task for task in tasks if task.claims and space in task.claims]
        return (
            [task.claims[space] for task in holders if task.claims],
            [task.token for task in holders],
        )
