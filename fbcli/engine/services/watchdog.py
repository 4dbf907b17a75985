"""Notices a consumer that gets nothing though there is something."""

from __future__ import annotations

from collections.abc import Callable

from fbcli.clock import Clock
from fbcli.engine.ending import Ending
from fbcli.engine.fetcher import MAX_WAIT, Fetcher
from fbcli.values.durations import span


def period_of(limit: float) -> float:
    """Return how often to look (seconds)."""
    return max(0.1, limit / 4)


class Watchdog:
    """Notices a consumer that is deaf: it asks for messages and gets none for `limit` seconds,
    though the queue is not empty.

    It asks the broker over another connection. A broker that cannot be reached makes nobody deaf:
    that is waited out.
    """

    name = "watchdog"

    def __init__(
        self,
        fetcher: Fetcher,
        ending: Ending,
        ready: Callable[[], int | None],
        bite: Callable[[str], None],
        limit: float,
        clock: Clock,
    ) -> None:
        self.period = period_of(limit)
        self._fetcher = fetcher
        self._ending = ending
        self._ready = ready
        self._bite = bite
        self._limit = limit
        self._clock = clock
        self._since: float | None = None
        """Since when it has got nothing, when that was last looked at (monotonic)."""
        self._seen = 0.0
        """When messages were first seen to be waiting meanwhile (monotonic)."""

    def beat(self) -> None:
        asked = self._clock.monotonic()
        since = self._deaf_since(asked)
        before, self._since = self._since, None
        if since is None or not (ready := self._ready()):
            return
        now = self._clock.monotonic()
        if now - asked > self.period or self._deaf_since(now) != since:
            # a broker so slow answers the consumer just as slowly; or it has got something
            # meanwhile
            return
        self._since = since
        if before != since:
            self._seen = now
        elif now - self._seen >= self._limit:
            waiting = "a message is" if ready == 1 else f"{ready:,} messages are"
            self._bite(f"got nothing for {span(now - since)}, though {waiting} waiting: it is deaf")

    def _deaf_since(self, now: float) -> float | None:
        """Return since when the consumer may have been deaf (monotonic seconds); None: it hears, or
        does not ask."""
        if self._ending.stopping:
            return None
        hungry, since = self._fetcher.hungry_since, self._fetcher.fetching_since
        if hungry is not None:
            return hungry
        return since if since is not None and now - since >= MAX_WAIT + self._limit else None
