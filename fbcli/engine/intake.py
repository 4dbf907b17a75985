"""The heart of a consumer: one thread that owns the inbox.

    fetch a batch -> decode -> admit -> pool.submit … outcomes -> record -> settle

Everything travels in batches. The thread waits only inside `inbox.fetch`; outcomes, stops and
pauses wake it there.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from fbcli.broker import Delivery, Inbox
from fbcli.clock import SYSTEM, Backoff, Clock
from fbcli.controls.cancel import Cancel
from fbcli.controls.concurrency import AutoConcurrency
from fbcli.engine.admission import Admitter
from fbcli.engine.batch import Batch, BatchGatherer
from fbcli.engine.gates import Gates
from fbcli.engine.isolation import Isolation
from fbcli.engine.lifecycle import concluded, interrupted
from fbcli.engine.prefetch import Prefetch
from fbcli.engine.settler import Settler, release
from fbcli.engine.tally import Tally
from fbcli.errors import Unavailable
from fbcli.pools.base import Pool
from fbcli.task import (
    CANCELLED,
    DROPPED,
    ENDED,
    FAILED,
    RELEASED,
    REQUEUED,
    RETRY,
    RUNNING,
    SUCCEEDED,
    Run,
    Task,
    tasks_of,
)

log = logging.getLogger("fbcli.consumer")

MAX_WAIT = 1.0
"""Longest wait in one fetch (seconds); everything urgent wakes it earlier."""

QUORUM = 64
"""While tasks are short, so many outcomes are worth waking the intake for."""

BRISK_LOOK = 0.01
"""While tasks are short, the intake looks for outcomes that nobody woke it for after so many
seconds."""

LEVEL_PERIOD = 0.25
"""Seconds between two looks at whether the concurrency that finds its own level should change."""

OnClosed = Callable[[Sequence[Task]], None]


class Intake:
    """Runs until `stop` (or, with `burst`, until the queue is empty; or until `max_tasks` have
    ended)."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        settler: Settler,
        admitter: Callable[[Callable[[Task], None]], Admitter],
        gates: Gates,
        cancel: Cancel,
        tally: Tally,
        prefetch: int | None,
        gatherer: BatchGatherer | None = None,
        burst: bool = False,
        max_tasks: int | None = None,
        on_closed: OnClosed | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._inbox = inbox
        self._settler = settler
        self._gates = gates
        self._cancel = cancel
        self._tally = tally
        self._gatherer = gatherer
        self._burst = burst
        self._left = max_tasks
        self._on_closed = on_closed
        self._clock = clock
        self.prefetch = Prefetch(prefetch, clock)
        self.trouble = ""
        """Why nothing can be fetched or settled now; empty when all is well."""
        self._pool: Pool[Run]
        self._ready: deque[Run] = deque()
        self._ended: deque[Run] = deque()
        self._admitter = admitter(self._ended.append)
        self._isolation = Isolation()
        self._unsettled: list[Task] = []
        self._waiting = False
        self._stirred = False
        self._backoff = Backoff()
        self._retry_at = 0.0
        self.in_hand = 0
        """Messages fetched and not yet settled."""
        self.unfinished = 0
        """At the end: what was still running when the drain time was over."""
        self.hungry_since: float | None = None
        """Monotonic time since when it has asked for messages in vain; None: it has some, or does
        not ask."""
        self.fetching_since: float | None = None
        """Monotonic time since when it waits for the answer to a fetch; None: it does something
        else."""
        self._level: AutoConcurrency | None = None
        self._level_at = 0.0
        self._resize_to: int | None = None
        self._sift = False
        self._stop_at: float | None = None
        self._stopping = threading.Event()
        self._quiet = False

    def serve(self, pool: Pool[Run]) -> None:
        """Consume with `pool` until it is time to end; then give back what is unfinished.
        Blocks."""
        self._pool = pool
        try:
            while not self._over():
                self._turn()
        finally:
            self._give_back()

    def stop(self, drain: float) -> None:
        """Fetch no more; end when all that runs has ended, or after `drain` seconds. From any
        thread; a later call may shorten."""
        at = self._clock.monotonic() + drain
        self._stop_at = at if self._stop_at is None else min(at, self._stop_at)
        self._stopping.set()
        self._inbox.wake()

    def quiet(self) -> None:
        """Fetch no more, and stay."""
        self._quiet = True
        self._inbox.wake()

    def wake(self) -> None:
        """Look at the gates again. From any thread."""
        self._inbox.wake()

    def sift(self) -> None:
        """Look through what has not started for what has been cancelled. From any thread."""
        self._sift = True
        self._inbox.wake()

    def resize(self, size: int, level: AutoConcurrency | None = None) -> None:
        """Have so many calls run at once; with `level` let it find its own from there. From any
        thread."""
        self._level = level
        self._resize_to = size
        self._inbox.wake()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def done(self, task: Run) -> None:
        """Take a task (or batch) whose run has ended; called by the pool's workers."""
        ended = self._ended
        ended.append(task)
        if self._waiting and (
            not self.prefetch.brisk or len(ended) >= QUORUM or not self._pool.pending()
        ):
            self._inbox.wake()

    # one turn of the loop

    def _turn(self) -> None:
        now = self._clock.monotonic()
        if self._ended or self._unsettled:
            self._close(now)
        if self.stopping or self._gates.closed(now):
            self._return_unstarted()
        elif self._sift:
            self._sift = False
            self._sift_unstarted()
        self._ask_again(now)
        self._start(now)
        if self._resize_to is not None or self._level is not None:
            self._adjust(now)
        nudge = self._pool.nudge(self.prefetch.brisk)
        limit, wait = self._wanted(now)
        if nudge is not None:
            wait = min(wait, nudge)
        if self._burst and limit and not self.in_hand:
            wait = 0.0
        if not limit or self.in_hand:
            self.hungry_since = None
        elif self.hungry_since is None:
            self.hungry_since = now
        self._waiting = True
        if self._ended:
            wait = 0.0
        self.fetching_since = now
        try:
            deliveries = self._inbox.fetch(limit, wait)
        except Unavailable as error:
            self._suffer(error)
            return
        finally:
            self._waiting = False
            self.fetching_since = None
        if deliveries:
            self.hungry_since = None
            self._recover()
            self._receive(deliveries)
        elif limit:
            self._recover()
            if self._burst and not self.in_hand and not self._gates.closed(now):
                self.stop(0.0)

    def _over(self) -> bool:
        if not self.stopping:
            if self._left is not None and self._left <= 0 and not self.in_hand:
                self._stopping.set()
                return True
            return False
        return not self.in_hand or self._clock.monotonic() >= (self._stop_at or 0.0)

    def _wanted(self, now: float) -> tuple[int, float]:
        """Return how many messages to fetch, and how long to wait for them or for anything else
        (seconds)."""
        wait = MAX_WAIT
        if self.stopping:
            wait = min(wait, max(0.0, (self._stop_at or 0.0) - now))
        if self.in_hand and self.prefetch.brisk:
            wait = min(wait, BRISK_LOOK)
        if now < self._retry_at:
            return 0, min(wait, self._retry_at - now)
        limit, unit = 0, self._gatherer.size if self._gatherer else 1
        if not (
            self.stopping
            or self._quiet
            or self._unsettled
            or self._admitter.stuck
            or self._isolation.task
        ):
            limit = self.prefetch.room(self.in_hand - self._admitter.held, self._pool.size * unit)
        started = self._pool.busy() + self._pool.pending() if self._gates.paces else 0
        room, again = self._gates.fetchable(now, started * unit, unit)
        if room - self.in_hand < limit:
            limit = max(0, room - self.in_hand)
            wait = min(wait, max(0.0, again - now))
        if self._ready and (free := self._free()) > 0:
            wait = min(
                wait, max(0.0, self._gates.startable(now, min(free, len(self._ready))).again - now)
            )
        for at in (self._admitter.ask_at(), self._gatherer.again() if self._gatherer else None):
            if at is not None:
                wait = min(wait, max(0.0, at - now))
        if self._level is not None and self.in_hand:
            wait = min(wait, LEVEL_PERIOD)
        if self._left is not None:
            limit = min(limit, self._left - self.in_hand)
        if self._isolation.careful:
            limit = min(limit, 1)
        return max(0, limit), wait

    # from the broker to the pool

    def _receive(self, deliveries: list[Delivery]) -> None:
        self.in_hand += len(deliveries)
        self.prefetch.weigh(deliveries)
        self._isolation.careful = False
        try:
            tasks = self._admitter.receive(deliveries)
        except Unavailable as error:
            self._suffer(error)
            return
        if tasks:
            self._submit(tasks, self._clock.monotonic() if self._gatherer else 0.0)

    def _ask_again(self, now: float) -> None:
        """Ask the controls anew about tasks that wait for others."""
        if not self._admitter.held or now < self._retry_at:
            return
        stirred, self._stirred = self._stirred, False
        try:
            tasks = self._admitter.again(now, stirred=stirred)
        except Unavailable as error:
            self._suffer(error)
            return
        self._recover()
        if tasks:
            self._submit(tasks, now)

    def _submit(self, tasks: list[Task], now: float) -> None:
        if self._admitter.suspicious and (others := self._isolation.choose(tasks)) is not None:
            self._release([*others, *self._unstarted(), *self._admitter.take_back()])
            return
        if self._gatherer is not None:
            self._gatherer.add(tasks, now)
        elif self._gates.paces:
            self._ready.extend(tasks)
        else:
            self._pool.submit(tasks)

    def _free(self) -> int:
        """Return how many can start at once, or as good as."""
        return self._pool.size + self.prefetch.ahead() - self._pool.pending() - self._pool.busy()

    def _start(self, now: float) -> None:
        """Hand over what was held until it could start: batches that are full, and what is paced
        when its time has come, then only into a free slot, so that it starts then and not later."""
        if self._gatherer is not None:
            self._ready.extend(self._gatherer.ready(now))
        if self._isolation.waits and self.in_hand == 1:
            task = self._isolation.begin()
            self._ready.append(task if self._gatherer is None else Batch([task]))
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

    def _unstarted(self) -> list[Task]:
        """Take back all that has not started."""
        tasks = tasks_of([*self._pool.take_back(), *self._ready])
        self._ready.clear()
        if self._gatherer is not None:
            tasks += self._gatherer.take_back()
        return tasks

    def _return_unstarted(self) -> None:
        """Give back what was fetched and has not started: others may have room for it."""
        self._release(
            [*self._unstarted(), *self._admitter.take_back(), *self._isolation.take_back()]
        )

    def _release(self, unstarted: list[Task]) -> None:
        if unstarted:
            self._ended.extend(release(task) for task in unstarted)
            self._close(self._clock.monotonic())

    def _sift_unstarted(self) -> None:
        tasks = self._admitter.sift([*self._unstarted(), *self._isolation.take_back()])
        if tasks:
            self._submit(tasks, self._clock.monotonic())

    def _adjust(self, now: float) -> None:
        """Change how many calls run at once."""
        size, self._resize_to = self._resize_to, None
        if self._level is not None and now >= self._level_at:
            self._level_at = now + LEVEL_PERIOD
            waiting = self._pool.pending() + len(self._ready)
            size = self._level.size(now, self._pool.busy(), waiting)
        if size is not None and size != self._pool.size:
            self._pool.resize(size)

    # from the pool back to the broker

    def _close(self, now: float) -> None:
        """Record and settle all outcomes there are. What fails stays in `_unsettled` for the next
        turn."""
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
        if not batch or now < self._retry_at:
            return
        try:
            late = self._settler.settle(batch)
        except Unavailable as error:
            self._suffer(error)
            return
        self._recover()
        self._unsettled = []
        self._stirred = True
        self.in_hand -= len(batch)
        self._count(batch)
        self._gates.learn(batch, now)
        self._cancel.learn(batch)
        self._isolation.learn(batch)
        if late:
            self._tally.counts.late += len(late)
            log.warning(
                "%d outcomes came too late: the lease had been lost, and others carry these"
                " messages out",
                len(late),
            )
        if self._left is not None:
            self._left -= sum(1 for task in batch if task.state in ENDED)
        if self._on_closed is not None:
            self._on_closed(batch)

    def _count(self, batch: list[Task]) -> None:
        counts = self._tally.counts
        seconds: list[float] = []
        add = seconds.append
        for task in batch:
            state = task.state
            if state == SUCCEEDED:
                counts.succeeded += 1
                add(task.seconds)
            elif state == FAILED:
                counts.failed += 1
                add(task.seconds)
            elif state == RETRY:
                counts.retried += 1
                add(task.seconds)
            elif state == REQUEUED:
                counts.requeued += 1
            elif state == RELEASED:
                counts.released += 1
            elif state == DROPPED:
                counts.dropped += 1
            elif state == CANCELLED:
                counts.cancelled += 1
            if task.retried:
                counts.retried += task.retried
        if seconds:
            self._tally.seconds.extend(seconds)
            self.prefetch.learn(seconds)
            if self._level is not None:
                self._level.learn(seconds, self._clock.monotonic())

    def _give_back(self) -> None:
        """The end: settle what can be, give back the rest. Where the broker cannot be reached, the
        end of the lease does it."""
        self._retry_at = 0.0
        self._return_unstarted()
        self._close(self._clock.monotonic())
        self._gates.close()
        self.unfinished = self.in_hand
        self._tally.counts.released += self.in_hand
        if self._on_closed is not None and self.unfinished:
            running = tasks_of(self._pool.running())
            self._on_closed([release(copy.copy(task)) for task in running])
        try:
            self._inbox.close()
        except Unavailable as error:
            log.error(
                "%s What is unfinished goes back to the queue when the lease runs out.", error
            )

    # when the broker or store cannot be reached

    def _suffer(self, error: Unavailable) -> None:
        if not self.trouble:
            log.error("%s Trying again until it works.", error)
        self.trouble = str(error)
        self._retry_at = self._clock.monotonic() + self._backoff.failed()

    def _recover(self) -> None:
        if self.trouble:
            log.warning("Back to work: the broker and the store answer again.")
            self.trouble = ""
        self._backoff.succeeded()
        self._retry_at = 0.0
