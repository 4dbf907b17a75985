"""The heart of a consumer: one thread that owns the inbox.

    fetch a batch -> decode -> admit -> pool.submit … outcomes -> record -> settle

Everything travels in batches. The thread waits only inside `inbox.fetch`; outcomes, stops and
pauses wake it there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from fbcli.broker import Delivery
from fbcli.clock import Clock
from fbcli.engine.admission import Admitter
from fbcli.engine.dispatch import Dispatcher
from fbcli.engine.ending import Ending
from fbcli.engine.fetcher import MAX_WAIT, Fetcher
from fbcli.engine.gates import Gates
from fbcli.engine.isolation import Isolation
from fbcli.engine.outage import Outage
from fbcli.engine.outcomes import Outcomes
from fbcli.engine.prefetch import Prefetch
from fbcli.engine.settler import release
from fbcli.engine.sizing import Sizing
from fbcli.errors import Unavailable
from fbcli.pools.base import Pool
from fbcli.task import Run, Task

log = logging.getLogger("fbcli.consumer")

BRISK_LOOK = 0.01
"""While tasks are short, the intake looks for outcomes that nobody woke it for after so many
seconds."""

Learner = Callable[[Sequence[Task], float], None]
"""Is told of tasks that have been settled, and when (monotonic seconds), by the intake's thread."""


