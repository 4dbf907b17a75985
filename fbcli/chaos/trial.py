"""One trial from beginning to end: a queue of its own, tasks pushed and consumed while everybody is
killed, then peace, then the account.

It touches nothing but its own queue, and ends no process but those it has started.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fbcli.broker import Delivery
from fbcli.chaos.analysis import analyse
from fbcli.chaos.consumers import Consumers
from fbcli.chaos.ledger import Buried, Evidence, Ledger
from fbcli.chaos.outages import Outages
from fbcli.chaos.plan import END, TrialPlan
from fbcli.chaos.processes import Guard, RandomKills, TrialFolder, ended_by_signals
from fbcli.chaos.producers import Producers
from fbcli.chaos.report import Progress, TrialReport
from fbcli.clients.loading import mask
from fbcli.clock import SYSTEM, Clock
from fbcli.errors import FbError, Unavailable
from fbcli.queues.dead import DeadLetters, Letter
from fbcli.queues.envelope import number
from fbcli.queues.queue import Queue
from fbcli.settings import Settings

TICK = 0.03
"""Seconds between two looks at everything."""

LATE = 2.0
"""Seconds that a busy machine may be behind."""

LOOK = 0.5
"""Seconds between two looks at what the broker holds, when the end is near."""

QUIET = 0.02
"""Nobody is killed any more when so little of the tasks is left: what was in flight shall come back
before the end."""


@dataclass(frozen=True)
class Watchers:
    """Who is told what happens."""

    progress: Callable[[Progress], None]
    say: Callable[[str], None]


def run_trial(
    plan: TrialPlan, settings: Settings, watchers: Watchers, clock: Clock = SYSTEM
) -> TrialReport:
    """Run a trial and return what it found. However it ends, it leaves nothing behind (but with
    `plan.keep`).

    Raises `Unavailable` when the broker cannot be reached, `FbError` when consumers or producers do
    not stay alive, or a command that shall take the broker away fails.
    """
    with ended_by_signals(), ExitStack() as leaving:
        return Trial(plan, settings, watchers, clock, leaving).run()


class Trial:
    """What `leaving` is told is undone by whoever closes it."""

    def __init__(
        self,
        plan: TrialPlan,
        settings: Settings,
        watchers: Watchers,
        clock: Clock,
        leaving: ExitStack,
    ) -> None:
        self._plan, self._settings, self._watchers, self._clock = plan, settings, watchers, clock
        self._began = self._moved = self._ticked = clock.monotonic()
        chance = random.Random(plan.seed)
        name = f"fb-chaos-{random.SystemRandom().randrange(16**8):08x}"
        self._queue = Queue(name, settings.open_broker(), settings.open_store, clock)
        self._left_over = LeftOver(self._queue)
        self._tasks = plan.make_tasks()
        self._ordinary = sum(task.fate == END for task in self._tasks)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        home = TrialFolder(self._folder, settings)
        self._ledger = Ledger(self._folder)
        guard = Guard()
        self._outages = Outages(plan, self._folder, chance, clock)
        self._consumers = Consumers(plan, name, home, self._ledger, guard, clock)
        self._producers = Producers(
            plan, self._tasks, name, home, self._ledger, guard, chance, clock
        )
        for undo in (
            self._leave_nothing,
            guard.close,
            self._outages.end,
            self._consumers.kill,
            self._producers.stop,
        ):
            leaving.callback(undo)  # the last one first
        self._kills = RandomKills(
            plan.kill_every, self._consumers.kill_one, self._producers.kill_one, chance, clock
        )
        self._killing = True
        self._timed_out = False
        self._look_at = 0.0
        self._complete_at: float | None = None
        """Since when all is accounted for."""

    def run(self) -> TrialReport:
        """Go on until all is accounted for, nothing moves any more, or time is up; then return the
        report."""
        while not self._over():
            self._tick()
            time.sleep(TICK)
        self._producers.stop()
        self._outages.end()
        self._consumers.stop()
        self._ledger.read()
        self._left_over.look()
        seconds = self._clock.monotonic() - self._began
        return TrialReport(
            broker=mask(self._settings.broker_url),
            queue=self._queue.name,
            seed=self._plan.seed,
            seconds=round(seconds, 3),
            timed_out=self._timed_out,
            left_in_queue=self._left_over.count(),
            ledger=str(self._folder) if self._plan.keep else None,
            account=analyse(self._evidence()),
        )

    def _evidence(self) -> Evidence:
        return Evidence(
            tasks=self._tasks,
            calls=self._ledger.calls,
            pushes=self._ledger.pushes,
            kills=[*self._consumers.kills, *self._producers.kills],
            outages=self._outages.done,
            buried=self._left_over.letters,
            max_deliveries=self._plan.max_deliveries,
        )

    def _tick(self) -> None:
        before, self._ticked = self._ticked, self._clock.monotonic()
        if self._ledger.read():
            self._moved = self._ticked
        elif self._outages.away:
            self._moved += self._ticked - before  # without a broker nothing can move
        self._consumers.tick()
        self._producers.tick()
        if self._killing and self._near_the_end():
            self._killing = False
        if self._killing:
            self._kills.tick()
        self._outages.tick(begin=self._killing)
        self._watchers.progress(self._progress())

    def _progress(self) -> Progress:
        return Progress(
            tasks=len(self._tasks),
            confirmed=len(self._ledger.confirmed),
            ended=len(self._ledger.ended),
            kills=sum(
                kill.what != "itself" for kill in (*self._consumers.kills, *self._producers.kills)
            ),
            outages=len(self._outages.done),
            away=self._outages.away,
            killing=self._killing,
        )

    def _near_the_end(self) -> bool:
        return self._producers.done and self._ordinary - len(self._ledger.ended) <= QUIET * len(
            self._tasks
        )

    # the end

    def _over(self) -> bool:
        now = self._clock.monotonic()
        if now - self._began >= self._plan.timeout:
            self._timed_out = True
            return True
        if now - self._moved >= self._plan.patience:
            return True
        if now < self._look_at or self._outages.away or not self._producers.done:
            return False
        if self._killing and now - self._moved < self._return_time:
            return False
        self._look_at = now + LOOK
        try:
            return self._settled(now)
        except Unavailable:
            return False

    def _settled(self, now: float) -> bool:
        """Whether all is accounted for, and the queue is empty, or has had time to become so; or
        nothing can come any more."""
        left = self._left_over.count()
        if self._complete():
            self._complete_at = now if self._complete_at is None else self._complete_at
            return not left or now - self._complete_at >= self._return_time
        self._complete_at = None
        return left == 0 and now - self._moved >= self._return_time

    @property
    def _return_time(self) -> float:
        """Seconds within which everything that a dead consumer held is running again."""
        return 3 * self._plan.heartbeat + LATE

    def _complete(self) -> bool:
        """Whether everything confirmed has ended or is in the dead letters."""
        open_tasks = self._ledger.confirmed - self._ledger.ended
        if len(self._ledger.confirmed) < len(self._tasks):
            return False
        if (
            any(self._tasks[number].fate == END for number in open_tasks)
            and not self._may_be_buried()
        ):
            return False
        if open_tasks and self._left_over.look():
            self._moved = self._clock.monotonic()
        return open_tasks <= {letter.number for letter in self._left_over.letters}

    def _may_be_buried(self) -> bool:
        """Whether ordinary tasks that are missing may be in the dead letters: nothing else has
        happened for a while."""
        return self._clock.monotonic() - self._moved >= 1.0

    def _leave_nothing(self) -> None:
        """Remove queue and ledger, or say where they are."""
        name = self._queue.name
        if self._plan.keep:
            self._watchers.say(f"Kept: the queue {name}, and the records in {self._folder}")
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        try:
            left = self._left_over.clear(
                self._consumers.died_at + 3 * self._plan.heartbeat, self._clock.monotonic
            )
        except FbError as error:
            self._watchers.say(
                f"{error} What is left of the trial is in the queue {name}: fb clear {name}; fb"
                f" dead clear {name}"
            )
            return
        if left:
            self._watchers.say(
                f"{name} still holds {left:,} messages that its consumers had: fb clear {name}"
            )


PATIENCE = 3.0
"""Seconds that messages of dead consumers may be late, on a busy machine."""

PAUSE = 0.2
"""Seconds between two looks while messages of dead consumers come back."""


class LeftOver:
    """Of one queue. Every method raises `Unavailable`."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.letters: list[Buried] = []
        """The dead letters, as of the last look."""

    def look(self) -> bool:
        """Look at the dead letters; return whether there are others than before. A broker that
        cannot show them hands them over."""
        before = len(self.letters)
        if self._queue.broker.capabilities.peek:
            self.letters = [_buried(letter) for letter in DeadLetters(self._queue).browse()]
        else:
            _take_all(self._queue.dead, lambda body: self.letters.append(_buried(Letter(body))))
        return len(self.letters) != before

    def count(self) -> int | None:
        """Count what the queue holds, in whatever state; None: the broker cannot tell."""
        size = self._queue.size()
        return (
            None
            if size is None or size.in_flight is None
            else size.ready + size.in_flight + (size.delayed or 0)
        )

    def clear(self, until: float, monotonic: Callable[[], float]) -> int:
        """Remove all messages, and what dead consumers have left: by `until` (monotonic) it has
        come back. Return how many messages have not, even some seconds later."""
        deadline = max(until, monotonic()) + PATIENCE
        while True:
            self._queue.reclaim()
            for line in (self._queue, self._queue.dead):
                if line.broker.capabilities.purge:
                    line.clear()
                else:
                    _take_all(line, lambda body: None)
            now, left = monotonic(), self.count()
            if (not left and now >= until) or now >= deadline:
                self._forget_consumers()
                return left or 0
            time.sleep(PAUSE)

    def _forget_consumers(self) -> None:
        """Take those that were killed off the list of the living, where they would stay for some
        seconds more."""
        store = self._queue.open_store()
        here = [each for each in store.consumers() if each.queue == self._queue.name]
        store.retire([record.consumer_id for record in here])


def _take_all(queue: Queue, handle: Callable[[bytes], None]) -> None:
    def handle_all(taken: list[Delivery]) -> None:
        for delivery in taken:
            handle(delivery.body)

    queue.take(lambda body: True, handle_all)


def _buried(letter: Letter) -> Buried:
    task, deliveries = letter.arguments.get("number"), number(letter.details.get("deliveries"))
    return Buried(
        task if type(task) is int else None, None if deliveries is None else int(deliveries)
    )
