"""When a consumer has done what it was asked for: when it is told to stop, when its queue is empty
(`burst`), or when so many tasks have ended (`max_tasks`)."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fbcli.clock import Clock
from fbcli.task import ENDED, Task


class Ending:
    """`stop` and `quiet` from any thread; all else by the intake's."""

    def __init__(self, clock: Clock, *, burst: bool = False, max_tasks: int | None = None) -> None:
        self._clock = clock
        self._stopping = threading.Event()
        self._stop_at = 0.0
        self.burst = burst
        self.left = max_tasks
        """How many tasks may still end; None: as many as there are."""
        self.quiet = False
        """Whether nothing is fetched any more, though it stays."""

    @property
    def stopping(self) -> bool:
        """Whether it was told to end, or will do so by itself now."""
        return self._stopping.is_set()

    def stop(self, drain: float) -> None:
        """End when all that runs has ended, or after `drain` seconds; a later call may shorten
        that."""
        at = self._clock.monotonic() + drain
        self._stop_at = min(at, self._stop_at) if self.stopping else at
        self._stopping.set()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until it is told to end; return whether it is."""
        return self._stopping.wait(seconds)

    def over(self, in_hand: int) -> bool:
        """Whether it is time to go, with so many messages in hand."""
        if self.stopping:
            return not in_hand or self._clock.monotonic() >= self._stop_at
        if self.left is not None and self.left <= 0 and not in_hand:
            self.stop(0.0)
            return True
        return False

    def in_time(self, now: float) -> float:
        """Return the seconds that are left to end in order."""
        return max(0.0, self._stop_at - now)

    def learn(self, tasks: Sequence[Task], now: float) -> None:
        """Take note of what has been settled."""
        if self.left is not None:
            self.left -= sum(task.state in ENDED for task in tasks)
