"""The consumers of a trial: `fb consume` as a user starts it, replaced when they are gone, killed
with all below them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Sequence

from fbcli.chaos.ledger import Kill, Ledger
from fbcli.chaos.plan import TrialPlan
from fbcli.chaos.processes import (
    ChildrenOf,
    Endings,
    Guard,
    TrialFolder,
    children_of_all,
    descendants,
    kill_child,
)
from fbcli.clock import Clock
from fbcli.platform import system

LOG = "consumers.log"

DRAIN = 5.0
"""Seconds that consumers have to finish what runs when the trial is over."""
GRACE = 3.0
"""Seconds beyond that after which they are killed."""

LAST_TOO = 0.1
"""How many of the kills may also hit the only one at work. With more, on a machine so slow that
consumers die faster than they start, nothing would ever get done."""


class Consumers:
    """All of them. Used by one thread."""

    def __init__(
        self,
        plan: TrialPlan,
        queue: str,
        home: TrialFolder,
        ledger: Ledger,
        guard: Guard,
        clock: Clock,
    ) -> None:
        self._home, self._ledger, self._guard, self._clock = home, ledger, guard, clock
        self._command = command(plan, queue)
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * plan.consumers
        self._endings = Endings("consumers", home, LOG)
        self._sparing = True
        self.kills: list[Kill] = []
        self.died_at = float("-inf")
        """When the last one has ended without taking leave of the broker, at the latest
        (monotonic)."""

    def tick(self) -> None:
        """Replace those that are gone. Raises `FbError` when that is of no use."""
        for index, process in enumerate(self._processes):
            if process is not None:
                if process.poll() is None:
                    continue
                self._died(process)
                self.kills.append(Kill(self._clock.now(), frozenset([process.pid]), "itself"))
                if not system.was_killed(process.returncode):  # a task may have killed it
                    self._endings.ended(process.returncode, len(self._ledger.calls))
            self._processes[index] = started = self._home.start(LOG, *self._command)
            self._guard.watch(started.pid)

    def kill_one(self, chance: random.Random) -> bool:
        """Kill one that has begun to work, and all below it; False: there is none. The last one at
        work is mostly spared."""
        known = children_of_all()
        at_work = [
            each
            for each in self._living()
            if not self._ledger.at_work.isdisjoint(_tree(each[1].pid, known))
        ]
        if not at_work or (self._sparing and len(at_work) == 1 < len(self._processes)):
            return False
        index, process = chance.choice(at_work)
        at = self._clock.now()
        self.kills.append(Kill(at, frozenset(kill_child(process)), "consumer"))
        self._died(process)
        self._processes[index] = None
        self._sparing = chance.random() >= LAST_TOO
        return True

    def stop(self) -> None:
        """End them in order, and by force where that takes too long."""
        for _, process in self._living():
            process.terminate()
        deadline = self._clock.monotonic() + DRAIN + GRACE
        for _, process in self._living():
            try:
                process.wait(max(0.01, deadline - self._clock.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        self.kill()

    def kill(self) -> None:
        """End them now."""
        for index, process in enumerate(self._processes):
            if process is not None:
                if kill_child(process):
                    self._died(process)
                self._guard.forget(process.pid)
                self._processes[index] = None

    def _died(self, process: subprocess.Popen[bytes]) -> None:
        self._guard.forget(process.pid)
        self.died_at = self._clock.monotonic()

    def _living(self) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        for index, process in enumerate(self._processes):
            if process is not None and process.poll() is None:
                yield index, process


def _tree(pid: int, known: ChildrenOf) -> list[int]:
    return [pid, *descendants(pid, known)]


def command(plan: TrialPlan, queue: str) -> Sequence[str]:
    """Return what a consumer calls, and its words: those of `fb consume` as a user types it."""
    options = {
        "queue": queue,
        "mode": plan.mode,
        "processes": plan.processes,
        "concurrency": plan.concurrency,
        "heartbeat": plan.heartbeat,
        "max-deliveries": plan.max_deliveries,
        "drain": DRAIN,
        "log-level": "WARNING",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [
        "fbcli.commands.app:main",
        "consume",
        f"fbcli.chaos.tasks:{plan.function}",
        "--plain",
        *words,
    ]
