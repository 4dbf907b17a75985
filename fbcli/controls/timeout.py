"""Timeout: an attempt that runs longer is interrupted, and has failed. One timer thread serves a whole pool, and interrupts what
has been cancelled as well."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from fbcli.clock import SYSTEM, Clock
from fbcli.controls.base import NEVER, Around
from fbcli.errors import TaskCancelled, TaskTimeout
from fbcli.task import RUNNING, Task

GRACE = 1.0
"""Seconds that an interrupted call has to end before it is given up: it is then inside a call in C, which cannot be interrupted."""

SWEEP = 1024
"""Entries of the heap below which those of ended attempts are left to go in their own time."""

Strike = Callable[[Task, type[BaseException]], bool]
GiveUp = Callable[[Task], bool]

_armed: dict[int, Deadline] = {}
"""Those of the tasks that run in this process, by `id(task)`: only tasks with a timeout, or that are interrupted, have one."""


def deadline_of(task: object) -> Deadline | None:
    """Return the deadline of the running attempt of a task (or bundle); None: it has none."""
    return _armed.get(id(task))


class Deadline:
    """When one attempt is interrupted, and whether it was. Use as a context; it is armed until the context ends."""

    __slots__ = ("_clock", "_lock", "due", "ended", "entry", "struck", "task")

    def __init__(self, task: Task, due: float, lock: threading.Condition, clock: Clock) -> None:
        self.task = task
        self.due = due
        """When the attempt times out (monotonic seconds)."""
        self.entry = due
        """The time of its valid entry in the heap."""
        self.struck: type[BaseException] | None = None
        """What it has been interrupted with."""
        self.ended = False
        self._lock = lock
        self._clock = clock
        _armed[id(task)] = self

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """The attempt has ended. Cheap: the entry leaves the heap later."""
        self.ended = True
        if _armed.get(id(self.task)) is self:
            del _armed[id(self.task)]

    def left(self) -> float:
        """Return the seconds until the attempt times out."""
        return self.due - self._clock.monotonic()

    def unix(self) -> float:
        """Return when that is (Unix seconds)."""
        return self._clock.now() + self.left()

    def extend(self, seconds: float) -> bool:
        """Let the attempt time out so many seconds later; False: it is too late, or nothing limits it. From any thread."""
        with self._lock:
            if self.ended or self.struck or self.due == NEVER:
                return False
            self.due += seconds
            return True

    @property
    def cancelled(self) -> bool:
        """Whether the task was interrupted since nobody wants it any more."""
        return self.struck is not None and issubclass(self.struck, TaskCancelled)


class Deadlines:
    """Interrupts tasks at their deadlines, and gives up on those that do not react. Its thread starts with the first one.

    `strike` raises an exception in a running task, `give_up` leaves one that did not react behind; both return whether they did.
    """

    def __init__(self, strike: Strike, give_up: GiveUp, clock: Clock = SYSTEM) -> None:
        self._strike = strike
        self._give_up = give_up
        self._clock = clock
        self._heap: list[tuple[float, int, Deadline]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._sweep_at = SWEEP

    def arm(self, task: Task, seconds: float) -> Deadline:
        """Interrupt `task` in so many seconds, unless disarmed before."""
        deadline = Deadline(task, self._clock.monotonic() + seconds, self._changed, self._clock)
        self._enter(deadline, deadline.due)
        return deadline

    @staticmethod
    def disarm(deadline: Deadline) -> None:
        """The attempt has ended."""
        deadline.end()

    def strike_now(self, task: Any, exception: type[BaseException]) -> bool:
        """Interrupt a task (or bundle) at once with `exception`, whether it has a timeout or not; one that does not react is given
        up like one that has timed out. False: it does not run any more, or was interrupted before. From any thread."""
        with self._changed:
            deadline = _armed.get(id(task)) or Deadline(task, NEVER, self._changed, self._clock)
            if deadline.struck is not None:
                return False
            deadline.struck = exception
        if self._strike(task, exception):
            self._enter(deadline, self._clock.monotonic() + GRACE)
            return True
        if deadline.due == NEVER:
            deadline.end()
        else:
            deadline.struck = None
        return False

    def fire_due(self, now: float) -> float | None:
        """Act on all that is due at `now` (monotonic); return the time of the next deadline."""
        strikes, stuck = self._due(now)
        for deadline in strikes:
            self._strike(deadline.task, TaskTimeout)
        for deadline in stuck:
            if _has_outcome(deadline.task) or self._give_up(deadline.task):
                deadline.end()
        with self._changed:
            for deadline in (*strikes, *stuck):
                if not deadline.ended:
                    self._push(deadline, now + GRACE)
            return self._heap[0][0] if self._heap else None

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._changed:
            self._closed = True
            for _, _, deadline in self._heap:
                deadline.end()
            self._heap.clear()
            self._changed.notify()

    def _due(self, now: float) -> tuple[list[Deadline], list[Deadline]]:
        """Return the attempts whose time is over, and those that were interrupted and have not ended."""
        strikes: list[Deadline] = []
        stuck: list[Deadline] = []
        with self._changed:
            while self._heap and (self._heap[0][0] <= now or self._is_void(self._heap[0])):
                entry = heapq.heappop(self._heap)
                deadline = entry[2]
                if self._is_void(entry):
                    continue
                if deadline.struck is not None:
                    stuck.append(deadline)
                elif deadline.due > now:
                    self._push(deadline, deadline.due)
                else:
                    deadline.struck = TaskTimeout
                    strikes.append(deadline)
        return strikes, stuck

    def _enter(self, deadline: Deadline, at: float) -> None:
        """Have it looked at then; start the thread, or wake it where that is sooner than what it waits for."""
        with self._changed:
            self._push(deadline, at)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="fb-deadlines", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is deadline:
                self._changed.notify()

    def _push(self, deadline: Deadline, at: float) -> None:
        deadline.entry = at
        heapq.heappush(self._heap, (at, next(self._order), deadline))
        if len(self._heap) >= self._sweep_at:
            self._heap = [entry for entry in self._heap if not self._is_void(entry)]
            heapq.heapify(self._heap)
            self._sweep_at = max(SWEEP, 2 * len(self._heap))

    @staticmethod
    def _is_void(entry: tuple[float, int, Deadline]) -> bool:
        """Whether the attempt has ended, or has another entry."""
        at, _, deadline = entry
        return deadline.ended or deadline.entry != at

    def _watch(self) -> None:
        while not self._closed:
            self.fire_due(self._clock.monotonic())
            with self._changed:
                wait = self._heap[0][0] - self._clock.monotonic() if self._heap else None
                if not self._closed and (wait is None or wait > 0):
                    self._changed.wait(wait)


def _has_outcome(task: Any) -> bool:
    """Whether a task, or all of a bundle, has its outcome."""
    return all(each.state != RUNNING for each in getattr(task, "tasks", (task,)))


class Timeout(Around):
    """`seconds` for each attempt."""

    def __init__(self, seconds: float, deadlines: Deadlines) -> None:
        self.seconds = seconds
        self._deadlines = deadlines

    def around(self, task: Task) -> AbstractContextManager[None]:
        return self._deadlines.arm(task, self.seconds)
