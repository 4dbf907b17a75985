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
        held = [place for place, task in enumerate(tasks) if task.claims and space in task.claims]
        if not held:
            return self._take(tasks, keys)
        asking = sorted(set(range(len(tasks))).difference(held))
        answers = [GRANTED] * len(tasks)
        if asking:
            taken = self._take([tasks[place] for place in asking], [keys[at] for at in asking])
            for place, answer in zip(asking, taken, strict=True):
                answers[place] = answer
        return answers

    def _take(self, tasks: Sequence[Task], keys: Sequence[str]) -> Sequence[int]:
        space = self.space
        tokens = [task.token or _named(task) for task in tasks]
        answers = self._store.claim(
            space, keys, tokens, owner=self._owner, lease=self._lease, limit=self._limit
        )
        for task, key, answer in zip(tasks, keys, answers, strict=True):
            if answer == GRANTED:
                if task.claims is None:
                    task.claims = {space: key}
                else:
                    task.claims = {**task.claims, space: key}
        return answers

    def free(self, tasks: Sequence[Task], writes: Writes) -> None:
        """Give back what these tasks hold."""
        writes.free(self.space, *self._held(tasks), owner=self._owner)

    def mark(self, tasks: Sequence[Task], ttl: float | None, writes: Writes) -> None:
        """Mark what these tasks hold as done."""
        writes.mark(self.space, *self._held(tasks), owner=self._owner, ttl=ttl)

    def _held(self, tasks: Sequence[Task]) -> tuple[list[str], list[str]]:
        """Return the keys that are held here, and by which tokens."""
        space = self.space
        keys: list[str] = []
        tokens: list[str] = []
        for task in tasks:
            claims = task.claims
            if claims is not None and space in claims:
                keys.append(claims[space])
                tokens.append(task.token)
        return keys, tokens


def _named(task: Task) -> str:
    """Give a task its token, and return it."""
    task.token = token = str(next(_tokens))
    return token
