"""Timeout: an attempt that runs longer is interrupted, and has failed. One thread looks after all
that a pool runs; what has been cancelled is interrupted in the same way.

An attempt only notes when it begins. Whoever looks knows by that when it is over, and no attempt
that begins later can be over sooner than the shortest timeout there is: so the next look is then at
the latest, and calls that end in time cost nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from fbcli.clock import SYSTEM, Clock
from fbcli.controls.base import NEVER, Control
from fbcli.errors import TaskCancelled, TaskTimeout
from fbcli.task import RUNNING, Run
from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option

GRACE = 1.0
"""Seconds that an interrupted call has to end before it is given up: it is then inside a call in C,
which cannot be interrupted."""

Interrupt = Callable[[Run, type[BaseException]], bool]
GiveUp = Callable[[Run], bool]

_changing = threading.Lock()


TIMEOUT = kinds.seconds(above=0)


class TimeoutControl(Control):
    """Its option; what comes of it is in each plan (`engine.plan`)."""

    timeout: float | None = option(
        None, TIMEOUT, "Failure", "Seconds after which a call is interrupted and has failed."
    )


class TimeoutMessage(Declaration):
    """What a message may set for itself."""

    timeout: float | None = option(None, TIMEOUT)


class Deadline:
    """When one attempt is interrupted, and whether it was. Made when somebody asks for it; until
    then its task says it all."""

    __slots__ = ("due", "give_up_at", "interrupted_with")

    def __init__(self, due: float) -> None:
        self.due = due
        """When the attempt times out (monotonic seconds); NEVER: nothing limits it."""
        self.interrupted_with: type[BaseException] | None = None
        """What it has been interrupted with."""
        self.give_up_at = NEVER
        """When it is left behind, if it has been interrupted and runs on."""

    def unix(self, clock: Clock = SYSTEM) -> float:
        """Return when it times out (Unix seconds)."""
        return clock.now() + self.due - clock.monotonic()

    def extend(self, seconds: float) -> bool:
        """Let the attempt time out so many seconds later; False: it is too late, or nothing limits
        it. From any thread."""
        with _changing:
            if self.interrupted_with is not None or self.due == NEVER:
                return False
            self.due += seconds
            return True

    @property
    def cancelled(self) -> bool:
        """Whether the task was interrupted since nobody wants it any more."""
        return self.interrupted_with is not None and issubclass(
            self.interrupted_with, TaskCancelled
        )


def deadline_of(run: Run) -> Deadline | None:
    """Return the deadline of the attempt that a task (or batch) is making; None: it makes none, or
    nothing limits it."""
    task = run.task
    if task.state != RUNNING:
        return None
    with _changing:
        if task.deadline is None and task.plan.timeout is not None and task.begun != NEVER:
            task.deadline = Deadline(task.begun + task.plan.timeout)
        deadline: Deadline | None = task.deadline
        return deadline


class Deadlines:
    """Interrupts what a pool runs at its deadlines, and gives up on what does not react. Its thread
    starts when it is needed.

    `running` returns the tasks (or batches) that run; `interrupt` raises an exception in one of
    them, `abandon` leaves one that did not react behind; both return whether they did.
    """

    def __init__(
        self,
        running: Callable[[], Sequence[Run]],
        interrupt: Interrupt,
        abandon: GiveUp,
        clock: Clock = SYSTEM,
    ) -> None:
        self._running = running
        self._interrupt = interrupt
        self._give_up = abandon
        self._clock = clock
        self._shortest = NEVER
        self._changed = threading.Condition()
        self._look_at = NEVER
        self._thread: threading.Thread | None = None
        self._closed = False

    def expect(self, seconds: float) -> None:
        """Look after attempts that may take so long: to be said before the first of them begins."""
        self._shortest = min(self._shortest, seconds)
        self._look_by(self._clock.monotonic() + seconds)

    def interrupt_now(self, run: Run, exception: type[BaseException]) -> bool:
        """Interrupt a task (or batch) at once with `exception`, whether it has a timeout or not;
        one that does not react is given up like one that has timed out. False: it does not run any
        more, or was interrupted before. From any thread."""
        task = run.task
        deadline = deadline_of(run)
        with _changing:
            if deadline is None:
                deadline = task.deadline = Deadline(NEVER)
            if task.state != RUNNING or deadline.interrupted_with is not None:
                return False
            deadline.interrupted_with = exception
        if not self._interrupt(run, exception):
            deadline.interrupted_with = None
            return False
        deadline.give_up_at = self._clock.monotonic() + GRACE
        self._look_by(deadline.give_up_at)
        return True

    def look(self, now: float) -> float:
        """Act on all that is due at `now` (monotonic); return when to look again at the latest."""
        again = now + self._shortest
        for run in self._running():
            task = run.task
            deadline: Deadline | None = task.deadline
            if task.state != RUNNING:
                continue
            if deadline is not None and deadline.interrupted_with is not None:
                if now >= deadline.give_up_at:
                    if self._give_up(run):
                        continue
                    deadline.give_up_at = now + GRACE
                again = min(again, deadline.give_up_at)
            elif task.plan.timeout is not None:
                due: float = task.begun + task.plan.timeout if deadline is None else deadline.due
                if now >= due:
                    self.interrupt_now(run, TaskTimeout)
                    due = now + GRACE
                again = min(again, due)
        return again

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _look_by(self, at: float) -> None:
        """Have it looked then at the latest; start the thread, or wake it where that is sooner than
        what it waits for."""
        with self._changed:
            if at >= self._look_at:
                return
            self._look_at = at
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="fb-deadlines", daemon=True
                )
                self._thread.start()
            else:
                self._changed.notify()

    def _watch(self) -> None:
        while not self._closed:
            with self._changed:
                wait = self._look_at - self._clock.monotonic()
                if wait > 0:
                    self._changed.wait(None if self._look_at == NEVER else wait)
                    continue
                self._look_at = NEVER
            self._look_by(self.look(self._clock.monotonic()))
