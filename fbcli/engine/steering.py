"""What governs a consumer while it runs: its options, and over them the limits that `fb limit` sets in the store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fbcli.clock import Clock
from fbcli.controls.base import Gate
from fbcli.controls.concurrency import AutoConcurrency
from fbcli.controls.fleet_rate import FleetRate
from fbcli.controls.rate import Rate
from fbcli.engine.flow import Flow
from fbcli.options import Options
from fbcli.stores.base import Limits, Store

log = logging.getLogger("fbcli.consumer")

MOST = 1000
"""Most calls at once when the level is found automatically."""

Resize = Callable[[int, AutoConcurrency | None], None]


class Course(NamedTuple):
    """What is in force now."""

    qps: float | None
    qps_scope: str
    concurrency: int | str

    def __str__(self) -> str:
        rate = "no rate limit" if self.qps is None else f"{self.qps:g} a second"
        scope = " over all processes" if self.qps is not None and self.qps_scope == "cluster" else ""
        return f"{rate}{scope}, concurrency {self.concurrency}"


class Steering:
    """Sets a consumer's gates and the size of its pool. Called by one thread at a time."""

    def __init__(
        self,
        queue: str,
        options: Options,
        *,
        slots: int,
        gates: Sequence[Gate],
        flow: Flow,
        resize: Resize,
        wake: Callable[[], None],
        store: Store,
        clock: Clock,
    ) -> None:
        """`slots`: concurrency where the options name no number; `gates`: those that always hold."""
        self._queue = queue
        self._options = options
        self._slots = slots
        self._gates = tuple(gates)
        self._flow = flow
        self._resize = resize
        self._wake = wake
        self._store = store
        self._clock = clock
        self.course: Course | None = None

    def apply(self, limits: Limits | None) -> None:
        """Go by these limits from now on (None: by the options alone)."""
        course, before = self._under(limits or Limits()), self.course
        if course == before:
            return
        self.course = course
        if before is None or before[:2] != course[:2]:
            rate = self._rate(course)
            self._flow.replace([*self._gates, rate] if rate else self._gates)
        if before is None or before.concurrency != course.concurrency:
            if isinstance(course.concurrency, int):
                self._resize(course.concurrency, None)
            else:
                self._resize(self._slots, AutoConcurrency(start=self._slots, most=MOST))
        if before is not None or limits is not None:
            log.warning("%s: from now on %s", self._queue, course)
        self._wake()

    def _under(self, limits: Limits) -> Course:
        options = self._options
        qps = options.qps if limits.qps is None else limits.qps
        scope: Any = limits.qps_scope or ("cluster" if options.qps_group else options.qps_scope)
        concurrency = 1 if options.mode == "solo" else limits.concurrency or options.concurrency or self._slots
        return Course(qps or None, scope, concurrency)

    def _rate(self, course: Course) -> Gate | None:
        if course.qps is None:
            return None
        if course.qps_scope == "process":
            return Rate(course.qps)
        group = self._options.qps_group
        key = f"group:{group}" if group else f"queue:{self._queue}"
        return FleetRate(key, course.qps, self._store, self._wake, self._clock)
