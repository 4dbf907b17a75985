"""N child processes: start, watch, restart with backoff, relay stops, one merged view.

A child is any command that speaks the messages of `wire` on its standard input, a channel. When the
parent dies, the child reads the end of it and stops in order; when a child dies, the parent starts
another.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from fbcli.clock import SYSTEM, Clock
from fbcli.consuming import wire
from fbcli.consuming.wire import Instruction
from fbcli.engine.tally import Snapshot
from fbcli.errors import ExitCode
from fbcli.platform import system
from fbcli.platform.signals import how_ended
from fbcli.processes.channel import Channel
from fbcli.processes.restarts import Restarts
from fbcli.values.durations import span

log = logging.getLogger("fbcli.supervisor")

TRIES = 3
"""When so many have died in a row before any has told of itself, no other one will do better."""
GRACE = 5.0
"""Seconds beyond its drain time after which a stopping child is killed."""
HOPELESS = (ExitCode.USAGE, ExitCode.NOT_FOUND, ExitCode.UNSUPPORTED)
"""Exit codes that another start would not change."""

OnMessage = Callable[[dict[str, Any]], None]


class SupervisedProcess:
    """One child process and what it last said."""

    def __init__(
        self, command: Sequence[str], spec: object, folder: str, on_message: OnMessage
    ) -> None:
        """Raises `OSError` when the system has no room for another process."""
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        with theirs:
            try:
                self.process: subprocess.Popen[bytes] = system.start_child(
                    command, theirs, folder=folder
                )
            except OSError:
                self.channel.close()
                raise
        self.snapshots: list[Snapshot] = []
        self.failure = ""
        self.over: int | None = None
        """The exit code it has announced: it ends because its work is done."""
        self.recycled = False
        """Whether it ends in order and wants to be replaced."""
        self._on_message = on_message
        self.channel.send(spec)
        self._thread = threading.Thread(
            target=self._listen, name=f"fb-child-{self.process.pid}", daemon=True
        )
        self._thread.start()

    def _listen(self) -> None:
        while (report := self.channel.receive(wire.report)) is not None:
            if report.snapshots is not None:
                self.snapshots = report.snapshots
            elif report.said is not None:
                self._on_message(report.said)
            elif report.failure:
                self.failure = report.failure
            elif report.recycle:
                self.recycled = True
            elif report.over is not None:
                self.over = report.over

    def ended(self) -> int | None:
        """Return its exit code once it has ended and all it said has been heard."""
        code: int | None = self.process.poll()
        if code is not None:
            self._thread.join(timeout=1.0)
        return code


class Supervisor:
    """Keeps `len(specs)` children of `command` alive. A `Runner` of the `SignalLoop`."""

    def __init__(
        self,
        command: Sequence[str],
        specs: Sequence[object],
        *,
        folder: str,
        drain: float,
        endless: bool,
        on_message: OnMessage,
        clock: Clock = SYSTEM,
    ) -> None:
        """Raises `Unsupported` where there are no child processes."""
        system.check_children()
        self._command = command
        self._specs = specs
        self._folder = folder
        """Where they work."""
        self._drain = drain
        self._endless = endless
        """Whether a child that ends in order, without having been told to, is replaced too."""
        self._quiet = False
        self._on_message = on_message
        self._clock = clock
        count = len(specs)
        self._children: list[SupervisedProcess | None] = [None] * count
        self._started_at = [0.0] * count
        self._restarts = [Restarts(TRIES) for _ in specs]
        self._start_at: list[float | None] = [clock.monotonic()] * count
        self._generation = 0
        self._past: dict[str, list[Snapshot]] = {}
        """Last words of children that are gone, so that totals do not go down."""
        self._kill_at: float | None = None
        self._restarting: set[SupervisedProcess] = set()
        self._stopping = False
        self._failure: tuple[str, int] | None = None

    @property
    def failure(self) -> tuple[str, int] | None:
        """Why it ended, if not in order, and the exit code that says so."""
        return self._failure

    def pids(self) -> list[int]:
        """Return the process ids of the living children."""
        return [child.process.pid for child in self._children if child is not None]

    def start(self) -> None:
        """The first `tick` does."""

    def tick(self) -> None:
        """Start what is due, notice what has ended, kill what does not end."""
        now = self._clock.monotonic()
        for index, child in enumerate(self._children):
            start_at = self._start_at[index]
            if child is not None:
                code = child.ended()
                if code is not None:
                    self._reap(index, child, code, now)
                elif self._kill_at is not None and now >= self._kill_at:
                    log.error("process %d did not end in time: killing it", child.process.pid)
                    child.process.kill()
            elif start_at is not None and now >= start_at and not self._stopping:
                self._start(index, now)

    def _start(self, index: int, now: float) -> None:
        self._start_at[index] = None
        self._started_at[index] = now
        try:
            child = SupervisedProcess(
                self._command, self._specs[index], self._folder, self._on_message
            )
        except OSError as error:
            self._failed(index, f"a process cannot be started ({error})", now)
            return
        self._children[index] = child
        if self._quiet:
            child.channel.send(Instruction(quiet=True))

    def _reap(self, index: int, child: SupervisedProcess, code: int, now: float) -> None:
        self._children[index] = None
        self._generation += 1
        self._past[f"{child.process.pid}.{self._generation}"] = [
            msgspec.structs.replace(
                snapshot, in_flight=0, running=0, seconds=snapshot.seconds[-50:], state="stopped"
            )
            for snapshot in child.snapshots
        ]
        child.channel.close()
        if child in self._restarting:
            self._restarting.discard(child)
            self._start_at[index] = now
            return
        if self._stopping:
            return
        if child.over is not None and not child.failure:
            if self._endless or child.recycled:
                log.warning("process %d has ended; another one starts", child.process.pid)
                self._start_at[index] = now
            return
        deaf = code == ExitCode.UNREACHABLE and self._endless
        if code in HOPELESS or (child.failure and not deaf):
            reason = child.failure or f"It ended with exit code {code}."
            self._fail(f"process {child.process.pid}: {reason}", max(code, ExitCode.FAILED))
            return
        if child.snapshots:
            for each in self._restarts:
                each.proven = True
        self._failed(index, f"process {child.process.pid} {how_ended(code)}", now)

    def _failed(self, index: int, what: str, now: float) -> None:
        """Have another process started after one that has failed, unless that is of no use."""
        restarts = self._restarts[index]
        wait = restarts.failed(now, lived=now - self._started_at[index])
        if restarts.hopeless:
            self._fail(
                f"No process can start: {TRIES} in a row have failed; {what}.", ExitCode.NOT_FOUND
            )
            return
        self._start_at[index] = now + wait
        log.error("%s; another one starts in %s", what, span(wait))

    def _fail(self, reason: str, code: int) -> None:
        """End all: it is of no use to go on."""
        self._failure = reason, code
        log.error("%s", reason)
        self.stop()

    def over(self) -> bool:
        """Whether no child lives, and none will be started."""
        if any(child is not None for child in self._children):
            return False
        return self._stopping or all(start_at is None for start_at in self._start_at)

    def stop(self, drain: float | None = None) -> None:
        """Have all children stop within `drain` seconds (default: as set up)."""
        drain = self._drain if drain is None else drain
        self._stopping = True
        self._kill_at = self._clock.monotonic() + drain + GRACE
        self._tell(Instruction(stop=True, drain=drain))

    def quiet(self) -> None:
        self._quiet = True
        self._tell(Instruction(quiet=True))

    def restart(self) -> None:
        """Replace every child by a new one, each once it has drained."""
        log.warning("replacing processes %s", ", ".join(map(str, self.pids())))
        self._restarting.update(child for child in self._children if child is not None)
        self._tell(Instruction(stop=True, drain=self._drain))

    def describe(self) -> list[str]:
        """Have the children describe themselves (they log it); say who they are."""
        self._tell(Instruction(dump=True))
        return [f"supervisor {os.getpid()} of processes {', '.join(map(str, self.pids()))}"]

    def snapshots(self) -> Mapping[str, Sequence[Snapshot]]:
        """Return what each child, those that are gone included, last said of its consumers."""
        living = {
            str(child.process.pid): child.snapshots for child in self._children if child is not None
        }
        return {**self._past, **living}

    def _tell(self, instruction: Instruction) -> None:
        for child in self._children:
            if child is not None:
                child.channel.send(instruction)
