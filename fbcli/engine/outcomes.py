"""Outcomes on their way back: from the pool's workers to one thread, which settles them in batches
and lets all know who learn from them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from fbcli.engine.lifecycle import concluded, interrupted
from fbcli.engine.settler import Settler
from fbcli.engine.tally import Tally
from fbcli.task import RUNNING, Run, Task

log = logging.getLogger("fbcli.consumer")

QUORUM = 64
"""While tasks are short, so many outcomes are worth waking the intake for."""


class Outcomes:
    """Used by the intake's thread, `done` by any."""

    def __init__(self, settler: Settler, tally: Tally, wake: Callable[[], None]) -> None:
        self._settler = settler
        self._tally = tally
        self._wake = wake
        self._ended: deque[Run] = deque()
        self._unsettled: list[Task] = []
        self._quorum = 0
        """So many outcomes wake the intake; 0: it is awake."""
        self.refuse: Callable[[Task], None] = self._ended.append
        """Take a task that has an outcome without having run."""

    def done(self, run: Run, last: bool) -> None:
        """Take a run that has ended; called by the pool's workers."""
        ended = self._ended
        ended.append(run)
        quorum = self._quorum
        if quorum and (last or len(ended) >= quorum):
            self._wake()

    def begin_wait(self, *, brisk: bool) -> bool:
        """The intake is about to wait: wake it when there is something to settle; with calls that
        are `brisk` when there is plenty, or nothing more to come. True: there is something
        already."""
        self._quorum = QUORUM if brisk else 1
        return bool(self._ended)

    def end_wait(self) -> None:
        """The intake is awake."""
        self._quorum = 0

    @property
    def waiting(self) -> bool:
        """Whether there is anything to settle."""
        return bool(self._ended or self._unsettled)

    @property
    def stuck(self) -> bool:
        """Whether outcomes could not be settled yet."""
        return bool(self._unsettled)

    def gather(self) -> None:
        """Take what has ended meanwhile."""
        take = self._ended.popleft
        batch = self._unsettled
        for _ in range(len(self._ended)):
            run = take()
            if type(run) is not Task:
                batch += concluded(run.tasks)
                continue
            if run.state == RUNNING:
                interrupted(run)
            batch.append(run)

    def settle(self) -> list[Task]:
        """Record and settle all that was gathered, and return it. Raises `Unavailable`, with
        nothing lost: the next call tries again."""
        batch = self._unsettled
        late = self._settler.settle(batch)
        self._unsettled = []
        if late:
            self._tally.counts.late += len(late)
            log.warning(
                "%d outcomes came too late: the lease had been lost, and others carry these"
                " messages out",
                len(late),
            )
        return batch
