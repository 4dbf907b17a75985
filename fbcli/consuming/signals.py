"""What a consuming process does on signals, and its main loop. The truth about stopping is here,
for one process and for many:

TERM, INT: stop fetching, drain, give back what is unfinished. A second one (or QUIT): give back at
once. TSTP: fetch no more, but stay. USR1: log all stacks and the running tasks. HUP: replace the
child processes; but where there is a terminal, it means that the terminal was closed: stop. Which
of them a system has, and what stands for them elsewhere, `fbcli.platform` knows.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fbcli.engine.tally import Snapshot
from fbcli.errors import ExitCode
from fbcli.platform import Request, system
from fbcli.platform.signals import arriving

log = logging.getLogger("fbcli.consumer")

TICK = 0.25
"""Seconds between two looks at the `Runner`."""
YOUNG_TICK, YOUTH = 0.02, 1.0
"""The same in the first second: a consumer that finds nothing to do shall not wait to end."""


class Runner(Protocol):
    """Who consumes: the consumers of this process, or child processes that do."""

    def start(self) -> None: ...
    def stop(self, drain: float | None = None) -> None: ...
    def quiet(self) -> None: ...
    def restart(self) -> None: ...
    def describe(self) -> list[str]: ...
    def tick(self) -> None: ...
    def over(self) -> bool: ...
    def snapshots(self) -> Mapping[str, Sequence[Snapshot]]: ...
    @property
    def failure(self) -> tuple[str, int] | None:
        """Why it ended, if not in order, and the exit code that says so."""


class SignalLoop:
    """Watches over a `Runner` until it is done. Used in the main thread, where signals arrive;
    `dump` by any."""

    def __init__(self, runner: Runner, *, show: Callable[[], None] = lambda: None) -> None:
        self._runner = runner
        self._show = show
        self._asked: int | None = None
        """The signal that asked for the stop."""
        self._begun = time.monotonic()
        self._attached = os.isatty(0)
        """Whether there is a terminal that can be closed."""

    def run(self) -> int:
        """Run the main loop to the end; return the exit code of the process."""
        # Before anything begins that a signal should end in order.
        with arriving(system.requests) as arrived:
            self._runner.start()
            while not self._runner.over():
                young = time.monotonic() - self._begun < YOUTH
                if select.select([arrived], [], [], YOUNG_TICK if young else TICK)[0]:
                    for number in arrived.recv(4096):
                        self._act(number)
                self._runner.tick()
                self._show()
        self._show()
        return self._exit_code()

    def _exit_code(self) -> int:
        if self._runner.failure is not None:
            return self._runner.failure[1]
        snapshots = [snapshot for group in self._runner.snapshots().values() for snapshot in group]
        if self._asked is not None:
            if not any(snapshot.unfinished for snapshot in snapshots):
                return ExitCode.OK
            return ExitCode.INTERRUPTED if self._asked == signal.SIGINT else ExitCode.TERMINATED
        if not any(snapshot.counts.failed for snapshot in snapshots):
            return ExitCode.OK
        return (
            ExitCode.PARTLY
            if any(snapshot.counts.succeeded for snapshot in snapshots)
            else ExitCode.FAILED
        )

    def _act(self, number: int) -> None:
        request = system.requests[number]
        if request is Request.HANG_UP and self._attached:
            number, request = signal.SIGTERM, Request.STOP
        if request is Request.STOP and self._asked is None:
            self._asked = number
            log.warning("stopping: finishing what runs; the same signal again stops now")
            self._runner.stop()
        elif request in (Request.STOP, Request.STOP_NOW):
            self._asked = self._asked or number
            log.warning("stopping now: what is unfinished goes back to the queue")
            self._runner.stop(0.0)
        elif request is Request.QUIET:
            log.warning("quiet: fetching no more, until TERM ends it")
            self._runner.quiet()
        elif request is Request.DUMP:
            self.dump()
        elif request is Request.HANG_UP:
            self._runner.restart()

    def dump(self) -> None:
        """Log what runs and what every thread is doing."""
        log.warning("%s\n%s", "\n".join(self._runner.describe()), stacks())


def stacks() -> str:
    """Return what every thread is doing, innermost call last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = [
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    ]
    return "\n".join(parts)
