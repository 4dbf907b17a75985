"""The contract of pools: run callables side by side. A pool knows nothing of messages, brokers or
stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

Run = Callable[[Any], None]
"""Carries one task out to its end and notes the outcome in it. Never raises. Called in a worker of
the pool."""

Done = Callable[[Any], None]
"""Takes a task whose run has ended. Called once for each, from a worker; cheap and thread-safe."""


class Pool(ABC):
    """Runs tasks (objects with a `task_id`) side by side.

    `submit`, `nudge`, `take_back`, `resize` and `close` belong to one thread (the intake's); the
    rest may be called from any.
    """

    def __init__(self, size: int, done: Done) -> None:
        self.size = size
        """Most tasks that run at once."""
        self._done = done

    @abstractmethod
    def submit(self, tasks: Sequence[Any]) -> None:
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
    def running(self) -> list[Any]:
        """Return the tasks that have started and not ended."""

    def busy(self) -> int:
        """Count the slots that are taken."""
        return len(self.running())

    @abstractmethod
    def take_back(self) -> list[Any]:
        """Return the tasks that have not started, which will not start any more."""

    @abstractmethod
    def interrupt(self, task_id: str, exception: type[BaseException]) -> bool:
        """Raise `exception` inside a running task, as soon as it executes Python code. False: no
        such task runs here."""

    @abstractmethod
    def abandon(self, task_id: str) -> Any | None:
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
