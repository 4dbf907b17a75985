"""How often what ends by itself is started again: with back-off, and not for ever when it never
works.

Used for supervised consumers, children of pools, and the processes of a trial. Knows nothing of
processes: only that something has begun, has worked, has ended.
"""

from __future__ import annotations

from fbcli.clock import Backoff

FIRST, LAST = 0.2, 30.0
"""Seconds before it is started again."""
STEADY = 60.0
"""What has lived so long (seconds) was well, whatever it died of."""


class Restarts:
    """Of one place where one process after the other lives, or of a group of alike ones."""

    def __init__(
        self, tries: int, *, for_good: bool = True, backoff: Backoff | None = None
    ) -> None:
        """`tries`: after so many failures in a row there is no use in another start. `for_good`:
        once one has worked, there always is; it may be that somebody changes the code right now."""
        self.tries = tries
        self._for_good = for_good
        self._backoff = backoff or Backoff(FIRST, LAST)
        self.proven = False
        """Whether it has ever worked."""
        self._start_at = 0.0

    @property
    def failures(self) -> int:
        """How many there were since it last worked."""
        return self._backoff.failures

    @property
    def hopeless(self) -> bool:
        """Whether there is no use in another start."""
        return self.failures >= self.tries and not (self._for_good and self.proven)

    def worked(self) -> None:
        """It does what it is there for: the next failure is the first again."""
        self.proven = True
        self._backoff.succeeded()

    def failed(self, now: float, *, lived: float = 0.0) -> float:
        """It has ended, or could not be started, without having been asked to; return how long to
        wait now (seconds). `lived`: seconds since it was started."""
        if lived > STEADY:
            self._backoff.succeeded()
        wait = self._backoff.failed()
        self._start_at = now + wait
        return wait

    def start_in(self, now: float) -> float:
        """Return the seconds until it may be started; 0: it may."""
        return max(0.0, self._start_at - now)
