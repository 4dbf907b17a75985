"""The time in which a consumer cannot reach its broker or its store: told once, and tried again and
again, with longer and longer waits."""

from __future__ import annotations

import logging

from fbcli.clock import Backoff, Clock
from fbcli.errors import Unavailable

log = logging.getLogger("fbcli.consumer")


class Outage:
    """Used by the intake's thread; what it says may be read from any."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._backoff = Backoff()
        self.reason = ""
        """Why nothing can be fetched or settled now, for a person; empty when all is well."""
        self.until = 0.0
        """Monotonic time before which it is not tried again."""

    def note(self, error: Unavailable) -> None:
        """Take note of a try that failed."""
        if not self.reason:
            log.error("%s Trying again until it works.", error)
        self.reason = str(error)
        self.until = self._clock.monotonic() + self._backoff.failed()

    def end(self) -> None:
        """Take note of one that went well."""
        if self.reason:
            log.warning("Back to work: the broker and the store answer again.")
            self.reason = ""
        self._backoff.succeeded()
        self.until = 0.0
