"""The producers of a trial: handed their tasks at an even pace, killed, and what a dead one may or
may not have published is handed out again.

Each reads batches of tasks from its input, a JSON list a line, and publishes them as any program
would. It writes down before that it tries, and behind that the broker has confirmed. The end of its
input ends it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fbcli.booster import Booster
from fbcli.broker import Outgoing
from fbcli.chaos import tasks
from fbcli.chaos.ledger import PUSHES, Kill, Ledger, note, now
from fbcli.chaos.plan import TrialPlan, TrialTask
from fbcli.chaos.processes import Endings, Guard, TrialFolder, kill_child
from fbcli.clock import Backoff, Clock
from fbcli.errors import Unavailable
from fbcli.settings import load

LOG = "producers.log"

LARGEST_BATCH = 20
"""Tasks published at once, at most."""
MOST_HANDED = 3 * LARGEST_BATCH
"""Tasks that one has in hand, at most. As text they fit into a pipe, so that handing them over
never waits."""


@dataclass(eq=False)
class Producer:
    """One of them, and what it has in hand: not known to be confirmed."""

    process: subprocess.Popen[bytes]
    tasks: dict[int, TrialTask]


class Producers:
    """All of them. Used by one thread."""

    def __init__(
        self,
        plan: TrialPlan,
        tasks: Sequence[TrialTask],
        queue: str,
        home: TrialFolder,
        ledger: Ledger,
        guard: Guard,
        chance: random.Random,
        clock: Clock,
    ) -> None:
        self._pace, self._queue, self._home, self._ledger = plan.pace, queue, home, ledger
        self._guard, self._chance, self._clock = guard, chance, clock
        self._waiting = deque(tasks)
        self._doubtful: deque[TrialTask] = deque()
        """Handed out once, and not confirmed by one that is dead."""
        self._producers: list[Producer | None] = [None] * plan.producers
        self._endings = Endings("producers", home, LOG)
        self._begun = clock.monotonic()
        self._handed = 0
        self.kills: list[Kill] = []

    @property
    def done(self) -> bool:
        """Whether the broker has confirmed all."""
        return not (
            self._waiting or self._doubtful or any(producer.tasks for _, producer in self._living())
        )

    def tick(self) -> None:
        """Replace those that are gone, and hand out what is due. Raises `FbError` when that is of
        no use."""
        for index, producer in self._living():
            for number in self._ledger.confirmed.intersection(producer.tasks):
                del producer.tasks[number]
            code = producer.process.poll()
            if code is not None:
                self._take_back(index, producer)
                self._endings.ended(code, len(self._ledger.confirmed))
        if self.done:
            self.stop()
            return
        for index, known in enumerate(self._producers):
            self._producers[index] = producer = known or Producer(self._start(), {})
            self._fill(producer)

    def kill_one(self, chance: random.Random) -> bool:
        """Kill one that has begun to work; False: there is none."""
        candidates = [
            each
            for each in self._living()
            if each[1].tasks and each[1].process.pid in self._ledger.at_work
        ]
        if not candidates:
            return False
        index, producer = chance.choice(candidates)
        at = self._clock.now()
        self.kills.append(Kill(at, frozenset(kill_child(producer.process)), "producer"))
        self._take_back(index, producer)
        return True

    def stop(self) -> None:
        """End them now."""
        for index, producer in self._living():
            kill_child(producer.process)
            self._take_back(index, producer)

    def _living(self) -> Iterator[tuple[int, Producer]]:
        for index, producer in enumerate(self._producers):
            if producer is not None:
                yield index, producer

    def _start(self) -> subprocess.Popen[bytes]:
        process = self._home.start(
            LOG, "fbcli.chaos.producers:produce", self._queue, stdin=subprocess.PIPE
        )
        self._guard.watch(process.pid)
        return process

    def _fill(self, producer: Producer) -> None:
        """Hand over batches of any size, while it has little in hand."""
        pipe = producer.process.stdin
        while pipe is not None and len(producer.tasks) <= MOST_HANDED - LARGEST_BATCH:
            batch = list(self._next(self._chance.randint(1, LARGEST_BATCH)))
            if not batch:
                return
            producer.tasks.update((task.number, task) for task in batch)
            try:
                os.write(
                    pipe.fileno(), msgspec.json.encode([task._asdict() for task in batch]) + b"\n"
                )
            except (
                BrokenPipeError
            ):  # it has died: the next tick sees that, and what it had is handed out again
                return

    def _next(self, count: int) -> Iterator[TrialTask]:
        """Yield up to so many tasks that are due, those in doubt first."""
        due = LARGEST_BATCH + int((self._clock.monotonic() - self._begun) * self._pace)
        for _ in range(count):
            if self._doubtful:
                yield self._doubtful.popleft()
            elif self._waiting and self._handed < due:
                self._handed += 1
                yield self._waiting.popleft()

    def _take_back(self, index: int, producer: Producer) -> None:
        """Take back from one that is gone what it has not confirmed with its last word."""
        self._ledger.read()
        self._doubtful.extend(
            task for number, task in producer.tasks.items() if number not in self._ledger.confirmed
        )
        self._guard.forget(producer.process.pid)
        if producer.process.stdin is not None:
            producer.process.stdin.close()
        self._producers[index] = None


# in a producer


MOST_TRIES = 1000


def produce() -> None:
    """Publish what comes. Raises `Unavailable` when the broker stays away."""
    booster: Booster[Any, Any] = Booster(tasks.work, settings=load(), flags={"queue": sys.argv[1]})
    for line in sys.stdin:
        batch = msgspec.json.decode(line, type=list[dict[str, Any]])
        _publish(
            booster,
            [booster.message(arguments) for arguments in batch],
            ",".join(str(each["number"]) for each in batch),
        )


def _publish(booster: Booster[Any, Any], messages: Sequence[Outgoing], numbers: str) -> None:
    """Publish a batch until the broker has confirmed it. A try that failed may have arrived all the
    same."""
    backoff = Backoff(0.05, 1.0)
    for left in reversed(range(MOST_TRIES)):
        note(PUSHES, "try", numbers, now())
        try:
            booster.queue.publish(messages)
        except Unavailable:
            if not left:
                raise
            time.sleep(backoff.failed())
        else:
            note(PUSHES, "sure", numbers, now())
            return
