"""Timeout: an attempt that runs longer is interrupted, and has failed. One timer thread serves a whole pool."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from fbcli.clock import SYSTEM, Clock
from fbcli.controls.base import Around
from fbcli.errors import TaskTimeout
from fbcli.task import Task

GRACE = 1.0
"""Seconds that an interrupted call has to end before it is given up: it is then inside a call in C, which cannot be interrupted."""

Strike = Callable[[Task, type[BaseException]], bool]
GiveUp = Callable[[Task], bool]


class Deadline:
    """One armed timer."""

    __slots__ = ("ended", "struck", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.struck = False
        self.ended = False


class Deadlines:
    """Interrupts tasks at their deadlines, and gives up on those that do not react. Its thread starts with the first one."""

    def __init__(self, strike: Strike, give_up: GiveUp, clock: Clock = SYSTEM) -> None:
        self._strike = strike
        self._give_up = give_up
        self._clock = clock
        self._heap: list[tuple[float, int, Deadline]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def arm(self, task: Task, seconds: float) -> Deadline:
        """Interrupt `task` in so many seconds, unless disarmed before."""
        deadline = Deadline(task)
        with self._changed:
            self._push(self._clock.monotonic() + seconds, deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="fb-deadlines", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is deadline:
                self._changed.notify()
        return deadline

    @staticmethod
    def disarm(deadline: Deadline) -> None:
        """The attempt has ended. Cheap: the entry leaves the heap when its time comes."""
        deadline.ended = True

    def fire_due(self, now: float) -> float | None:
        """Act on all that is due at `now` (monotonic); return the time of the next deadline."""
        due: list[Deadline] = []
        with self._changed:
            while self._heap and (self._heap[0][2].ended or self._heap[0][0] <= now):
                deadline = heapq.heappop(self._heap)[2]
                if not deadline.ended:
                    due.append(deadline)
        for deadline in due:
            if deadline.struck:
                self._give_up(deadline.task)
            else:
                deadline.struck = True
                self._strike(deadline.task, TaskTimeout)
                with self._changed:
                    self._push(now + GRACE, deadline)
        with self._changed:
            return self._heap[0][0] if self._heap else None

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _push(self, at: float, deadline: Deadline) -> None:
        heapq.heappush(self._heap, (at, next(self._order), deadline))

    def _watch(self) -> None:
        while not self._closed:
            self.fire_due(self._clock.monotonic())
            with self._changed:
                wait = self._heap[0][0] - self._clock.monotonic() if self._heap else None
                if not self._closed and (wait is None or wait > 0):
                    self._changed.wait(wait)


class Timeout(Around):
    """`seconds` for each attempt."""

    def __init__(self, seconds: float, deadlines: Deadlines) -> None:
        self.seconds = seconds
        self._deadlines = deadlines

    def around(self, task: Task) -> AbstractContextManager[None]:
        return self._armed(task)

    @contextmanager
    def _armed(self, task: Task) -> Iterator[None]:
        deadline = self._deadlines.arm(task, self.seconds)
        try:
            yield
        finally:
            self._deadlines.disarm(deadline)
