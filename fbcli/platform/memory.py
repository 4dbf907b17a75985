"""How much memory a process holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fbcli.clock import SYSTEM, Clock

LOOK_EVERY = 0.5
"""Seconds between two looks: one costs 10 µs."""


def resident_bytes(pid: int | str = "self") -> int | None:
    """Return the resident set size of a process in bytes; None where the system does not tell, or
    there is no such process.

    Linux: proc(5), statm. Elsewhere the highest so far of this process alone is known
    (getrusage(2)).
    """
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        if pid != "self" or sys.platform == "win32":
            return None
    import resource  # noqa: PLC0415  Windows has no such module

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


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
        held = resident_bytes()
        return held if held is not None and held > self.limit else None
