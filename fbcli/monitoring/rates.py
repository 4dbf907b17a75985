"""How fast a count grows."""

from __future__ import annotations

from collections import deque

WINDOW = 10.0
"""Seconds over which a rate is measured."""


class Growth:
    """How many more of something there are a second, lately. Fed by one thread."""

    __slots__ = ("_readings",)

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()

    def per_second(self, now: float, count: int) -> float:
        """Take the count of this moment (monotonic seconds); return by how much it grew a second,
        since the oldest reading within the window. 0 at the first."""
        readings = self._readings
        readings.append((now, count))
        while len(readings) > 2 and now - readings[0][0] > WINDOW:
            readings.popleft()
        since, before = readings[0]
        return (count - before) / (now - since) if now > since else 0.0
