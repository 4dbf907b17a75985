"""What controls take for a task in the store, so that no two of the fleet do the same at once;
given back when the task has its outcome.

A task notes under which space it holds which key, so that no claim is taken twice or given back
twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from fbcli.controls.base import Place
from fbcli.stores.base import Claim, Store
from fbcli.task import Task

LEASE_BEATS = 3.0
"""Claims of a dead consumer are free again after so many heartbeats: then its messages are back,
too."""


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
    def at(cls, place: Place, space: str, *, owner: str | None = None, limit: int = 1) -> Claims:
        """Return the claims of a consumer (or of another owner), whose lease is as long as its
        heartbeat wants."""
        return cls(place.store, space, owner or place.owner, place.heartbeat * LEASE_BEATS, limit)

    def take(self, tasks: Sequence[Task], keys: Sequence[str]) -> list[Claim]:
        """Claim a key for each task; granted to those that hold it already."""
        space = self.space
        asking = [
            index
            for index, task in enumerate(tasks)
            if task.claims is None or space not in task.claims
        ]
        answers = [Claim("granted")] * len(tasks)
        if asking:
            asked = [keys[index] for index in asking]
            claims = self._store.claim(
                space, asked, owner=self._owner, lease=self._lease, limit=self._limit
            )
            for index, answer in zip(asking, claims, strict=True):
                answers[index] = answer
                if answer.state == "granted":
                    task = tasks[index]
                    task.claims = {**(task.claims or {}), space: keys[index]}
        return answers

    def free(self, tasks: Sequence[Task]) -> None:
        """Give back what these tasks hold."""
        held = self.held(tasks)
        if held:
            self._store.free(self.space, [key for _, key in held], owner=self._owner)
            self.forget(held)

    def mark(self, tasks: Sequence[Task], ttl: float | None) -> None:
        """Mark what these tasks hold as done."""
        held = self.held(tasks)
        if held:
            self._store.mark(self.space, [key for _, key in held], owner=self._owner, ttl=ttl)
            self.forget(held)

    def held(self, tasks: Sequence[Task]) -> list[tuple[Task, str]]:
        """Return those that hold a key here, with it."""
        return [
            (task, key)
            for task in tasks
            if task.claims and (key := task.claims.get(self.space)) is not None
        ]

    def forget(self, held: Sequence[tuple[Task, str]]) -> None:
        for task, _ in held:
            assert task.claims is not None
            task.claims = {space: key for space, key in task.claims.items() if space != self.space}
