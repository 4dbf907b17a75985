"""Rate of a whole fleet: starts of many processes on one grid of deadlines that the store keeps,
slots taken in small leases.

The store hands out slots of the grid, each once; this process starts its tasks at their times, by
its own monotonic clock. So the fleet keeps the rate exactly, whoever joins or dies; what a killed
process had leased (a twentieth of a second, and what comes while it asks for more) is lost.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from math import ceil

from fbcli.clock import SYSTEM, Backoff, Clock
from fbcli.controls.base import NEVER, Gate, Opening
from fbcli.errors import Unavailable
from fbcli.stores.base import Store, Tokens
from fbcli.values.durations import span

log = logging.getLogger("fbcli.consumer")

LEASE = 0.05
"""Seconds of the fleet's work that one lease takes. Whoever was refused asks again when so much is
free."""

NEAR, FAR = 0.01, 0.1
"""Seconds: a store that takes longer than the one to answer is asked so much earlier, but never
earlier than the other."""

AHEAD = 0.25
"""Seconds before its time that a slot may be leased. Whoever finds none so near waits, and fetches
no more meanwhile."""

SLACK = 0.03
"""Seconds that a start may come after its slot's time. Later it is lost: made up for, it would
exceed the rate."""

LONG = 1.0
"""Seconds: with no slot so soon, messages go back to the broker."""


class FleetRate(Gate):
    """`qps` starts a second of all that use the same `key` in the same store."""

    name = "rate"
    paces = True

    def __init__(
        self, key: str, qps: float, store: Store, wake: Callable[[], None], clock: Clock = SYSTEM
    ) -> None:
        self.key = key
        self.qps = qps
        self._gap = 1.0 / qps
        self._batch = max(1, int(qps * LEASE))
        self._store = store
        self._wake = wake
        self._clock = clock
        self._lock = threading.Condition()
        self._slots: deque[float] = deque()
        """Monotonic times of the slots that are leased and not used, in order."""
        self._wanted = 0
        self._refused_until = float("-inf")
        """Monotonic time before which the store has no slot near enough."""
        self._trip = 0.0
        """Seconds that the store took to answer, lately."""
        self._thread: threading.Thread | None = None
        self._closed = False

    def fetchable(self, now: float) -> Opening:
        with self._lock:
            if now < self._refused_until:
                return Opening(len(self._slots), self._refused_until)
            return Opening(len(self._slots) + self._batch + 2 * self._lead())

    def startable(self, now: float, wanted: int) -> Opening:
        with self._lock:
            slots = self._slots
            while slots and slots[0] < now - SLACK:
                slots.popleft()
            due, lead = bisect_right(slots, now), self._lead()
            missing = min(wanted, self._batch + 2 * lead) - len(slots)
            if missing > 0 and len(slots) <= self._batch // 2 + lead and now >= self._refused_until:
                self._ask(missing)
            if len(slots) > due:
                return Opening(due, slots[due])
            return Opening(due, self._refused_until if now < self._refused_until else NEVER)

    def started(self, count: int, now: float) -> None:
        with self._lock:
            for _ in range(min(count, len(self._slots))):
                self._slots.popleft()

    def closed(self, now: float) -> bool:
        return self._refused_until - now > LONG and not self._slots

    def hold(self, now: float) -> str | None:
        wait = self._refused_until - now
        return None if wait < LONG else f"the fleet's next call may start in {span(wait)}"

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify()

    def _lead(self) -> int:
        """Return how many slots pass while the store is asked."""
        return 0 if self._trip < NEAR else ceil(self.qps * min(self._trip, FAR))

    def _ask(self, count: int) -> None:
        """Have the thread lease more. Holding the lock."""
        if self._wanted or self._closed:
            return
        self._wanted = count
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="fb-tokens", daemon=True)
            self._thread.start()
        self._lock.notify()

    def _serve(self) -> None:
        backoff = Backoff()
        while True:
            with self._lock:
                while not self._wanted and not self._closed:
                    self._lock.wait()
                if self._closed:
                    return
                wanted = self._wanted
            try:
                self.lease(wanted)
                backoff.succeeded()
            except Unavailable as error:
                if not backoff.failures:
                    log.error("%s Nothing starts until the shared rate is known again.", error)
                with self._lock:
                    self._lock.wait_for(lambda: self._closed, backoff.failed())

    def lease(self, count: int) -> None:
        """Ask the store for slots, and wake the intake. Raises `Unavailable`."""
        asked = self._clock.monotonic()
        tokens = self._store.take_tokens(self.key, self.qps, count, ahead=AHEAD, slack=SLACK)
        self.grant(tokens, asked, self._clock.monotonic())
        self._wake()

    def grant(self, tokens: Tokens, asked: float, answered: float) -> None:
        """Take note of the store's answer; it is true for about the middle of the time that it
        took."""
        now = (asked + answered) / 2
        with self._lock:
            self._wanted = 0
            self._trip += (answered - asked - self._trip) * 0.3
            if tokens.count:
                self._refused_until = float("-inf")
                first = max(now + tokens.wait, self._slots[-1] if self._slots else float("-inf"))
                self._slots.extend(first + number * self._gap for number in range(tokens.count))
            else:
                self._refused_until = (
                    now + max(0.0, tokens.wait - AHEAD) + (self._batch - 1) * self._gap
                )
