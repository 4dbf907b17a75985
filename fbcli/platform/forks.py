"""What does not survive a fork: connections, threads and locks of a client belong to the process
that made them. Either a child makes its own (`PerProcess`), or nothing is there to be inherited
(`close_at_forks`)."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, Generic, Protocol, TypeVar, cast

from fbcli.platform import system

T = TypeVar("T")


class PerProcess(Generic[T]):
    """An object of each process: what was made in a parent is not used in the children it forks,
    which make their own when they need it. Thread-safe, also when a fork came in the middle.

    A child leaves its parent's alone, and keeps it: to close it, or to let Python remove it, may
    say good-bye on the parent's own connection, or wait for threads that only the parent has
    (librdkafka). Where the library can be told to let go of it without a word, `let_go` does that.

    Note: known by the process id, looked at in each use (0.3 µs), rather than by `at_fork`, which a
    library in C that forks does not heed.
    """

    __slots__ = ("_let_go", "_owned")

    def __init__(self, let_go: Callable[[T], object] | None = None) -> None:
        self._let_go = let_go
        self._owned: dict[int, _Owned] = {}
        """By process id."""

    def get(self, make: Callable[[], T]) -> T:
        """Return this process's own; it is made when there is none, once for all threads that
        ask. Raises what `make` raises."""
        owned = self._owned.get(os.getpid()) or self._begin()
        found = owned.value
        if found is _NOTHING:
            with owned.lock:
                found = owned.value
                if found is _NOTHING:
                    found = owned.value = make()
        return cast(T, found)

    def peek(self) -> T | None:
        """Return this process's own, if there is any."""
        owned = self._owned.get(os.getpid())
        found = _NOTHING if owned is None else owned.value
        return None if found is _NOTHING else cast(T, found)

    def take(self) -> T | None:
        """Take this process's own away, to close it: the next `get` makes another. Waits for one
        that is being made."""
        owned = self._owned.get(os.getpid())
        if owned is None:
            return None
        with owned.lock:
            found, owned.value = owned.value, _NOTHING
        return None if found is _NOTHING else cast(T, found)

    def forget(self, stale: T) -> None:
        """Have the next `get` make another in the place of this one, if that has not happened
        already."""
        owned = self._owned.get(os.getpid())
        if owned is not None:
            with owned.lock:
                if owned.value is stale:
                    owned.value = _NOTHING

    def _begin(self) -> _Owned:
        """In a process that has not used it yet."""
        process = os.getpid()
        owned = self._owned.setdefault(process, _Owned())
        if self._let_go is not None:
            for other in [each for each in self._owned if each != process]:
                inherited = self._owned.pop(other, None)
                if inherited is not None and inherited.value is not _NOTHING:
                    self._let_go(inherited.value)
        return owned


class _Owned:
    """What one process has. A lock of its own, since another thread of the parent may have held the
    parent's when it forked."""

    __slots__ = ("lock", "value")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: Any = _NOTHING


_NOTHING: Any = object()


class ClosedAtForks(Protocol):
    """What must be closed while this process forks."""

    def before_fork(self) -> None:
        """Close it, and let nobody open it again until `after_fork`."""

    def after_fork(self) -> None:
        """In the parent and in the child: whoever needs it opens it again."""


def close_at_forks(resource: ClosedAtForks) -> None:
    """Have this closed before each fork, as long as it lives: for what does harm in a child that
    merely inherits it."""
    _guard_forks()
    with _guarded_lock:
        _guarded.add(resource)


_guarded: weakref.WeakSet[ClosedAtForks] = weakref.WeakSet()
_guarded_lock = threading.Lock()
_forking: list[ClosedAtForks] = []


@cache
def _guard_forks() -> None:
    system.at_fork(before=_before_fork, in_parent=_after_fork, in_child=_after_fork)


def _before_fork() -> None:
    _guarded_lock.acquire()
    for resource in list(_guarded):
        resource.before_fork()
        _forking.append(resource)


def _after_fork() -> None:
    while _forking:
        _forking.pop().after_fork()
    _guarded_lock.release()
