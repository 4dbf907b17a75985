"""The heart of a consumer: one thread that owns the inbox.

    fetch a batch -> decode -> admit -> pool.submit … outcomes -> record -> settle

Everything travels in batches. The thread waits only inside `inbox.fetch`; outcomes, stops and pauses wake it there.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fbcli.broker import Delivery, Inbox
from fbcli.clock import SYSTEM, Clock
from fbcli.controls.base import Gate, Later
from fbcli.engine.appetite import Appetite
from fbcli.engine.lifecycle import interrupted
from fbcli.engine.plan import Plan
from fbcli.engine.settler import Settler, release
from fbcli.engine.tally import Tally
from fbcli.errors import BadMessage, FbError, Unavailable
from fbcli.message import decode, new_task_id
from fbcli.options import PER_MESSAGE
from fbcli.pools.base import Pool
from fbcli.task import DROPPED, FAILED, RELEASED, REQUEUED, RETRY, RUNNING, SUCCEEDED, Failure, Task

log = logging.getLogger("fbcli.consumer")
task_log = logging.getLogger("fbcli.task")

PLAIN_EXTRA = frozenset({"task_id", "publish_time"})
"""Keys of `extra` that change nothing about how a task runs."""

MAX_WAIT = 1.0
"""Longest wait in one fetch (seconds); everything urgent wakes it earlier."""

QUORUM = 64
"""While tasks are short, so many outcomes are worth waking the intake for."""

BRISK_LOOK = 0.01
"""While tasks are short, the intake looks for outcomes that nobody woke it for after so many seconds."""

FIRST_BACKOFF, LAST_BACKOFF = 0.1, 5.0
"""Seconds between tries while the broker or store cannot be reached."""

PlanFor = Callable[[dict[str, Any]], Plan]
OnClosed = Callable[[Sequence[Task]], None]


class Intake:
    """Runs until `stop` (or, with `burst`, until the queue is empty; or until `max_tasks` have ended)."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        settler: Settler,
        plan: Plan,
        plan_for: PlanFor,
        gates: Sequence[Gate],
        tally: Tally,
        prefetch: int | None,
        burst: bool = False,
        max_tasks: int | None = None,
        on_closed: OnClosed | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._inbox = inbox
        self._settler = settler
        self._plan = plan
        self._plan_for = plan_for
        self._gates = tuple(gates)
        self._pacers = tuple(gate for gate in gates if gate.paces)
        self._tally = tally
        self._burst = burst
        self._left = max_tasks
        self._on_closed = on_closed
        self._clock = clock
        self.appetite = Appetite(prefetch, clock)
        self.trouble = ""
        """Why nothing can be fetched or settled now; empty when all is well."""
        self._pool: Pool
        self._ready: deque[Task] = deque()
        self._ended: deque[Task] = deque()
        self._unsettled: list[Task] = []
        self._waiting = False
        self._backoff = 0.0
        self._retry_at = 0.0
        self.in_hand = 0
        """Messages fetched and not yet settled."""
        self.unfinished = 0
        """At the end: what was still running when the drain time was over."""
        self._stop_at: float | None = None
        self._stopping = threading.Event()
        self._quiet = False

    def serve(self, pool: Pool) -> None:
        """Consume with `pool` until it is time to end; then give back what is unfinished. Blocks."""
        self._pool = pool
        try:
            while not self._over():
                self._turn()
        finally:
            self._give_back()

    def stop(self, drain: float) -> None:
        """Fetch no more; end when all that runs has ended, or after `drain` seconds. From any thread; a later call may shorten."""
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

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def done(self, task: Task) -> None:
        """Take a task whose run has ended; called by the pool's workers."""
        ended = self._ended
        ended.append(task)
        if self._waiting and (not self.appetite.brisk or len(ended) >= QUORUM or not self._pool.pending()):
            self._inbox.wake()

    # one turn of the loop

    def _turn(self) -> None:
        now = self._clock.monotonic()
        if self._ended or self._unsettled:
            self._close(now)
        if self.stopping or any(gate.closed() for gate in self._gates):
            self._return_unstarted()
        self._start(now)
        nudge = self._pool.nudge(self.appetite.brisk)
        limit, wait = self._wanted(now)
        if nudge is not None:
            wait = min(wait, nudge)
        if self._burst and limit and not self.in_hand:
            wait = 0.0
        self._waiting = True
        if self._ended:
            wait = 0.0
        try:
            deliveries = self._inbox.fetch(limit, wait)
        except Unavailable as error:
            self._suffer(error)
            return
        finally:
            self._waiting = False
        if deliveries:
            self._recover()
            self._admit(deliveries)
        elif limit:
            self._recover()
            if self._burst and not self.in_hand and not self._closed_now():
                self.stop(0.0)

    def _over(self) -> bool:
        if not self.stopping:
            if self._left is not None and self._left <= 0 and not self.in_hand:
                self._stopping.set()
                return True
            return False
        return not self.in_hand or self._clock.monotonic() >= (self._stop_at or 0.0)

    def _closed_now(self) -> bool:
        return any(gate.closed() for gate in self._gates)

    def _wanted(self, now: float) -> tuple[int, float]:
        """Return how many messages to fetch, and how long to wait for them or for anything else (seconds)."""
        wait = MAX_WAIT
        if self.stopping:
            wait = min(wait, max(0.0, (self._stop_at or 0.0) - now))
        if self.in_hand and self.appetite.brisk:
            wait = min(wait, BRISK_LOOK)
        if now < self._retry_at:
            return 0, min(wait, self._retry_at - now)
        limit = 0 if self.stopping or self._quiet or self._unsettled else self.appetite.room(self.in_hand, self._pool.size)
        for gate in self._gates:
            room, again = gate.fetchable(now)
            if room - self.in_hand < limit:
                limit = max(0, room - self.in_hand)
                wait = min(wait, max(0.0, again - now))
        if self._ready and self._free():
            for gate in self._pacers:
                wait = min(wait, max(0.0, gate.startable(now).again - now))
        if self._left is not None:
            limit = min(limit, self._left - self.in_hand)
        return max(0, limit), wait

    # from the broker to the pool

    def _admit(self, deliveries: list[Delivery]) -> None:
        self.in_hand += len(deliveries)
        self.appetite.weigh(deliveries)
        tasks: list[Task] = []
        add, refuse, plan = tasks.append, self._plan.signature.refuse, self._plan
        cap, converts = plan.options.max_deliveries, plan.signature.converts
        plain = not plan.admissions
        for delivery in deliveries:
            try:
                arguments, extra = decode(delivery.body)
                reason = refuse(arguments)
                if reason is not None:
                    raise BadMessage(reason)
                task_id = extra.get("task_id")
                if type(task_id) is not str:
                    task_id = new_task_id() if task_id is None else str(task_id)
                if converts:
                    arguments = plan.signature.convert(arguments)
                task = Task(delivery, task_id, arguments, extra, plan)
                if delivery.deliveries > cap:
                    raise BadMessage(
                        f"delivered {delivery.deliveries - 1} times, and each time its worker died before it was settled"
                    )
                if extra.keys() <= PLAIN_EXTRA:
                    if plain or self._passes(task):
                        add(task)
                elif self._special(task):
                    add(task)
            except FbError as error:
                self._refuse(delivery, error)
        if not tasks:
            return
        if self._pacers:
            self._ready.extend(tasks)
        else:
            self._pool.submit(tasks)

    def _special(self, task: Task) -> bool:
        """Apply what a message sets for itself; True when the task may run now."""
        extra = task.extra
        if not extra.keys().isdisjoint(PER_MESSAGE) or "result" in extra or "delay_until" in extra:
            task.plan = self._plan_for(extra)
        attempts = extra.get("attempts", 0)
        task.attempt = attempts if type(attempts) is int and attempts > 0 else 0
        return self._passes(task)

    def _passes(self, task: Task) -> bool:
        """Ask the admission controls; a task that may not run gets its outcome here, and no attempt."""
        now = self._clock.now()
        for control in task.plan.admissions:
            verdict = control.admit(task, now)
            if verdict is None:
                continue
            if isinstance(verdict, Later):
                task.state, task.delay = REQUEUED, max(0.0, verdict.at - now)
            else:
                task.state, task.failure = DROPPED, Failure("Dropped", verdict.reason)
                task_log.info("dropped: %s", verdict.reason, extra={"task_id": task.task_id, "queue": task.plan.queue})
            self._ended.append(task)
            return False
        return True

    def _refuse(self, delivery: Delivery, error: FbError) -> None:
        """Send a message that no call can be made of to the dead letters, with the reason."""
        try:
            _, extra = decode(delivery.body)
            task_id = str(extra.get("task_id") or new_task_id())
        except BadMessage:
            extra, task_id = {}, new_task_id()
        task = Task(delivery, task_id, {}, extra, self._plan, state=FAILED)
        task.failure = Failure(type(error).__name__, str(error))
        task_log.error("refused: %s", error, extra={"task_id": task_id, "queue": self._plan.queue})
        self._ended.append(task)

    def _free(self) -> int:
        return self._pool.size - self._pool.pending() - len(self._pool.running())

    def _start(self, now: float) -> None:
        """Hand over what is paced when its time has come, and only into a free slot, so that it starts then and not later."""
        if not self._ready:
            return
        count = min(len(self._ready), self._free())
        for gate in self._pacers:
            count = min(count, gate.startable(now).room)
        if count <= 0:
            return
        self._pool.submit([self._ready.popleft() for _ in range(count)])
        for gate in self._pacers:
            gate.started(count, now)

    def _return_unstarted(self) -> None:
        """Give back what was fetched and has not started: others may have room for it."""
        unstarted = [*self._pool.take_back(), *self._ready]
        self._ready.clear()
        if unstarted:
            self._ended.extend(release(task) for task in unstarted)
            self._close(self._clock.monotonic())

    # from the pool back to the broker

    def _close(self, now: float) -> None:
        """Record and settle all outcomes there are. What fails stays in `_unsettled` for the next turn."""
        take = self._ended.popleft
        batch = self._unsettled
        for _ in range(len(self._ended)):
            task = take()
            if task.state == RUNNING:
                interrupted(task)
            batch.append(task)
        if not batch or now < self._retry_at:
            return
        try:
            late = self._settler.settle(batch)
        except Unavailable as error:
            self._suffer(error)
            return
        self._recover()
        self._unsettled = []
        self.in_hand -= len(batch)
        self._count(batch)
        if late:
            self._tally.counts.late += len(late)
            log.warning("%d outcomes came too late: the lease had been lost, and others carry these messages out", len(late))
        if self._left is not None:
            self._left -= sum(1 for task in batch if task.state in (SUCCEEDED, FAILED, DROPPED))
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
            if task.retried:
                counts.retried += task.retried
        if seconds:
            self._tally.seconds.extend(seconds)
            self.appetite.learn(seconds)

    def _give_back(self) -> None:
        """The end: settle what can be, give back the rest. Where the broker cannot be reached, the end of the lease does it."""
        self._retry_at = 0.0
        self._return_unstarted()
        self._close(self._clock.monotonic())
        self.unfinished = self.in_hand
        self._tally.counts.released += self.in_hand
        if self._on_closed is not None and self.unfinished:
            self._on_closed([release(copy.copy(task)) for task in self._pool.running()])
        try:
            self._inbox.close()
        except Unavailable as error:
            log.error("%s What is unfinished goes back to the queue when the lease runs out.", error)

    # when the broker or store cannot be reached

    def _suffer(self, error: Unavailable) -> None:
        if not self.trouble:
            log.error("%s Trying again until it works.", error)
        self.trouble = str(error)
        self._backoff = min(LAST_BACKOFF, self._backoff * 2 or FIRST_BACKOFF)
        self._retry_at = self._clock.monotonic() + self._backoff

    def _recover(self) -> None:
        if self.trouble:
            log.warning("Back to work: the broker and the store answer again.")
            self.trouble = ""
        self._backoff = self._retry_at = 0.0
