"""Pause: a paused queue's consumers hold and start nothing. The state is in the store, shared by
the whole fleet."""

from __future__ import annotations

from fbcli.controls.base import NEVER, OPEN, Gate, Opening, Shut
from fbcli.values.durations import span

_CLOSED = Opening(0)


class Pause(Gate):
    """A gate that a service of the process sets from the store about once a second."""

    name = "pause"

    def __init__(self) -> None:
        self.until: float | None = None
        """Monotonic seconds until which the queue is paused (`NEVER`: until resumed); None: not
        paused."""

    def set(self, seconds_left: float | None, now: float) -> bool:
        """Pause from `now` (monotonic) for so many seconds (None: until resumed). True when that is
        a change."""
        before, self.until = self.until, NEVER if seconds_left is None else now + seconds_left
        return before is None

    def lift(self) -> bool:
        """End the pause. True when that is a change."""
        before, self.until = self.until, None
        return before is not None

    def fetchable(self, now: float) -> Opening:
        until = self.until
        if until is None:
            return OPEN
        if now < until:
            return Opening(0, until) if until != NEVER else _CLOSED
        self.until = None
        return OPEN

    def closed(self, now: float) -> bool:
        return self.until is not None and now < self.until

    def shut(self, now: float) -> Shut | None:
        until = self.until
        if until is None or now >= until:
            return None
        return Shut("paused", "" if until == NEVER else f"goes on in {span(until - now)}")
