"""The contract of pools: run callables side by side. A pool knows nothing of messages, brokers or
stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar


class Interruptible(Protocol):
    """What a pool must be able to note in a task. Tasks are told apart by what they are, not by an
    id: two of them may carry the same one."""

    interrupted: type[BaseException] | None
    """What it was interrupted with, where that cannot be raised in it as it is (coroutines)."""


T = TypeVar("T", bound=Interruptible)
"""The tasks of a pool."""

Execute: TypeAlias = Callable[[T], None]
"""Carries one task out to its end and notes the outcome in it. Never raises. Called in a worker of
the pool."""

Done: TypeAlias = Callable[[T, bool], None]
"""Takes a task whose run has ended, and whether no other one waits for a worker. Called once for
each, from a worker; cheap and thread-safe."""


class Pool(ABC, Generic[T]):
    """Runs tasks side by side.

    `submit`, `nudge`, `take_back`, `resize` and `close` belong to one thread (the intake's); the
    rest may be called from any.
    """

    def __init__(self, size: int, done: Done[T]) -> None:
        self.size = size
        """Most tasks that run at once."""
        self._done = done

    @abstractmethod
    def submit(self, tasks: Sequence[T]) -> None:
        """Queue a batch; as many as `size` run at once, begun in the order given."""

    @abstractmethod
    def nudge(self, brisk: bool) -> float | None:
        """Let the pool do its housekeeping. `brisk`: tasks are short, far below a millisecond.

        Returns after how many seconds at most it wants to be called again; None: not before the
        next `submit`.
        """

    @abstractmethod
    def pending(self) -> int:
        """Count the tasks that have not started."""

    @abstractmethod
    def running(self) -> list[T]:
        """Return the tasks that have started and not ended."""

    def busy(self) -> int:
        """Count the slots that are taken."""
        return len(self.running())

    @abstractmethod
    def take_back(self) -> list[T]:
        """Return the tasks that have not started, which will not start any more."""

    @abstractmethod
    def interrupt(self, task: T, exception: type[BaseException]) -> bool:
        """Raise `exception` inside this very task, as soon as it executes Python code. False: it
        does not run here (any more)."""

    @abstractmethod
    def abandon(self, task: T) -> T | None:
        """Give up on a running task that does not react: its slot is replaced, and `done` will not
        be called for it.

        Returns the task as it stands, for the caller to settle; None when it has just ended, or
        runs where nothing hangs.
        """

    @abstractmethod
    def resize(self, size: int) -> None:
        """Change how many tasks may run at once; running ones finish."""

    @abstractmethod
    def close(self) -> None:
        """Let idle workers end. What still runs is abandoned. Idempotent."""
