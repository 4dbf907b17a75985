"""What a consuming process does on signals, and its main loop. The truth about stopping is here, for one process and for many:

TERM, INT: stop fetching, drain, give back what is unfinished. A second one (or QUIT): give back at once.
TSTP: fetch no more, but stay. USR1: dump all stacks and the running tasks. HUP: restart (where there are child processes).
"""

from __future__ import annotations

import faulthandler
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from fbcli.engine.tally import Snapshot
from fbcli.errors import ExitCode

log = logging.getLogger("fbcli.consumer")

TICK = 0.25
"""Seconds between two looks at the staff."""


class Staff(Protocol):
    """Who consumes: the consumers of this process, or child processes that do."""

    def stop(self, drain: float | None = None) -> None: ...
    def quiet(self) -> None: ...
    def restart(self) -> None: ...
    def describe(self) -> list[str]: ...
    def tick(self) -> None: ...
    def over(self) -> bool: ...
    def snapshots(self) -> Mapping[str, Sequence[Snapshot]]: ...
    @property
    def failure(self) -> str: ...


class Conductor:
    """Watches over a staff until it is done. Used in the main thread (signals arrive there alone)."""

    def __init__(self, staff: Staff, *, show: Callable[[], None] = lambda: None) -> None:
        self._staff = staff
        self._show = show
        self._stir = threading.Event()
        self._asked: int | None = None
        """The signal that asked for the stop."""
        self._again = False

    def conduct(self) -> int:
        """Run the main loop to the end; return the exit code of the process."""
        with self._handlers():
            while not self._staff.over():
                self._stir.wait(TICK)
                self._stir.clear()
                self._staff.tick()
                self._show()
        self._show()
        return self._exit_code()

    def _exit_code(self) -> int:
        if self._staff.failure:
            return ExitCode.FAILED
        snapshots = [snapshot for group in self._staff.snapshots().values() for snapshot in group]
        if self._asked is not None:
            unfinished = sum(snapshot.unfinished for snapshot in snapshots)
            return 128 + self._asked if self._again or unfinished else ExitCode.OK
        if not any(snapshot.counts.failed for snapshot in snapshots):
            return ExitCode.OK
        return ExitCode.PARTLY if any(snapshot.counts.succeeded for snapshot in snapshots) else ExitCode.FAILED

    @contextmanager
    def _handlers(self) -> Iterator[None]:
        wanted: dict[str, Callable[[int, Any], None]] = {
            "SIGTERM": self._stop,
            "SIGINT": self._stop,
            "SIGQUIT": self._stop_now,
            "SIGTSTP": self._quiet,
            "SIGUSR1": self._dump,
            "SIGHUP": self._restart,
        }
        before = {}
        for name, handler in wanted.items():
            number = getattr(signal, name, None)
            if number is not None:
                before[number] = signal.signal(number, handler)
        try:
            yield
        finally:
            for number, handler_before in before.items():
                signal.signal(number, handler_before)

    def _stop(self, number: int, frame: Any) -> None:
        if self._asked is None:
            self._asked = number
            log.warning("stopping: finishing what runs; the same signal again stops now")
            self._staff.stop()
        else:
            self._stop_now(number, frame)
        self._stir.set()

    def _stop_now(self, number: int, frame: Any) -> None:
        self._asked = self._asked or number
        self._again = True
        log.warning("stopping now: what is unfinished goes back to the queue")
        self._staff.stop(0.0)
        self._stir.set()

    def _quiet(self, number: int, frame: Any) -> None:
        log.warning("quiet: fetching no more; TERM ends, CONT has no effect")
        self._staff.quiet()

    def _dump(self, number: int, frame: Any) -> None:
        for line in self._staff.describe():
            log.warning("%s", line)
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr, all_threads=True)

    def _restart(self, number: int, frame: Any) -> None:
        log.warning("restarting")
        self._staff.restart()
        self._stir.set()
