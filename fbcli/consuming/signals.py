"""What a consuming process does on signals, and its main loop. The truth about stopping is here,
for one process and for many:

TERM, INT: stop fetching, drain, give back what is unfinished. A second one (or QUIT): give back at
once. TSTP: fetch no more, but stay. USR1: log all stacks and the running tasks. HUP: replace the
child processes; but where there is a terminal, it means that the terminal was closed: stop.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from fbcli.engine.tally import Snapshot
from fbcli.errors import ExitCode

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
    """Watches over a `Runner` until it is done. Used in the main thread, where signals arrive.

    Note: a signal may arrive anywhere, also while this thread holds a lock of logging or of a
    channel. So the handlers do nothing; the interpreter writes the number of each signal into a
    socket, and the main loop acts on it.
    """

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
        with self._signals() as arrived:  # before anything begins that a signal should end in order
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

    @contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """Have signals arrive as bytes at the socket that this context gives; undone at its end."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        with reader, writer:
            handlers = {number: signal.signal(number, _nothing) for number in _numbers()}
            wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            try:
                yield reader
            finally:
                signal.set_wakeup_fd(wakeup)
                for number, handler in handlers.items():
                    signal.signal(number, handler)

    def _act(self, number: int) -> None:
        name = signal.Signals(number).name
        if name in ("SIGTERM", "SIGINT") and self._asked is None:
            self._asked = number
            log.warning("stopping: finishing what runs; the same signal again stops now")
            self._runner.stop()
        elif name in ("SIGTERM", "SIGINT", "SIGQUIT"):
            self._asked = self._asked or number
            log.warning("stopping now: what is unfinished goes back to the queue")
            self._runner.stop(0.0)
        elif name == "SIGTSTP":
            log.warning("quiet: fetching no more, until TERM ends it")
            self._runner.quiet()
        elif name == "SIGUSR1":
            log.warning("%s\n%s", "\n".join(self._runner.describe()), stacks())
        elif name == "SIGHUP" and self._attached:
            self._act(signal.SIGTERM)
        elif name == "SIGHUP":
            self._runner.restart()


def stacks() -> str:
    """Return what every thread is doing, innermost call last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = [
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    ]
    return "\n".join(parts)


def _numbers() -> list[signal.Signals]:
    """Return the signals of the table above that this platform has."""
    names = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGTSTP", "SIGUSR1", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _nothing(number: int, frame: Any) -> None:
    """The byte in the socket says it all."""
