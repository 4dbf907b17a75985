"""Adaptive prefetch: how many messages a consumer should hold. About half a second of work, never
fewer than its slots: long tasks stay in the broker for others, short ones travel in large batches.
"""

from __future__ import annotations

from collections.abc import Sequence

from fbcli.broker import Delivery
from fbcli.clock import Clock

HOLD_SECONDS = 0.5
BATCH = 500
"""Largest batch fetched at once: larger ones gain nothing on Redis or SQLite."""
MOST_MESSAGES = 5000
MOST_BYTES = 64 * 1024 * 1024
BRISK_SECONDS = 0.001
"""Calls shorter than this are handed over and settled in bulk."""
AHEAD_SECONDS = 0.003
WINDOW = 0.05
"""Seconds over which throughput is measured."""


class Prefetch:
    """Learns from what has ended. Owned by the intake."""

    def __init__(self, prefetch: int | None, clock: Clock) -> None:
        self._fixed = prefetch
        self._clock = clock
        self._rate = 0.0
        self._window_began = clock.monotonic()
        self._window_count = 0
        self._mean_seconds: float | None = None
        self._mean_bytes = 0.0
        self.brisk = False
        """Whether calls are far shorter than a hand-over between threads is worth."""

    def room(self, in_hand: int, slots: int) -> int:
        """Return how many more to fetch now, when `in_hand` are held and `slots` can run at
        once."""
        goal = self._fixed or self.goal(slots)
        room = goal - in_hand
        if room < goal // 4 and in_hand > 2 * slots:
            return 0  # not worth a round trip yet
        return max(0, min(room, BATCH))

    def ahead(self) -> int:
        """Return how many calls beyond the slots may be handed over at their time: they start
        within milliseconds all the same."""
        return int(self._rate * AHEAD_SECONDS) if self.brisk else 0

    def goal(self, slots: int) -> int:
        """Return how many messages to hold."""
        most = MOST_MESSAGES
        if self._mean_bytes > 0:
            most = min(most, int(MOST_BYTES / self._mean_bytes))
        return max(slots, min(most, int(self._rate * HOLD_SECONDS)))

    def weigh(self, deliveries: Sequence[Delivery]) -> None:
        """Take note of how large messages are (of the first of a batch: they tend to be alike)."""
        size = len(deliveries[0].body)
        self._mean_bytes += (size - self._mean_bytes) * 0.2

    def learn(self, seconds: Sequence[float]) -> None:
        """Take note of calls that have ended, by their durations."""
        mean = sum(seconds) / len(seconds)
        before = self._mean_seconds
        weight = min(1.0, len(seconds) / 50)
        self._mean_seconds = mean if before is None else before + (mean - before) * max(0.2, weight)
        self.brisk = self._mean_seconds < BRISK_SECONDS
        self._window_count += len(seconds)
        now = self._clock.monotonic()
        elapsed = now - self._window_began
        if elapsed >= WINDOW:
            self._rate = self._window_count / elapsed
            self._window_began, self._window_count = now, 0
