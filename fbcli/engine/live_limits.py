"""What governs a consumer while it runs: its options, and over them what the store says: pauses,
and the limits that `fb limit` sets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fbcli.controls.base import Gate, Place
from fbcli.controls.catalogue import gates_of
from fbcli.controls.concurrency import AutoConcurrency
from fbcli.controls.pause import Pause
from fbcli.engine.gates import Gates
from fbcli.options.model import Options
from fbcli.stores.base import Limits, News, Scope

log = logging.getLogger("fbcli.consumer")

MOST = 1000
"""Most calls at once when the level is found automatically."""

Resize = Callable[[int, AutoConcurrency | None], None]


class LimitsInForce(NamedTuple):
    """What is in force now."""

    qps: float | None
    qps_scope: Scope
    concurrency: int | str

    def __str__(self) -> str:
        rate = "no rate limit" if self.qps is None else f"{self.qps:g} a second"
        scope = (
            " over all processes" if self.qps is not None and self.qps_scope == "cluster" else ""
        )
        return f"{rate}{scope}, concurrency {self.concurrency}"


class LiveLimits:
    """Sets a consumer's gates and the size of its pool. Called by one thread at a time."""

    def __init__(
        self,
        options: Options,
        place: Place,
        *,
        slots: int,
        pause: Pause,
        always: Sequence[Gate],
        gates: Gates,
        resize: Resize,
    ) -> None:
        """`slots`: concurrency where the options name no number; `always`: the gates that hold
        whatever the store says."""
        self._options = options
        self._place = place
        self._slots = slots
        self._pause = pause
        self._always = (pause, *always)
        self._gates = gates
        self._resize = resize
        self.in_force: LimitsInForce | None = None

    def heed(self, news: News) -> None:
        """Go by what the store says of the queue."""
        queue = self._place.queue
        if queue in news.pauses:
            if self._pause.set(news.pauses[queue], self._place.clock.monotonic()):
                log.warning("%s is paused; `fb resume %s` ends that", queue, queue)
                self._place.wake()
        elif self._pause.lift():
            log.warning("%s goes on", queue)
            self._place.wake()
        self.apply(news.limits.get(queue))

    def apply(self, limits: Limits | None) -> None:
        """Go by these limits from now on (None: by the options alone)."""
        in_force, before = self._under(limits or Limits()), self.in_force
        if in_force == before:
            return
        self.in_force = in_force
        if before is None or before[:2] != in_force[:2]:
            self._gates.replace([*self._always, *self._live(in_force)])
        if before is None or before.concurrency != in_force.concurrency:
            if isinstance(in_force.concurrency, int):
                self._resize(in_force.concurrency, None)
            else:
                self._resize(self._slots, AutoConcurrency(start=self._slots, most=MOST))
        if before is not None or limits is not None:
            log.warning("%s: from now on %s", self._place.queue, in_force)
        self._place.wake()

    def _under(self, limits: Limits) -> LimitsInForce:
        options = self._options
        qps = options.qps if limits.qps is None else limits.qps
        scope = limits.qps_scope or ("cluster" if options.qps_group else options.qps_scope)
        concurrency = (
            1
            if options.mode == "solo"
            else limits.concurrency or options.concurrency or self._slots
        )
        return LimitsInForce(qps or None, scope, concurrency)

    def _live(self, in_force: LimitsInForce) -> list[Gate]:
        changed = {"qps": in_force.qps, "qps_scope": in_force.qps_scope}
        return gates_of(self._options.model_copy(update=changed), self._place, live=True)
