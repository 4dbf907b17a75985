"""Cancel: tasks that somebody does not want any more. Queued ones never start, running ones are
interrupted."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from fbcli.task import ENDED, Task


class Cancel:
    """The requests that a service of the process fetches from the store about once a second."""

    def __init__(self) -> None:
        self.wanted: frozenset[str] = frozenset()
        """Ids of the tasks to be cancelled."""
        self.fresh = False
        """Whether some of them are new to whoever holds tasks that have not started."""
        self._over: deque[str] = deque()

    def set(self, task_ids: Collection[str]) -> bool:
        """Take note of all requests there are; True when there are new ones."""
        before, self.wanted = self.wanted, frozenset(task_ids)
        new = not self.wanted <= before
        self.fresh |= new
        return new

    def learn(self, tasks: Iterable[Task], now: float) -> None:
        """Take note of tasks that have been settled: requests for those that have ended are
        served."""
        wanted = self.wanted
        if wanted:
            self._over.extend(
                task.task_id for task in tasks if task.task_id in wanted and task.state in ENDED
            )

    def served(self) -> list[str]:
        """Return the requests that have been served since the last time."""
        over = self._over
        return [over.popleft() for _ in range(len(over))]
