"""One pool for several functions: each has its share, which looks like a pool of its own; the slots
belong to whoever has work.

Tasks of all shares start in the order in which they came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeAlias

from fbcli.pools.base import Done, Pool, T

Make: TypeAlias = Callable[[int, Done[T]], Pool[T]]


class SharedPool(Generic[T]):
    """`make` makes the pool when the first share is taken; `owner_of` says to which share a task
    belongs."""

    def __init__(self, make: Make[T], owner_of: Callable[[T], Hashable]) -> None:
        self._make = make
        self.owner_of = owner_of
        self.lock = threading.Lock()
        self._shares: dict[Hashable, Done[T]] = {}
        self._wanted: dict[Hashable, int] = {}
        """How many slots each share wants."""
        self._pool: Pool[T] | None = None

    def share(self, owner: Hashable, size: int, done: Done[T]) -> Share[T]:
        """Return the share of `owner`. The pool has as many slots as the one wants that wants the
        most."""
        with self.lock:
            if self._pool is None:
                self._pool = self._make(size, self._done)
            self._shares[owner], self._wanted[owner] = done, size
            self._fit(self._pool)
            return Share(self, self._pool, owner, done)

    def resize(self, owner: Hashable, size: int) -> None:
        """Change how many slots a share wants."""
        with self.lock:
            if self._pool is not None and owner in self._shares:
                self._wanted[owner] = size
                self._fit(self._pool)

    def leave(self, owner: Hashable) -> None:
        """End a share; the pool ends with the last one. Nobody is told any more of what still runs
        for it."""
        with self.lock:
            if self._pool is None or self._shares.pop(owner, None) is None:
                return
            del self._wanted[owner]
            if self._shares:
                self._fit(self._pool)
            else:
                self._pool.close()
                self._pool = None

    def _fit(self, pool: Pool[T]) -> None:
        size = max(self._wanted.values())
        if size != pool.size:
            pool.resize(size)

    def _done(self, task: T, last: bool) -> None:
        done = self._shares.get(self.owner_of(task))
        if done is not None:
            done(task, last)


class Share(Pool[T]):
    """One function's view of a shared pool."""

    def __init__(self, hub: SharedPool[T], pool: Pool[T], owner: Hashable, done: Done[T]) -> None:
        self._hub = hub
        self._pool = pool
        self._owner = owner
        super().__init__(pool.size, done)

    @property
    def size(self) -> int:
        return self._pool.size

    @size.setter
    def size(self, size: int) -> None:
        """What a share is made with is the pool's own size."""

    def submit(self, tasks: Sequence[T]) -> None:
        self._pool.submit(tasks)

    def nudge(self, brisk: bool) -> float | None:
        return self._pool.nudge(brisk)

    def pending(self) -> int:
        return self._pool.pending()

    def busy(self) -> int:
        return self._pool.busy()

    def running(self) -> list[T]:
        return [task for task in self._pool.running() if self._hub.owner_of(task) == self._owner]

    def take_back(self) -> list[T]:
        with self._hub.lock:
            taken = self._pool.take_back()
            others = [task for task in taken if self._hub.owner_of(task) != self._owner]
            if others:
                self._pool.submit(others)
        if others:
            self._pool.nudge(False)
        return [task for task in taken if self._hub.owner_of(task) == self._owner]

    def interrupt(self, task: T, exception: type[BaseException]) -> bool:
        return self._pool.interrupt(task, exception)

    def abandon(self, task: T) -> T | None:
        return self._pool.abandon(task)

    def resize(self, size: int) -> None:
        self._hub.resize(self._owner, size)

    def close(self) -> None:
        self._hub.leave(self._owner)
