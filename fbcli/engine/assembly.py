"""One consumer's parts put together, in the order in which each needs the others."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence

from fbcli.arguments.signature import Signature
from fbcli.broker import Inbox
from fbcli.clock import Clock
from fbcli.controls.base import Gate, Place
from fbcli.controls.cancel import Cancel
from fbcli.controls.pause import Pause
from fbcli.engine.admission import Admitter
from fbcli.engine.batch import BatchGatherer
from fbcli.engine.callables import awaitable_call, plain_call
from fbcli.engine.dispatch import Dispatcher
from fbcli.engine.ending import Ending
from fbcli.engine.fetcher import Fetcher
from fbcli.engine.gates import Gates
from fbcli.engine.holds import Holds
from fbcli.engine.intake import Intake
from fbcli.engine.interrupts import Interrupts
from fbcli.engine.isolation import Isolation
from fbcli.engine.listeners import Listeners
from fbcli.engine.live_limits import LiveLimits
from fbcli.engine.outcomes import Outcomes
from fbcli.engine.planner import Planner
from fbcli.engine.pools import OnFailure, Pools, slots_of
from fbcli.engine.prefetch import Prefetch
from fbcli.engine.settler import Settler, release
from fbcli.engine.sizing import Sizing
from fbcli.engine.tally import Tally
from fbcli.engine.work import Work
from fbcli.errors import Unavailable
from fbcli.stores.base import News
from fbcli.task import Task, tasks_of


def place_of(work: Work, owner: str, clock: Clock) -> Place:
    """Return what the controls of a consumer may know of it."""
    return Place(work.queue, work.store, owner, work.options.heartbeat, clock)


class Assembly:
    """The parts of one consumer from the moment on that it has its inbox."""

    def __init__(
        self,
        work: Work,
        inbox: Inbox,
        place: Place,
        *,
        tally: Tally,
        ending: Ending,
        gates: Sequence[Gate],
        pools: Pools,
        on_failure: OnFailure,
        listeners: Listeners,
        clock: Clock,
    ) -> None:
        """`gates`: those that hold whatever the store says."""
        options, slots = work.options, slots_of(work.mode, work.options)
        self.inbox = inbox
        self._tally = tally
        self._listeners = listeners
        self.gates = Gates()
        self._prefetch = Prefetch(options.prefetch, clock)
        self._cancel = Cancel()
        fetcher = Fetcher(inbox)
        together = work.store.shares(work.broker)
        settler = Settler(work.queue, inbox, work.store, clock, together=together)
        outcomes = Outcomes(settler, tally, fetcher.wake)
        self.pool = pools.make(work, slots, outcomes.done, on_failure)
        self.interrupts = Interrupts(
            self.pool,
            outcomes.done,
            self._cancel,
            work.store,
            fetcher.wake,
            clock,
            kills=work.mode == "process",
        )
        place = place._replace(wake=fetcher.wake)
        self.planner = planner_of(work, place, self.interrupts)
        admitter = Admitter(
            self.planner.plan,
            self.planner.plan_for,
            self._cancel,
            outcomes.refuse,
            clock,
            waiting_room=max(1, slots // 2),
        )
        isolation = Isolation()
        gatherer = BatchGatherer(options.batch, options.batch_wait) if options.batch else None
        dispatcher = Dispatcher(self.pool, self.gates, self._prefetch, gatherer)
        self.holds = Holds(
            work.queue,
            [
                lambda: self.gates.holds(clock.monotonic()),
                admitter.holds,
                dispatcher.holds,
                isolation.holds,
            ],
            clock,
        )
        self._sizing = Sizing(self.pool, fetcher.wake)
        self.intake = Intake(
            fetcher=fetcher,
            admitter=admitter,
            isolation=isolation,
            dispatcher=dispatcher,
            pool=self.pool,
            outcomes=outcomes,
            learners=[
                admitter.learn,
                self._count,
                self.gates.learn,
                self._cancel.learn,
                isolation.learn,
                ending.learn,
                listeners.tell,
            ],
            gates=self.gates,
            prefetch=self._prefetch,
            sizing=self._sizing,
            ending=ending,
            clock=clock,
        )
        self.live_limits = LiveLimits(
            options,
            place,
            slots=slots,
            pause=Pause(),
            always=[*gates, *listeners.gates()],
            gates=self.gates,
            resize=self._sizing.resize,
        )
        self.live_limits.apply(None)

    @property
    def heeds(self) -> Sequence[Callable[[News], None]]:
        """What goes by the news of the store."""
        return (self.live_limits.heed, self.interrupts.heed)

    def wake(self) -> None:
        """Have the intake look at what it was asked for. From any thread."""
        self.inbox.wake()

    def serve(self) -> None:
        """Consume to the end. Blocks."""
        try:
            self.intake.serve()
        finally:
            self._tally.counts.released += self.intake.unfinished
            if self.intake.unfinished:
                running = tasks_of(self.pool.running())
                self._listeners.tell([release(copy.copy(task)) for task in running])

    def close(self) -> None:
        """Interrupt nothing any more, and let the workers go."""
        self.interrupts.close()
        self.pool.close()

    def retire(self) -> None:
        """The services have ended: take leave of the store."""
        with contextlib.suppress(Unavailable):  # the requests run out by themselves
            self.interrupts.end_requests()

    def _count(self, tasks: Sequence[Task], now: float) -> None:
        seconds = self._tally.count(tasks)
        if seconds:
            self._prefetch.learn(seconds)
            self._sizing.learn(seconds, now)


def planner_of(work: Work, place: Place, interrupts: Interrupts) -> Planner:
    """Return what makes the plans of a consumer."""
    called = awaitable_call if work.mode == "asyncio" else plain_call
    own = Signature.of(work.function) if work.rows else work.signature
    return Planner(
        queue=work.queue,
        address=work.address,
        function=called(work.function, own),
        signature=work.signature,
        rows=work.rows,
        options=work.options,
        place=place,
        deadlines=interrupts.deadlines,
    )
