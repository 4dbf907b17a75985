"""Hands tasks that may run to the pool: at once; gathered to batches; or, where the gates pace
their starts, at their time and into a free slot."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fbcli.controls.base import NEVER
from fbcli.engine.batch import Batch, BatchGatherer
from fbcli.engine.gates import Gates
from fbcli.engine.holds import Held
from fbcli.engine.prefetch import Prefetch
from fbcli.pools.base import Pool
from fbcli.task import Run, Task, tasks_of


class Dispatcher:
    """Used by the intake's thread."""

    def __init__(
        self,
        pool: Pool[Run],
        gates: Gates,
        prefetch: Prefetch,
        gatherer: BatchGatherer | None = None,
    ) -> None:
        self._pool = pool
        self._gates = gates
        self._prefetch = prefetch
        self._gatherer = gatherer
        self._ready: deque[Run] = deque()
        """What waits for its time."""
        self.unit = 1 if gatherer is None else gatherer.size
        """Messages that one call carries out."""

    @property
    def waiting(self) -> int:
        """How many calls wait for their time."""
        return len(self._ready)

    def submit(self, tasks: Sequence[Task], now: float) -> None:
        """Have these tasks run. `now` is monotonic seconds (used with batches only)."""
        if self._gatherer is not None:
            self._gatherer.add(tasks, now)
        elif self._gates.paces:
            self._ready.extend(tasks)
        else:
            self._pool.submit(tasks)

    def submit_alone(self, task: Task) -> None:
        """Have one run that shall not wait for others of its batch."""
        self._ready.append(task if self._gatherer is None else Batch([task]))

    def start(self, now: float) -> None:
        """Hand over what was held until it could start: batches that are full, and what is paced
        when its time has come, then only into a free slot, so that it starts then and not later."""
        if self._gatherer is not None:
            self._ready.extend(self._gatherer.ready(now))
        if not self._ready:
            return
        if not self._gates.paces:
            self._pool.submit(list(self._ready))
            self._ready.clear()
            return
        count = min(len(self._ready), self._free())
        if count > 0:
            count = self._gates.startable(now, count).room
        if count > 0:
            self._pool.submit([self._ready.popleft() for _ in range(count)])
            self._gates.started(count, now)

    def started(self) -> int:
        """Count the messages that have been handed over and not ended; 0 where nobody needs to
        know."""
        if not self._gates.paces:
            return 0
        return (self._pool.busy() + self._pool.pending()) * self.unit

    def wait(self, now: float) -> float:
        """Return the seconds after which `start` is worth a call."""
        wait = NEVER
        if self._ready and (free := self._free()) > 0:
            wait = self._gates.startable(now, min(free, len(self._ready))).again - now
        if self._gatherer is not None and (due := self._gatherer.again()) is not None:
            wait = min(wait, due - now)
        return max(0.0, wait)

    def holds(self) -> list[Held]:
        """Return what waits for its time. From any thread."""
        if not self._gates.paces:
            return []
        task_ids = [task.task_id for task in tasks_of(self._ready.copy())]
        return [Held("rate", "as many have started as may by now", task_ids)] if task_ids else []

    def take_back(self) -> list[Task]:
        """Return all that has not started, and forget it."""
        tasks = tasks_of([*self._pool.take_back(), *self._ready])
        self._ready.clear()
        if self._gatherer is not None:
            tasks += self._gatherer.take_back()
        return tasks

    def _free(self) -> int:
        """Return how many can start at once, or as good as."""
        return self._pool.size + self._prefetch.ahead() - self._pool.pending() - self._pool.busy()
