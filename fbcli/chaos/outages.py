"""The broker taken away and brought back by the commands that the user gave: paused for a while, or
restarted."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Generator
from pathlib import Path

from fbcli.chaos.ledger import BrokerOutage
from fbcli.chaos.plan import TrialPlan
from fbcli.chaos.processes import kill_child
from fbcli.clock import Clock
from fbcli.errors import FbError
from fbcli.platform import system
from fbcli.platform.signals import how_ended

LONGEST_COMMAND = 120.0
"""Seconds after which a command has failed."""

LOG = "outages.log"


class Outages:
    """Used by one thread, and never waits, but in `end`."""

    def __init__(self, plan: TrialPlan, folder: Path, chance: random.Random, clock: Clock) -> None:
        self._plan, self._chance, self._clock = plan, chance, clock
        self._log = folder / LOG
        self._next_at = clock.monotonic() + self._gap()
        self._steps: Generator[None, None, None] | None = None
        self._running: subprocess.Popen[bytes] | None = None
        self._paused = False
        self.done: list[BrokerOutage] = []

    @property
    def wanted(self) -> bool:
        """Whether there are to be any."""
        return bool(self._plan.restart_command or self._plan.pause_command)

    @property
    def away(self) -> bool:
        """Whether the broker is away now."""
        return self._steps is not None

    def tick(self, *, begin: bool) -> None:
        """Go on with the outage that there is; with `begin` start one when it is time. Raises
        `FbError` when a command fails."""
        if self._steps is not None:
            self._step()
        elif begin and self.wanted and self._clock.monotonic() >= self._next_at:
            self._steps = self._outage()
            self._step()

    def end(self) -> None:
        """Bring the broker back, now. Raises `FbError` when the command for it fails."""
        if self._running is not None:
            self._wait(self._running)
        self._steps = self._running = None
        if self._paused:
            self._wait(self._start(self._plan.resume_command))
            self._paused = False

    def _step(self) -> None:
        if self._steps is not None and next(self._steps, "over") == "over":
            self._steps = None
            self._next_at = self._clock.monotonic() + self._gap()

    def _outage(self) -> Generator[None, None, None]:
        began = self._clock.now()
        if self._plan.restart_command:
            yield from self._command(self._plan.restart_command)
        else:
            self._paused = True
            yield from self._command(self._plan.pause_command)
            back_at = self._clock.monotonic() + self._plan.outage
            while self._clock.monotonic() < back_at:
                yield
            yield from self._command(self._plan.resume_command)
            self._paused = False
        self.done.append(BrokerOutage(began, self._clock.now()))

    def _command(self, text: str) -> Generator[None, None, None]:
        self._running = process = self._start(text)
        deadline = self._clock.monotonic() + LONGEST_COMMAND
        while process.poll() is None and self._clock.monotonic() < deadline:
            yield
        self._running = None
        self._check(process, text)

    def _start(self, text: str) -> subprocess.Popen[bytes]:
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                text,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **system.own_group,
            )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(LONGEST_COMMAND)
        except subprocess.TimeoutExpired:
            pass
        self._check(process, str(process.args))

    def _check(self, process: subprocess.Popen[bytes], text: str) -> None:
        """Raise `FbError` for a command that has failed, or has not come to an end."""
        code = process.poll()
        if code is None:
            kill_child(process)
            raise FbError(
                f"{text!r} did not end within {LONGEST_COMMAND:g} seconds, and was killed."
            )
        if code:
            said = self._log.read_text(errors="replace")[-500:].strip()
            raise FbError(f"{text!r} {how_ended(code)}.{os.linesep + said if said else ''}")

    def _gap(self) -> float:
        return self._chance.uniform(0.5, 1.5) * self._plan.outage_every
