"""A limit for how much memory this process holds."""

from __future__ import annotations

from fbcli.clock import SYSTEM, Clock
from fbcli.platform import system

LOOK_EVERY = 0.5
"""Seconds between two looks: one costs 10 µs."""


class MemoryLimit:
    """Says when this process holds more than `limit` bytes."""

    def __init__(self, limit: int, clock: Clock = SYSTEM) -> None:
        self.limit = limit
        self._clock = clock
        self._look_at = 0.0

    def exceeded(self) -> int | None:
        """Return how much it holds when that is too much. Looks now and then, however often it is
        asked."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_EVERY
        held = system.resident_bytes()
        return held if held is not None and held > self.limit else None