class Intake:
    """Runs until `ending` says that it is over."""

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        admitter: Admitter,
        isolation: Isolation,
        dispatcher: Dispatcher,
        pool: Pool[Run],
        outcomes: Outcomes,
        learners: Sequence[Learner],
        gates: Gates,
        prefetch: Prefetch,
        sizing: Sizing,
        ending: Ending,
        clock: Clock,
    ) -> None:
        self.fetcher = fetcher
        self._admitter = admitter
        self._isolation = isolation
        self._dispatcher = dispatcher
        self._pool = pool
        self._outcomes = outcomes
        self._learners = tuple(learners)
        self._gates = gates
        self._prefetch = prefetch
        self._sizing = sizing
        self._ending = ending
        self._clock = clock
        self.outage = Outage(clock)
        self.in_hand = 0
        """Messages fetched and not yet settled."""
        self.unfinished = 0
        """At the end: what was still running when the drain time was over."""

    def serve(self) -> None:
        """Consume until it is time to end; then give back what is unfinished. Blocks."""
        try:
            while not self._ending.over(self.in_hand):
                self._turn()
        finally:
            self._give_back()

    # one turn of the loop

    def _turn(self) -> None:
        now = self._clock.monotonic()
        if self._outcomes.waiting:
            self._settle(now)
        if self._ending.stopping or self._gates.closed(now):
            self._return_unstarted()
        elif self._admitter.must_sift():
            self._sift_unstarted(now)
        self._ask_again(now)
        self._start(now)
        self._sizing.adjust(now, self._dispatcher.waiting)
        nudge = self._pool.nudge(self._prefetch.brisk)
        limit, wait = self._wanted(now)
        if nudge is not None:
            wait = min(wait, nudge)
        if self._ending.burst and limit and not self.in_hand:
            wait = 0.0
        if self._outcomes.begin_wait(brisk=self._prefetch.brisk):
            wait = 0.0
        try:
            deliveries = self.fetcher.fetch(limit, wait, now, idle=not self.in_hand)
        except Unavailable as error:
            self.outage.note(error)
            return
        finally:
            self._outcomes.end_wait()
        if deliveries:
            self.outage.end()
            self._receive(deliveries)
        elif limit:
            self.outage.end()
            if self._ending.burst and not self.in_hand and not self._gates.closed(now):
                self._ending.stop(0.0)

    def _wanted(self, now: float) -> tuple[int, float]:
        """Return how many messages to fetch, and how long to wait for them or for anything else
        (seconds)."""
        wait = min(MAX_WAIT, max(0.0, self._gates.look_at() - now))
        if self._ending.stopping:  # what has just gone back or ended may have been the last
            wait = min(wait, self._ending.in_time(now)) if self.in_hand else 0.0
        if self.in_hand and self._prefetch.brisk:
            wait = min(wait, BRISK_LOOK)
        if now < self.outage.until:
            return 0, min(wait, self.outage.until - now)
        if self.in_hand:
            wait = min(wait, self._dispatcher.wait(now), self._sizing.wait())
            wait = min(wait, max(0.0, self._admitter.ask_at() - now))
        limit, unit = 0, self._dispatcher.unit
        if not (
            self._ending.stopping
            or self._ending.quiet
            or self._outcomes.stuck
            or self._admitter.stuck
            or self._isolation.task
        ):
            held = self.in_hand - self._admitter.held
            limit = self._prefetch.room(held, self._pool.size * unit)
        room, again = self._gates.fetchable(now, self._dispatcher.started(), unit)
        if room - self.in_hand < limit:
            limit = max(0, room - self.in_hand)
            wait = min(wait, max(0.0, again - now))
        if self._ending.left is not None:
            limit = min(limit, self._ending.left - self.in_hand)
        if self._isolation.careful:
            limit = min(limit, 1)
        return max(0, limit), wait

    # from the broker to the pool

    def _receive(self, deliveries: list[Delivery]) -> None:
        self.in_hand += len(deliveries)
        self._prefetch.weigh(deliveries)
        self._isolation.careful = False
        try:
            tasks = self._admitter.receive(deliveries)
        except Unavailable as error:
            self.outage.note(error)
            return
        if tasks:
            self._submit(tasks, self._clock.monotonic())

    def _ask_again(self, now: float) -> None:
        """Ask the controls anew about tasks that wait for others."""
        if not self._admitter.held or now < self.outage.until:
            return
        try:
            tasks = self._admitter.again(now)
        except Unavailable as error:
            self.outage.note(error)
            return
        self.outage.end()
        if tasks:
            self._submit(tasks, now)

    def _submit(self, tasks: list[Task], now: float) -> None:
        if self._admitter.suspicious and (others := self._isolation.choose(tasks)) is not None:
            self._release([*others, *self._dispatcher.take_back(), *self._admitter.take_back()])
            return
        self._dispatcher.submit(tasks, now)

    def _start(self, now: float) -> None:
        if self._isolation.waits and self.in_hand == 1:
            self._dispatcher.submit_alone(self._isolation.begin())
        self._dispatcher.start(now)

    def _sift_unstarted(self, now: float) -> None:
        tasks = [*self._dispatcher.take_back(), *self._isolation.take_back()]
        if tasks := self._admitter.sift(tasks):
            self._submit(tasks, now)

    def _return_unstarted(self) -> None:
        """Give back what was fetched and has not started: others may have room for it."""
        self._release(
            [
                *self._dispatcher.take_back(),
                *self._admitter.take_back(),
                *self._isolation.take_back(),
            ]
        )

    def _release(self, unstarted: list[Task]) -> None:
        if unstarted:
            for task in unstarted:
                self._outcomes.refuse(release(task))
            self._settle(self._clock.monotonic())

    # from the pool back to the broker

    def _settle(self, now: float) -> None:
        """Record and settle all outcomes there are. What fails waits for the next turn."""
        self._outcomes.gather()
        if now < self.outage.until:
            return
        try:
            settled = self._outcomes.settle()
        except Unavailable as error:
            self.outage.note(error)
            return
        self.outage.end()
        self.in_hand -= len(settled)
        for learn in self._learners:
            learn(settled, now)

    def _give_back(self) -> None:
        """The end: settle what can be, give back the rest. Where the broker cannot be reached, the
        end of the lease does it."""
        self.outage.until = 0.0
        self._return_unstarted()
        if self._outcomes.waiting:
            self._settle(self._clock.monotonic())
        self._gates.close()
        self.unfinished = self.in_hand
        try:
            self.fetcher.close()
        except Unavailable as error:
            log.error(
                "%s What is unfinished goes back to the queue when the lease runs out.", error
            )
