"""N child processes: start, watch, restart with backoff, relay stops, one merged view.

A child is any command that speaks the small protocol of `Channel` on its standard input, a socket:
JSON, an object a line. When the parent dies, the child reads the end of it and stops in order; when
a child dies, the parent starts another.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

import msgspec

from fbcli.clock import SYSTEM, Clock
from fbcli.engine.tally import Snapshot
from fbcli.errors import ExitCode
from fbcli.platform import system
from fbcli.platform.signals import how_ended
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


class Channel:
    """Messages to and from the process at the other end. Thread-safe to send; one thread reads."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._reader: BinaryIO = end.makefile("rb")
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder(enc_hook=str).encode

    def send(self, message: Mapping[str, Any]) -> bool:
        """Send one message; False when nobody is there any more."""
        line = self._encode(message) + b"\n"
        try:
            with self._lock:
                self._socket.sendall(line)
        except OSError:
            return False
        return True

    def receive(self) -> dict[str, Any] | None:
        """Return the next message; None: the other end is closed."""
        try:
            line = self._reader.readline()
            return msgspec.json.decode(line, type=dict[str, Any]) if line.endswith(b"\n") else None
        except (OSError, msgspec.DecodeError):
            return None

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


class SupervisedProcess:
    """One child process and what it last said."""

    def __init__(
        self, command: Sequence[str], spec: Mapping[str, Any], on_message: OnMessage
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process: subprocess.Popen[bytes] = system.start_child(command, theirs)
        self.channel = Channel(ours)
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
        while (message := self.channel.receive()) is not None:
            if "snapshots" in message:
                self.snapshots = msgspec.convert(message["snapshots"], list[Snapshot])
            elif "failure" in message:
                self.failure = str(message["failure"])
            elif "recycle" in message:
                self.recycled = True
            elif "over" in message:
                self.over = int(message["over"])
            else:
                self._on_message(message)

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
        specs: Sequence[Mapping[str, Any]],
        *,
        drain: float,
        endless: bool,
        on_message: OnMessage,
        clock: Clock = SYSTEM,
    ) -> None:
        """Raises `Unsupported` where there are no child processes."""
        system.check_children()
        self._command = command
        self._specs = specs
        self._drain = drain
        self._endless = endless
        """Whether a child that ends in order, without having been told to, is replaced too."""
        self._quiet = False
        self._on_message = on_message
        self._clock = clock
        count = len(specs)
        self._children: list[SupervisedProcess | None] = [None] * count
        self._born = [0.0] * count
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
                    self._bury(index, child, code, now)
                elif self._kill_at is not None and now >= self._kill_at:
                    log.error("process %d did not end in time: killing it", child.process.pid)
                    child.process.kill()
            elif start_at is not None and now >= start_at and not self._stopping:
                self._start_at[index] = None
                self._born[index] = now
                self._children[index] = born = SupervisedProcess(
                    self._command, self._specs[index], self._on_message
                )
                if self._quiet:
                    born.channel.send({"do": "quiet"})

    def _bury(self, index: int, child: SupervisedProcess, code: int, now: float) -> None:
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
            reason = child.failure or f"a process ended with exit code {code}"
            self._fail(child, reason, max(code, ExitCode.FAILED))
            return
        if child.snapshots:
            for each in self._restarts:
                each.proven = True
        restarts = self._restarts[index]
        wait = restarts.failed(now, lived=now - self._born[index])
        how = how_ended(code)
        if restarts.hopeless:
            self._fail(
                child, f"no process can start: the last {TRIES} of them {how}", ExitCode.NOT_FOUND
            )
            return
        self._start_at[index] = now + wait
        log.error("process %d %s; another one starts in %s", child.process.pid, how, span(wait))

    def _fail(self, child: SupervisedProcess, reason: str, code: int) -> None:
        """End all: it is of no use to go on."""
        self._failure = reason, code
        log.error("process %d: %s", child.process.pid, reason)
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
        self._tell({"do": "stop", "drain": drain})

    def quiet(self) -> None:
        self._quiet = True
        self._tell({"do": "quiet"})

    def restart(self) -> None:
        """Replace every child by a new one, each once it has drained."""
        log.warning("replacing processes %s", ", ".join(map(str, self.pids())))
        self._restarting.update(child for child in self._children if child is not None)
        self._tell({"do": "stop", "drain": self._drain})

    def describe(self) -> list[str]:
        """Have the children describe themselves (they log it); say who they are."""
        self._tell({"do": "dump"})
        return [f"supervisor {os.getpid()} of processes {', '.join(map(str, self.pids()))}"]

    def snapshots(self) -> Mapping[str, Sequence[Snapshot]]:
        """Return what each child, those that are gone included, last said of its consumers."""
        living = {
            str(child.process.pid): child.snapshots for child in self._children if child is not None
        }
        return {**self._past, **living}

    def _tell(self, message: Mapping[str, Any]) -> None:
        for child in self._children:
            if child is not None:
                child.channel.send(message)
