"""Observers of settled tasks: events today, history, metrics, traces and alerts to come. Each hears
of them in a thread of its own, so that none holds up or breaks the engine, or another one."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from fbcli.clock import SYSTEM, Clock
from fbcli.controls.base import OPEN, Gate, Opening, Shut
from fbcli.task import Task

log = logging.getLogger("fbcli.consumer")

Hear = Callable[[Sequence[Task], float], None]
"""Takes tasks of one consumer that have been settled together, and when that was (Unix seconds).
They are not changed any more."""

MOST_UNHEARD = 50_000
"""Tasks that wait to be heard of, for a listener that is too slow."""

GATHER = 0.02
"""Seconds between two looks for more: to wake a thread for each batch would cost as much as many
tasks."""

STUCK = 5.0
"""Seconds without any progress after which a listener is not waited for at the end."""


class Listener:
    """One observer, for any number of consumers. Thread-safe.

    What it is too slow to hear of is left out, and it is told how much; where nothing may be left
    out (`all`), consumers take no more work until it has caught up.
    """

    def __init__(self, name: str, hear: Hear, *, all: bool = False, clock: Clock = SYSTEM) -> None:
        self.name = name
        self._hear = hear
        self.all = all
        self._clock = clock
        self._unheard: deque[tuple[Sequence[Task], float]] = deque()
        self._count = 0
        """Of the tasks in there, about."""
        self._left_out = 0
        self._failed = False
        self._bell = threading.Event()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._heard_at = 0.0
        """Monotonic time of its last sign of life, once it shall end."""

    @property
    def behind(self) -> bool:
        """Whether no more work is to be taken for its sake."""
        return self.all and self._count >= MOST_UNHEARD

    def tell(self, tasks: Sequence[Task], at: float) -> None:
        """Have it hear of these tasks, soon."""
        if self._count >= MOST_UNHEARD and not self.all:
            self._leave_out(len(tasks))
            return
        self._unheard.append((tasks, at))
        self._count += len(tasks)
        if not self._bell.is_set():
            self._bell.set()
            if self._thread is None:
                self._start()

    def end(self) -> bool:
        """Have it hear of all that is left, and no more; return whether it has, or will not.
        To be called again and again."""
        if not self._ending.is_set():
            self._heard_at = self._clock.monotonic()
            self._ending.set()
            self._bell.set()
        thread = self._thread
        if thread is None or not thread.is_alive():
            return True
        if self._clock.monotonic() < self._heard_at + STUCK:
            return False
        log.error("%s: stuck; %s tasks were not told of", self.name, f"{self._count:,}")
        return True

    def _start(self) -> None:
        with self._changing:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name=f"fb-{self.name}", daemon=True
                )
                self._thread.start()

    def _serve(self) -> None:
        while True:
            self._bell.wait()
            self._bell.clear()
            while self._unheard:
                tasks, at = self._unheard.popleft()
                self._hear_of(tasks, at)
                self._count -= len(tasks)
                self._heard_at = self._clock.monotonic()
            if self._ending.wait(GATHER) and not self._unheard:
                return

    def _hear_of(self, tasks: Sequence[Task], at: float) -> None:
        try:
            self._hear(tasks, at)
        except Exception as error:  # its fault must not end it, and is told once
            if not self._failed:
                self._failed = True
                log.error("%s has failed, and goes on: %r", self.name, error, exc_info=error)

    def _leave_out(self, count: int) -> None:
        if not self._left_out:
            log.warning("%s is too slow: some tasks are left out there", self.name)
        self._left_out += count

    @property
    def left_out(self) -> int:
        """How many tasks it has not heard of."""
        return self._left_out


class CatchUp(Gate):
    """Takes no more work while a listener that shall hear of all is too far behind."""

    name = "events"

    LOOK = 0.1
    """Seconds between two looks whether it has caught up."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def fetchable(self, now: float) -> Opening:
        return Opening(0, now + self.LOOK) if self._listener.behind else OPEN

    def shut(self, now: float) -> Shut | None:
        if not self._listener.behind:
            return None
        return Shut("waiting", f"until {self._listener.name} have been taken: their reader is slow")


class Listeners:
    """Those of one consumer."""

    def __init__(self, listeners: Sequence[Listener], clock: Clock) -> None:
        self._listeners = tuple(listeners)
        self._clock = clock

    def gates(self) -> list[Gate]:
        """Return what holds back work for their sake."""
        return [CatchUp(listener) for listener in self._listeners if listener.all]

    def tell(self, tasks: Sequence[Task], now: float = 0.0) -> None:
        """Have all of them hear of settled tasks. A `Learner` of the intake."""
        if self._listeners:
            at = self._clock.now()
            for listener in self._listeners:
                listener.tell(tasks, at)
