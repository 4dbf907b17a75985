"""A request that may stay outstanding in the server while its consumer does something else."""

from __future__ import annotations

import socket
from time import monotonic
from typing import Any

from .connections import Reach, RedisConnection, RedisConnections, Word

BLOCK_GRACE = 5.0
"""Seconds after which a blocking command that should have ended by itself counts as lost with its
connection."""


class BlockedPop:
    """A blocking command on a connection of its own, whose reply may be fetched later, or never
    wanted any more."""

    def __init__(self, reach: Reach, key: str) -> None:
        self._reach = reach
        self._link = RedisConnection(reach, key, identify=True)
        self.expires: float | None = None
        """Monotonic time by which it must have been answered; None while nothing is outstanding."""
        self._ended_by = 0.0
        self.in_vain = False
        """Whether the last one has waited to its end, and the server had nothing for it."""

    def begin(self, *words: Word, timeout: float) -> None:
        """Send a command that blocks for up to `timeout` seconds (its last argument)."""
        self._link.send(*words, f"{timeout:.3f}")
        self.expires = self._ended_by = monotonic() + timeout + BLOCK_GRACE

    def socket(self) -> socket.socket | None:
        """What to poll; None while nothing is outstanding."""
        return self._link.socket() if self.expires is not None else None

    def finish(self) -> Any:
        """Return the reply; None: it timed out, or the connection broke, and then nobody knows what
        it was handed."""
        self.expires = None
        self.in_vain = False
        errors = self._reach.errors
        try:
            reply = self._link.receive()
        except (errors.ConnectionError, errors.TimeoutError):
            return None  # whoever asks next will meet the trouble, if it lasts
        self._ended_by = 0.0
        self.in_vain = reply is None
        if isinstance(reply, errors.MovedError):
            self._link.close()
            self._reach.look_again()
            return None
        if isinstance(reply, errors.ResponseError):
            if str(reply).startswith("UNBLOCKED"):  # the server became a replica
                self._link.close()
                return None
            raise reply
        return reply

    def cancel(self, connections: RedisConnections) -> Any:
        """End it by way of another connection; return what it was handed in the last moment, if
        anything."""
        if self.expires is None:
            return None
        try:
            connections.call(self._link.key, ("CLIENT", "UNBLOCK", self._link.client_id))
        except self._reach.errors.ResponseError:
            self.drop()  # an ACL may forbid it
            return None
        return self.finish()

    def lingers(self) -> bool:
        """Whether the server may still hold one whose connection broke, and hand something to
        nobody."""
        return monotonic() < self._ended_by

    def drop(self) -> None:
        self.expires = None
        self._link.close()
