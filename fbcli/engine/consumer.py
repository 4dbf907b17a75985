"""One function consumed in one process: intake, pool and services put together, in the order in
which they start and stop."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from fbcli.arguments.signature import Signature
from fbcli.broker import Inbox
from fbcli.clients.loading import mask
from fbcli.clock import SYSTEM, Backoff, Clock
from fbcli.controls.base import Gate
from fbcli.controls.breaker import Breaker
from fbcli.controls.cancel import Cancel
from fbcli.controls.claims import LEASE_BEATS as CLAIM_BEATS
from fbcli.controls.pause import Pause
from fbcli.controls.timeout import Deadlines, deadline_of
from fbcli.controls.window import Window
from fbcli.engine.admission import Admitter
from fbcli.engine.assembly import Pools, described, slots_of
from fbcli.engine.batch import Batch, BatchGatherer
from fbcli.engine.callables import awaitable_call, plain_call
from fbcli.engine.gates import Gates
from fbcli.engine.intake import Intake, OnClosed
from fbcli.engine.lifecycle import interrupted
from fbcli.engine.live_limits import LiveLimits
from fbcli.engine.planner import Planner
from fbcli.engine.services.claim_keeper import ClaimKeeper
from fbcli.engine.services.heartbeat import Heartbeat
from fbcli.engine.services.mover import Mover
from fbcli.engine.services.service import Service
from fbcli.engine.services.store_watch import StoreWatch
from fbcli.engine.services.watchdog import Watchdog
from fbcli.engine.settler import HOST, Settler
from fbcli.engine.tally import Snapshot, Tally
from fbcli.engine.work import Work
from fbcli.errors import FbError, TaskCancelled, Unavailable
from fbcli.pools.base import Pool
from fbcli.stores.base import News, Worker
from fbcli.task import Run, Task, tasks_of

log = logging.getLogger("fbcli.consumer")

LEASE_BEATS = 2.0
"""A lease lasts so many heartbeats, and is looked after twice a heartbeat: a dead consumer's tasks
are back within three."""

LAST_WORDS = 2.0
"""Seconds within which a deaf consumer may end in order; one that does not hangs, and is not waited
for any more."""

MOST_REPORTED = 200
"""How many running tasks a consumer reports to the store by their ids."""


class Consumer:
    """Consumes one queue. `start` returns at once; `serve` blocks in the calling thread."""

    def __init__(
        self,
        work: Work,
        *,
        pools: Pools | None = None,
        burst: bool = False,
        max_tasks: int | None = None,
        on_closed: OnClosed | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """`pools`: those of the process, for functions that share one."""
        self.work = work
        self.consumer_id = f"{HOST}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.tally = Tally()
        self.failure: BaseException | None = None
        """Why it ended, if it did not end as it should."""
        self._pools = pools or Pools()
        self._burst = burst
        self._max_tasks = max_tasks
        self._on_closed = on_closed
        self._clock = clock
        self._slots = slots_of(work.mode, work.options)
        self._pause = Pause()
        self._gates = Gates()
        self._cancel = Cancel()
        self._inbox: Inbox
        self._intake: Intake | None = None
        self._pool: Pool[Run] | None = None
        self._live_limits: LiveLimits | None = None
        self._thread: threading.Thread | None = None
        self._opened = threading.Lock()
        self._stopped = threading.Event()
        self._lost_at: float | None = None
        """Monotonic time from which on its thread is not waited for any more."""
        self._stop_asked: float | None = None
        self._quiet_asked = False
        self.trouble = ""
        """Why it has not begun yet."""
        self.state = "new"
        self._deadlines = Deadlines(self._in_pool, self._interrupt, self._abandon, clock)

    @property
    def concurrency(self) -> int:
        """Most calls at once."""
        return self._slots if self._pool is None else self._pool.size

    def start(self) -> Consumer:
        """Consume in a thread of its own. Idempotent."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self.serve, name=f"fb-{self.work.queue}", daemon=True
            )
            self._thread.start()
        return self

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended (seconds; None: as long as it takes); False when it has not."""
        if self._thread is None:
            ended = self.state in ("new", "stopped")
        else:
            if self._lost_at is not None:
                left = max(0.0, self._lost_at - self._clock.monotonic())
                timeout = left if timeout is None else min(timeout, left)
            self._thread.join(timeout)
            ended = not self._thread.is_alive()
        return ended or (self._lost_at is not None and self._clock.monotonic() >= self._lost_at)

    def stop(self, drain: float | None = None) -> None:
        """Fetch no more; what runs may finish within `drain` seconds (default: the option); the
        rest goes back. Returns at once."""
        drain = self.work.options.drain if drain is None else drain
        with self._opened:
            self._stop_asked = drain
            self._stopped.set()
            if self._intake is not None and self.state != "stopped":
                self.state = "draining"
                self._intake.stop(drain)

    def quiet(self) -> None:
        """Fetch no more, but stay and keep the lease."""
        with self._opened:
            self._quiet_asked = True
            if self._intake is not None:
                self._intake.quiet()

    def running(self) -> list[Task]:
        """Return the tasks that run now."""
        return tasks_of(self._in_pool())

    def _in_pool(self) -> list[Run]:
        """Return the tasks and batches that run now."""
        return [] if self._pool is None else self._pool.running()

    def snapshot(self) -> Snapshot:
        """Return the state of this moment. From any thread."""
        intake = self._intake
        shut = self._gates.shut(self._clock.monotonic()) if self.state == "running" else None
        return Snapshot(
            queue=self.work.queue,
            address=self.work.address,
            counts=msgspec.structs.replace(self.tally.counts),
            in_flight=0 if intake is None else intake.in_hand,
            running=len(self.running()),
            concurrency=self.concurrency,
            state=shut.state if shut else self.state,
            note=shut.note if shut else "",
            trouble=self.trouble if intake is None else intake.trouble,
            seconds=list(self.tally.seconds),
            unfinished=0 if intake is None else intake.unfinished,
        )

    def serve(self) -> None:
        """Consume until stopped. An error of fbcli itself ends it with `failure` set: nothing is
        lost, the lease runs out."""
        try:
            self._serve()
        except FbError as error:
            self.failure = error
            log.error("%s", error)
        except BaseException as error:
            self.failure = error
            log.critical(
                "the consumer of %s has failed: %r", self.work.queue, error, exc_info=error
            )
        finally:
            self.state = "stopped"

    def _serve(self) -> None:
        work, options = self.work, self.work.options
        always = self._standing_gates()
        self._pools.check(work)
        inbox = self._open_inbox(options.prefetch or self._slots, options.heartbeat * LEASE_BEATS)
        if inbox is None:
            return
        self._inbox = inbox
        planner = self._planner()

        def admitter(ended: Callable[[Task], None]) -> Admitter:
            room = max(1, self._slots // 2)
            return Admitter(
                planner.plan, planner.plan_for, self._cancel, ended, self._clock, waiting_room=room
            )

        intake = Intake(
            inbox=inbox,
            settler=Settler(work.queue, work.broker, inbox, work.store, self._clock),
            admitter=admitter,
            gates=self._gates,
            cancel=self._cancel,
            tally=self.tally,
            prefetch=options.prefetch,
            gatherer=BatchGatherer(options.batch, options.batch_wait) if options.batch else None,
            burst=self._burst,
            max_tasks=self._max_tasks,
            on_closed=self._on_closed,
            clock=self._clock,
        )
        self._pool = pool = self._pools.make(work, self._slots, intake.done, self._fail)
        self._live_limits = LiveLimits(
            work.queue,
            options,
            slots=self._slots,
            always=always,
            gates=self._gates,
            resize=intake.resize,
            wake=intake.wake,
            store=work.store,
            clock=self._clock,
        )
        worker = Worker(self.consumer_id, HOST, os.getpid(), self._clock.now(), {})
        watch = StoreWatch(
            work.store,
            worker,
            self._report,
            [self._heed_pause, self._heed_limits, self._heed_cancels],
        )
        services = self._services(watch, planner.spaces, intake)
        with self._opened:
            self._intake = intake
            self.state = "running"
            if self._quiet_asked:
                intake.quiet()
            if self._stop_asked is not None:
                intake.stop(self._stop_asked)
        how = described(work.mode, options)
        log.info(
            "consuming %s from %s on %s (%s)", work.address, work.queue, mask(work.broker.url), how
        )
        for sentence in options.without_effect():
            log.warning("%s", sentence)
        self._live_limits.apply(None)
        watch.first_look()
        for service in services:
            service.start()
        try:
            intake.serve(pool)
        finally:
            for service in services:
                service.stop()
            self._deadlines.close()
            pool.close()
            for service in services:
                service.retire()
            with contextlib.suppress(Unavailable):  # they run out by themselves
                self._end_cancels()

    def _standing_gates(self) -> list[Gate]:
        """Return the gates that hold whatever `fb limit` says. Raises `BadSetting`."""
        options = self.work.options
        gates: list[Gate] = [self._pause]
        if options.window or options.not_between:
            gates.append(Window(options.window, options.not_between, options.tz, self._clock))
        if options.breaker is not None:
            gates.append(Breaker(options.breaker))
        return gates

    def _planner(self) -> Planner:
        work = self.work
        called = awaitable_call if work.mode == "asyncio" else plain_call
        return Planner(
            queue=work.queue,
            address=work.address,
            function=called(
                work.function, Signature.of(work.function) if work.rows else work.signature
            ),
            signature=work.signature,
            rows=work.rows,
            options=work.options,
            store=work.store,
            owner=self.consumer_id,
            deadlines=self._deadlines,
        )

    def _services(self, watch: StoreWatch, spaces: list[str], intake: Intake) -> list[Service]:
        """Return the services, in the order in which they start and stop."""
        work, options = self.work, self.work.options
        services: list[Service] = [Heartbeat(self._inbox, self.tally, options.heartbeat / 2), watch]
        if spaces:
            lease = options.heartbeat * CLAIM_BEATS
            services.append(
                ClaimKeeper(work.store, spaces, self.consumer_id, lease, options.heartbeat / 2)
            )
        if options.watchdog and work.broker.capabilities.size:
            services.append(
                Watchdog(intake, self._ready, self._give_in, options.watchdog, self._clock)
            )
        if not work.broker.capabilities.delay:
            services.append(Mover(work.store, work.broker, work.queue))
        return services

    def _ready(self) -> int | None:
        size = self.work.broker.size(self.work.queue)
        return None if size is None else size.ready

    def _give_in(self, reason: str) -> None:
        """End in failure at once, so that whatever supervises the process starts another."""
        self.failure = Unavailable(f"The consumer of {self.work.queue} {reason}.")
        log.critical("%s Ending, so that another may take its place.", self.failure)
        self._lost_at = self._clock.monotonic() + LAST_WORDS
        self.stop(0.0)

    def _fail(self, error: FbError) -> None:
        """No call can ever be made: end, and give everything back."""
        if self.failure is None:
            self.failure = error
            log.error("%s", error)
        self.stop(0.0)

    # what the store says

    def _heed_pause(self, news: News) -> None:
        queue = self.work.queue
        if queue in news.pauses:
            if self._pause.set(news.pauses[queue], self._clock.monotonic()):
                log.warning("%s is paused; `fb resume %s` ends that", queue, queue)
                self._inbox.wake()
        elif self._pause.lift():
            log.warning("%s goes on", queue)
            self._inbox.wake()

    def _heed_limits(self, news: News) -> None:
        assert self._live_limits is not None
        self._live_limits.apply(news.limits.get(self.work.queue))

    def _heed_cancels(self, news: News) -> None:
        """Note: a task may start between two looks at what is cancelled, so what runs is compared
        at every look."""
        if self._cancel.set(news.cancels) and self._intake is not None:
            self._intake.sift()
        if self._cancel.wanted:
            for item in self._in_pool():
                if self._is_unwanted(item):
                    self._deadlines.interrupt_now(item, TaskCancelled)
        self._end_cancels()

    def _is_unwanted(self, item: Run) -> bool:
        """Whether what a task or batch is working on has been cancelled."""
        wanted = self._cancel.wanted
        if type(item) is not Batch:
            return item.task_id in wanted
        item.unwanted |= wanted.intersection(task.task_id for task in item.tasks)
        return bool(item.unwanted) if item.whole else item.task_id in item.unwanted

    def _end_cancels(self) -> None:
        """Tell the store which requests have been served."""
        served = self._cancel.served()
        if served:
            self.work.store.end_cancels(served)

    def _report(self) -> dict[str, dict[str, Any]]:
        """Return what other machines see of this consumer."""
        report = self.tally.as_report()
        report["in_flight"] = 0 if self._intake is None else self._intake.in_hand
        report["running"] = [task.task_id for task in self.running()[:MOST_REPORTED]]
        report["address"] = self.work.address
        report["concurrency"] = self.concurrency
        shut = self._gates.shut(self._clock.monotonic())
        report["state"] = shut.state if shut and self.state == "running" else self.state
        if self._live_limits is not None and self._live_limits.in_force is not None:
            report["qps"] = self._live_limits.in_force.qps
            report["qps_scope"] = self._live_limits.in_force.qps_scope
        return {self.work.queue: report}

    def _open_inbox(self, prefetch: int, lease: float) -> Inbox | None:
        """Open the inbox, however long the broker takes to be there; None when it is told to stop
        before.

        Only one that shall end when the queue is empty fails at once: nobody waits for it to run
        for ever.
        """
        backoff = Backoff()
        while True:
            try:
                return self.work.broker.open(
                    self.work.queue, consumer_id=self.consumer_id, prefetch=prefetch, lease=lease
                )
            except Unavailable as error:
                if self._burst:
                    raise
                if not backoff.failures:
                    log.error("%s Trying again until it works.", error)
                self.trouble = str(error)
            if self._stopped.wait(backoff.failed()):
                return None

    # timeouts

    def _interrupt(self, task: Run, exception: type[BaseException]) -> bool:
        return self._pool is not None and self._pool.interrupt(task, exception)

    def _abandon(self, task: Run) -> bool:
        """A call that did not react to its interrupt: settle it as it was meant, and let another
        thread have its slot."""
        abandoned = None if self._pool is None else self._pool.abandon(task)
        if abandoned is None:
            return False
        assert self._intake is not None
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
            "its child process is killed"
            if self.work.mode == "process"
            else "its thread is left behind until that returns",
            extra={"task_id": task.task_id},
        )
        self._intake.done(abandoned)
        return True
