"""Keeps the leases of inboxes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from fbcli.broker import Broker, Inbox
from fbcli.engine.services.shared import SharedService
from fbcli.engine.tally import Tally

log = logging.getLogger("fbcli.consumer")


class Beating(NamedTuple):
    """An inbox whose lease is kept, and where what it takes back is counted."""

    inbox: Inbox
    tally: Tally


class Heartbeat(SharedService[Beating]):
    """Keeps the leases of all inboxes that one server has; and gives back to the queues what dead
    consumers held (the broker does that with it)."""

    name = "heartbeat"

    def __init__(self, broker: Broker, period: float) -> None:
        super().__init__(period)
        self._broker = broker

    def attend(self, members: Sequence[Beating]) -> None:
        reclaimed = self._broker.keep_alive([member.inbox for member in members])
        for member, count in zip(members, reclaimed, strict=True):
            if count:
                member.tally.counts.reclaimed += count
                log.warning("gave back %d messages of consumers that are gone", count)
