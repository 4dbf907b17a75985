"""Asks the inbox for messages, and knows for how long it has done so in vain."""

from __future__ import annotations

from fbcli.broker import Delivery, Inbox

MAX_WAIT = 5.0
"""Longest wait in one fetch (seconds); everything urgent wakes it earlier. The end of a wait costs
about as much as a message."""


class Fetcher:
    """Used by the intake's thread, `wake` by any; its times may be read from any."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self.wake = inbox.wake
        self.hungry_since: float | None = None
        """Monotonic time since when it has asked for messages in vain; None: there are some in
        hand, or it does not ask."""
        self.fetching_since: float | None = None
        """Monotonic time since when it waits for an answer; None: it does something else."""

    def fetch(self, limit: int, wait: float, now: float, *, idle: bool) -> list[Delivery]:
        """As `Inbox.fetch`. `now` is monotonic seconds; `idle`: nothing is in hand."""
        if not limit or not idle:
            self.hungry_since = None
        elif self.hungry_since is None:
            self.hungry_since = now
        self.fetching_since = now
        try:
            deliveries = self._inbox.fetch(limit, wait)
        finally:
            self.fetching_since = None
        if deliveries:
            self.hungry_since = None
        return deliveries

    def close(self) -> None:
        """Give back all that is unsettled. Raises `Unavailable`."""
        self._inbox.close()
