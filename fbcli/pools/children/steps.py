"""What becomes of each task in a pool of child processes: its attempts, the waits between them, its
end."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from fbcli.pools.base import T
from fbcli.pools.children.wire import End

T_contra = TypeVar("T_contra", contravariant=True)

Steps = Generator[float | None, Any, None]
"""Leads a task to its end. Yields None: make the call, and send me its value or throw me its error.
Yields seconds: wait so long."""

ENDED = -1.0


class Translator(Protocol[T_contra]):
    """What the pool must be told of its tasks, of which it knows nothing."""

    def steps(self, task: T_contra) -> Steps:
        """Return what leads a task to its end. It is asked for when the first attempt is certain to
        be made."""

    def guarded(self, task: T_contra) -> bool:
        """Whether its attempts must begin together with their calls, and not wait in a child (it
        has a timeout, say)."""

    def request(self, task: T_contra, *, begun: bool) -> bytes:
        """Return the call to make now, as JSON. `begun`: the steps have begun the attempt."""

    def value(self, task: T_contra, value: msgspec.Raw) -> Any:
        """Return what the call has returned; JSON's null when nobody wants to know."""

    def error(self, task: T_contra, error: msgspec.Raw) -> BaseException:
        """Return what the call has raised."""

    def cut_off(self, task: T_contra, error: BaseException) -> None:
        """Note the outcome of a task that was interrupted between two attempts."""

    def ran(self, task: T_contra, seconds: float) -> None:
        """Note how long it ran."""


class Call(Generic[T]):
    """One task on its way through the pool."""

    __slots__ = ("began", "interrupted_with", "seconds", "steps", "task", "waiting")

    def __init__(self, task: T) -> None:
        self.task = task
        self.steps: Steps | None = None
        """Made when its first attempt is certain."""
        self.interrupted_with: type[BaseException] | None = None
        """What its attempt was interrupted with."""
        self.began = 0.0
        """When its attempt was handed to a child (monotonic seconds)."""
        self.seconds = 0.0
        """How long it ran, its attempts and the waits between them together."""
        self.waiting = False
        """Whether it is between two attempts."""

    def drop(self) -> None:
        """Leave the task without an outcome."""
        if self.steps is not None:
            self.steps.close()


class Attempts(Generic[T]):
    """The tasks of a pool that have begun and that no child has. Used under the pool's lock, but
    for `conclude`."""

    def __init__(self, translator: Translator[T]) -> None:
        self._translator = translator
        self.due: deque[Call[T]] = deque()
        """Those that need a child now."""
        self.ended: list[Call[T]] = []
        self._waiting: list[tuple[float, int, Call[T]]] = []
        """Between two attempts: a heap, by the time of the next."""
        self._order = itertools.count()

    def __iter__(self) -> Iterator[Call[T]]:
        yield from self.due
        yield from (call for _, _, call in self._waiting)

    def waiting(self) -> int:
        """Count those that are between two attempts."""
        return len(self._waiting)

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next attempt; None: nothing waits."""
        return self._waiting[0][0] - now if self._waiting else None

    def begin(self, call: Call[T]) -> bool:
        """Begin the first attempt; False when the task has ended without one."""
        call.steps = self._translator.steps(call.task)
        try:
            next(call.steps)
        except StopIteration:
            self.ended.append(call)
            return False
        return True

    def conclude(self, call: Call[T], end: End | None, error: BaseException | None) -> float:
        """Let the steps take note of how an attempt, or the wait after it, has ended.

        Returns the seconds until the next attempt, 0 or more; or `ENDED`.
        """
        waited, call.waiting = call.waiting, False
        try:
            if call.steps is None:
                call.steps = self._translator.steps(call.task)
                next(call.steps)
            if end is not None:
                call.seconds += end.seconds
                error = self._error(call, end) if end.failed else None
            elif not waited:
                call.seconds += time.monotonic() - call.began
            call.interrupted_with = None
            if error is not None:
                step = call.steps.throw(error)
            elif end is not None:
                step = call.steps.send(self._translator.value(call.task, end.outcome))
            else:
                step = next(call.steps)
        except StopIteration:
            return ENDED
        except BaseException as passed:  # noqa: BLE001  an interrupt between two attempts: steps let it pass
            self._translator.cut_off(call.task, passed)
            return ENDED
        return step or 0.0

    def _error(self, call: Call[T], end: End) -> BaseException:
        """Return what a call has raised; the one that it was interrupted with tells where that
        was."""
        remote = self._translator.error(call.task, end.outcome)
        if not end.interrupted or call.interrupted_with is None:
            return remote
        error = call.interrupted_with()
        error.__cause__ = remote.__cause__ or remote
        return error

    def follow(self, call: Call[T], wait: float, now: float) -> None:
        """Have done what `conclude` said."""
        if wait == ENDED:
            self.ended.append(call)
        elif not wait:
            self.due.append(call)
        else:
            call.waiting = True
            call.seconds += wait
            heapq.heappush(self._waiting, (now + wait, next(self._order), call))

    def take_waited(self, now: float) -> list[Call[T]]:
        """Return those that have waited long enough, and forget them."""
        taken = []
        while self._waiting and self._waiting[0][0] <= now:
            taken.append(heapq.heappop(self._waiting)[2])
        return taken

    def withdraw(self, call: Call[T]) -> None:
        """Do not make its next attempt."""
        if call.waiting:
            self._waiting = [entry for entry in self._waiting if entry[2] is not call]
            heapq.heapify(self._waiting)
        else:
            self.due.remove(call)
