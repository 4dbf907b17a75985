"""Keeps the lease of an inbox."""

from __future__ import annotations

import logging

from fbcli.broker import Inbox
from fbcli.engine.services.service import Service
from fbcli.engine.tally import Tally

log = logging.getLogger("fbcli.consumer")


class Heartbeat(Service):
    """Keeps the lease of one inbox; and gives back to the queue what dead consumers held (the
    broker does that with it)."""

    name = "heartbeat"

    def __init__(self, inbox: Inbox, tally: Tally, period: float) -> None:
        super().__init__(period)
        self._inbox = inbox
        self._tally = tally

    def beat(self) -> None:
        reclaimed = self._inbox.keep_alive()
        if reclaimed:
            self._tally.counts.reclaimed += reclaimed
            log.warning("gave back %d messages of consumers that are gone", reclaimed)
