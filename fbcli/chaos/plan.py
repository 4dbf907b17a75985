"""What a trial shall do. Its seed decides beforehand how long each task lasts, which one fails for
good, and which kills its worker."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from fbcli.errors import Unsupported, UsageError
from fbcli.settings import Settings

END, POISON, KILLER = "end", "poison", "killer"
"""The fates of a task: it ends; it fails for good; it kills the process that runs it, each time."""


class TrialTask(NamedTuple):
    """One task of a trial: the arguments of its message."""

    number: int
    seconds: float
    """How long the call lasts."""
    fate: str = END


@dataclass(frozen=True)
class TrialPlan:
    """One trial. All times are seconds."""

    seed: int
    tasks: int = 5000
    consumers: int = 3
    producers: int = 2
    processes: int = 1
    """Of each consumer."""
    concurrency: int = 8
    """Of each process."""
    mode: str = "threads"
    task_time: tuple[float, float] = (0.005, 0.05)
    """The shortest and the longest call."""
    kill_every: float = 0.5
    """Mean time between two kills; 0: nobody is killed."""
    poison: float = 0.5
    """Percent of the tasks that fail for good."""
    killers: int = 0
    """Tasks that kill their own worker."""
    max_deliveries: int = 20
    pause_command: str = ""
    resume_command: str = ""
    restart_command: str = ""
    outage: float = 2.0
    """How long the broker stays paused."""
    outage_every: float = 10.0
    """Mean time between two outages."""
    heartbeat: float = 1.0
    timeout: float = 600.0
    patience: float = 30.0
    """When nothing has moved for so long, what is missing is taken for lost."""
    keep: bool = False
    """Whether queue and ledger stay."""

    def check(self) -> None:
        """Raise `UsageError` when it makes no sense."""
        if self.restart_command and (self.pause_command or self.resume_command):
            raise UsageError(
                "Give --restart-command, or --pause-command with --resume-command, not both."
            )
        if bool(self.pause_command) != bool(self.resume_command):
            raise UsageError("--pause-command and --resume-command belong together.")
        if self.special > self.tasks:
            raise UsageError(
                f"{self.special:,} tasks that fail or kill are more than there are tasks"
                f" ({self.tasks:,})."
            )
        if self.heartbeat < 0.1:
            raise UsageError("--heartbeat: less than 100 ms is not possible.")

    @property
    def special(self) -> int:
        """How many tasks fail for good, or kill."""
        return round(self.tasks * self.poison / 100) + self.killers

    @property
    def function(self) -> str:
        """The function of `tasks` that fits the mode."""
        return "awork" if self.mode == "asyncio" else "work"

    @property
    def pace(self) -> float:
        """How many tasks are pushed a second: somewhat fewer than the consumers could do, so that
        pushing goes on all the time."""
        mean = max(0.001, sum(self.task_time) / 2)
        slots = 1 if self.mode == "solo" else self.concurrency
        return 0.5 * self.consumers * self.processes * slots / mean

    def make_tasks(self) -> list[TrialTask]:
        """Return all tasks by their numbers, from 0; the same for the same seed."""
        chance = random.Random(self.seed)
        special = chance.sample(range(self.tasks), self.special)
        killers = set(special[: self.killers])
        poison = set(special) - killers
        return [
            TrialTask(
                number, round(chance.uniform(*self.task_time), 4), _fate(number, poison, killers)
            )
            for number in range(self.tasks)
        ]


def _fate(number: int, poison: set[int], killers: set[int]) -> str:
    return POISON if number in poison else KILLER if number in killers else END


def cautions(plan: TrialPlan, settings: Settings) -> list[str]:
    """Return what is to be expected of this broker beforehand. Raises `Unsupported` when no trial
    is possible, and `Unavailable`."""
    broker = settings.open_broker()
    can = broker.capabilities
    scheme = broker.url.partition("://")[0]
    if can.reach == "process":
        raise Unsupported(
            f"{scheme}:// is shared within one process only; a trial needs many. `fb brokers` lists"
            " others."
        )
    if plan.killers and can.delivery_count == "none":
        raise Unsupported(
            f"{scheme}:// does not count deliveries: a task that kills its workers would do so for"
            " ever (--killers)."
        )
    if can.size:
        broker.size("fb-chaos")
    sentences = []
    if not can.ack:
        sentences.append(
            f"{scheme}:// does not keep what a consumer holds: with consumers killed, losses are to"
            " be expected."
        )
    if not can.confirm:
        sentences.append(
            f"{scheme}:// does not confirm what is pushed: what gets lost on the way counts as"
            " lost."
        )
    if plan.restart_command and not can.durable:
        sentences.append(
            f"{scheme}:// does not keep messages over a restart: losses are to be expected."
        )
    return sentences
