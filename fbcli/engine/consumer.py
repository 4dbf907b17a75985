"""One function consumed in one process: its parts, pool and services, in the order in which they
start and stop."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Sequence

import msgspec

from fbcli.broker import Inbox
from fbcli.clients.loading import mask
from fbcli.clock import SYSTEM, Backoff, Clock
from fbcli.controls.catalogue import gates_of
from fbcli.emulation import cautions
from fbcli.engine.assembly import Assembly, place_of
from fbcli.engine.ending import Ending
from fbcli.engine.listeners import Listener, Listeners
from fbcli.engine.pools import Pools, described, slots_of
from fbcli.engine.record import Recorder
from fbcli.engine.services.enlistment import enlist
from fbcli.engine.services.shared import Membership, Services, process_services
from fbcli.engine.settler import HOST
from fbcli.engine.tally import Snapshot, Tally
from fbcli.engine.work import Work
from fbcli.errors import FbError, Unavailable
from fbcli.stores.base import ConsumerRecord
from fbcli.task import Task, tasks_of

log = logging.getLogger("fbcli.consumer")

LEASE_BEATS = 2.0
"""A lease lasts so many heartbeats, and is looked after twice a heartbeat: a dead consumer's tasks
are back within three."""

LAST_WORDS = 2.0
"""Seconds within which a deaf consumer may end in order; one that does not hangs, and is not waited
for any more."""


class Consumer:
    """Consumes one queue. `start` returns at once; `serve` blocks in the calling thread."""

    def __init__(
        self,
        work: Work,
        *,
        pools: Pools | None = None,
        services: Services | None = None,
        burst: bool = False,
        max_tasks: int | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        """`pools`: those of the process, for functions that share one; `services`: those that its
        consumers share; `listeners` hear of all tasks that are settled."""
        self.work = work
        self.consumer_id = f"{HOST}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.tally = Tally()
        self._recorder = Recorder(self.consumer_id, clock)
        self.failure: BaseException | None = None
        """Why it ended, if it did not end as it should."""
        self.trouble = ""
        """Why it has not begun yet."""
        self._pools = pools or Pools()
        self._services = services or process_services()
        self._listeners = Listeners(listeners, clock)
        self._clock = clock
        self._ending = Ending(clock, burst=burst, max_tasks=max_tasks)
        self._parts: Assembly | None = None
        """What it is made of, once it has its inbox."""
        self._thread: threading.Thread | None = None
        self._ended = False
        self._lost_at: float | None = None
        """Monotonic time from which on its thread is not waited for any more."""

    @property
    def state(self) -> str:
        """new, running, draining or stopped."""
        if self._ended:
            return "stopped"
        if self._parts is None:
            return "new"
        return "draining" if self._ending.stopping else "running"

    @property
    def concurrency(self) -> int:
        """Most calls at once."""
        if self._parts is None:
            return slots_of(self.work.mode, self.work.options)
        return self._parts.pool.size

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
        self._ending.stop(self.work.options.drain if drain is None else drain)
        self._wake()

    def quiet(self) -> None:
        """Fetch no more, but stay and keep the lease."""
        self._ending.quiet = True
        self._wake()

    def running(self) -> list[Task]:
        """Return the tasks that run now."""
        return [] if self._parts is None else tasks_of(self._parts.pool.running())

    def snapshot(self) -> Snapshot:
        """Return the state of this moment. From any thread."""
        parts, state = self._parts, self.state
        shut = parts.gates.shut(self._clock.monotonic()) if parts and state == "running" else None
        return Snapshot(
            queue=self.work.queue,
            address=self.work.address,
            counts=msgspec.structs.replace(self.tally.counts),
            in_flight=parts.intake.in_hand if parts else 0,
            running=len(self.running()),
            concurrency=self.concurrency,
            state=shut.state if shut else state,
            note=shut.note if shut else "",
            trouble=parts.intake.outage.reason if parts else self.trouble,
            seconds=list(self.tally.seconds),
            unfinished=parts.intake.unfinished if parts else 0,
        )

    def record(self) -> ConsumerRecord:
        """Return what other machines see of this consumer. Called by one service."""
        in_force = self._parts.live_limits.in_force if self._parts else None
        running = [task.task_id for task in self.running()]
        holds = self._parts.holds.look() if self._parts and not self._ending.stopping else []
        return self._recorder.record(self.snapshot(), running, in_force, holds)

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
            self._ended = True

    def _serve(self) -> None:
        work, options = self.work, self.work.options
        place = place_of(work, self.consumer_id, self._clock)
        gates = gates_of(options, place, live=False)
        self._pools.check(work)
        inbox = self._open_inbox(options.prefetch or self.concurrency)
        if inbox is None:
            return
        self._parts = parts = Assembly(
            work,
            inbox,
            place,
            tally=self.tally,
            ending=self._ending,
            gates=gates,
            pools=self._pools,
            on_failure=self._fail,
            listeners=self._listeners,
            clock=self._clock,
        )
        log.info(
            "consuming %s from %s on %s (%s)",
            work.address,
            work.queue,
            mask(work.broker.url),
            described(work.mode, options),
        )
        for sentence in (*options.without_effect(), *cautions(work.broker, options.timeout)):
            log.warning("%s", sentence)
        memberships: Sequence[Membership] = ()
        try:
            memberships = enlist(
                self._services,
                work,
                parts,
                owner=self.consumer_id,
                tally=self.tally,
                ending=self._ending,
                record=self.record,
                give_in=self._give_in,
                clock=self._clock,
            )
            parts.serve()
        finally:
            for membership in memberships:
                membership.leave()
            parts.close()
            for membership in memberships:
                membership.retire()
            parts.retire()

    def _open_inbox(self, prefetch: int) -> Inbox | None:
        """Open the inbox, however long the broker takes to be there; None when it is told to stop
        before.

        Only one that shall end when the queue is empty fails at once: nobody waits for it to run
        for ever.
        """
        work, backoff = self.work, Backoff()
        lease = work.options.heartbeat * LEASE_BEATS
        while True:
            try:
                return work.broker.open(
                    work.queue, consumer_id=self.consumer_id, prefetch=prefetch, lease=lease
                )
            except Unavailable as error:
                if self._ending.burst:
                    raise
                if not backoff.failures:
                    log.error("%s Trying again until it works.", error)
                self.trouble = str(error)
            if self._ending.wait(backoff.failed()):
                return None

    def _wake(self) -> None:
        if self._parts is not None and not self._ended:
            self._parts.wake()

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
