"""Time, in one place, so that tests can put their own in: nothing else in fbcli calls
`time.time`."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a component takes its time from."""

    def now(self) -> float:
        """Seconds since the epoch (UTC). For what travels or is stored."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back. For waiting and measuring."""
        ...


class SystemClock:
    """The machine's own clocks."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


SYSTEM = SystemClock()
