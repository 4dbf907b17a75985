"""Heartbeats of many inboxes at one server: two commands for each, all in one step."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .connections import Reach, RedisConnection, Word
from .scripts import BEAT

if TYPE_CHECKING:
    from .inbox import RedisInbox

AT_ONCE = 100
"""Inboxes in one step: some tenths of a millisecond of the server's time."""


class Beats:
    """Over a connection of its own: leases do not wait for whatever else goes on. Thread-safe."""

    def __init__(self, reach: Reach) -> None:
        self._connection = RedisConnection(reach, "")
        # All keys of a script must be on one node, and even there in one slot.
        self._at_once = 1 if reach.cluster else AT_ONCE
        self._lock = threading.Lock()

    def extend(self, inboxes: Sequence[RedisInbox]) -> list[int]:
        """Extend their leases; return how many messages of dead consumers came back to each queue.
        Raises redis-py's errors."""
        given_back: list[int] = []
        with self._lock:
            for start in range(0, len(inboxes), self._at_once):
                given_back += self._extend(inboxes[start : start + self._at_once])
        return given_back

    def _extend(self, inboxes: Sequence[RedisInbox]) -> list[int]:
        keys: list[str] = []
        arguments: list[Word] = []
        for inbox in inboxes:
            keys += inbox.lease_keys
            arguments += (inbox.owner, inbox.lease)
        self._connection.key = keys[0]
        given_back, lost = self._connection.run(BEAT, keys, *arguments)
        for place in lost:
            inboxes[place - 1].lose()
        return list(given_back)

    def close(self) -> None:
        """Hang up. Idempotent; a later use connects anew."""
        with self._lock:
            self._connection.close()
