"""Interrupts calls that run too long, or that nobody wants any more; and settles what does not
react."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fbcli.clock import Clock
from fbcli.controls.cancel import Cancel
from fbcli.controls.timeout import Deadlines, deadline_of
from fbcli.engine.batch import Batch
from fbcli.engine.lifecycle import interrupted
from fbcli.errors import TaskCancelled
from fbcli.pools.base import Done, Pool
from fbcli.stores.base import News, Store
from fbcli.task import Run

log = logging.getLogger("fbcli.consumer")


class Interrupts:
    """Of one consumer. `heed` is called by the service that watches the store."""

    def __init__(
        self,
        pool: Pool[Run],
        done: Done[Run],
        cancel: Cancel,
        store: Store,
        wake: Callable[[], None],
        clock: Clock,
        *,
        kills: bool,
    ) -> None:
        """`done` takes what was given up; `kills`: the pool ends the process that such a call is
        in."""
        self._pool = pool
        self._done = done
        self._cancel = cancel
        self._store = store
        self._wake = wake
        self._left_behind = (
            "its child process is killed"
            if kills
            else "its thread is left behind until that returns"
        )
        self.deadlines = Deadlines(pool.running, pool.interrupt, self._give_up, clock)

    def heed(self, news: News) -> None:
        """Interrupt what has been cancelled. Raises `Unavailable`.

        Note: a task may start between two looks at what is cancelled, so what runs is compared at
        every look.
        """
        if self._cancel.set(news.cancels):
            self._wake()
        if self._cancel.wanted:
            for run in self._pool.running():
                if self._is_unwanted(run):
                    self.deadlines.interrupt_now(run, TaskCancelled)
        self.end_requests()

    def end_requests(self) -> None:
        """Tell the store which requests have been served. Raises `Unavailable`."""
        served = self._cancel.served()
        if served:
            self._store.end_cancels(served)

    def close(self) -> None:
        """Interrupt nothing any more."""
        self.deadlines.close()

    def _is_unwanted(self, run: Run) -> bool:
        """Whether what a task or batch is working on has been cancelled."""
        wanted = self._cancel.wanted
        if not isinstance(run, Batch):
            return run.task_id in wanted
        run.unwanted |= wanted.intersection(task.task_id for task in run.tasks)
        return bool(run.unwanted) if run.whole else run.task_id in run.unwanted

    def _give_up(self, run: Run) -> bool:
        """A call that did not react to its interrupt: settle it as it was meant, and let another
        thread have its slot."""
        abandoned = self._pool.abandon(run)
        if abandoned is None:
            return False
        deadline = deadline_of(abandoned)
        cancelled = deadline is not None and deadline.cancelled
        error = TaskCancelled() if cancelled else None
        if isinstance(abandoned, Batch):
            abandoned.given_up(error)
        else:
            interrupted(abandoned.task, error)
        log.warning(
            "%s, and could not be interrupted (it is inside a call in C); %s",
            "cancelled" if cancelled else "timed out",
            self._left_behind,
            extra={"task_id": run.task_id},
        )
        self._done(abandoned, True)
        return True
