"""The children of one pool: started when there is need, watched, replaced when they die, and given
up when none can ever work."""

from __future__ import annotations

import logging
import os
import selectors
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from fbcli.pools.base import T
from fbcli.pools.children.child import Child
from fbcli.pools.children.wire import Order, Refusal
from fbcli.processes.restarts import Restarts
from fbcli.values.durations import span

log = logging.getLogger("fbcli.pool")

LOOK = 0.25
"""Seconds between two looks at whether children have ended without a sign."""
SILENT_LOOK = 0.002
"""The same when one has fallen silent: it ends any moment."""

STARTING = max(2, os.cpu_count() or 1)
"""Children that may start at the same time: it takes a core, and when the first ones are ready, it
shows whether more are needed."""

TRIES = 3
"""When so many have died in a row before any was ever ready, no other one will do better."""

ENDING = 5.0
"""Seconds that a child may take to end once it has no more calls: it runs what its code has
registered for the end."""


@dataclass(frozen=True)
class Start:
    """How children are started."""

    command: Sequence[str]
    spec: Any
    """The first message to each: data that has a JSON form."""
    folder: str
    """Where they work."""
    shared: bool
    """Whether one child makes all calls side by side, so that its end is the end of all of them;
    else each makes one at a time."""
    tasks_per_child: int | None = None
    """A child is replaced when it has made so many calls."""


class Group(Generic[T]):
    """Used by one thread at a time: whoever holds the pool's lock; children are started and
    reaped by the pool's thread alone."""

    def __init__(
        self, start: Start, selector: selectors.BaseSelector, on_refusal: Callable[[Refusal], None]
    ) -> None:
        self.start = start
        self.all: list[Child[T]] = []
        """Never changed, but replaced by another list: it may be read at any time."""
        self.refused = False
        """Whether it was given up."""
        self._selector = selector
        self._on_refusal = on_refusal
        self._restarts = Restarts(TRIES)
        self._look_at = 0.0

    def active(self) -> list[Child[T]]:
        """Return those that are here to stay."""
        return [child for child in self.all if not (child.leaving or child.killed or child.silent)]

    def ready(self) -> list[Child[T]]:
        """Return those that take calls."""
        return [child for child in self.active() if child.ready]

    # their beginning

    def lacks(self, backlog: int, size: int, *, brisk: bool) -> bool:
        """Whether another child would help with `backlog` calls that none of those that are ready
        can take."""
        active = self.active()
        starting = sum(not child.ready for child in active)
        if self.refused or len(active) >= (1 if self.start.shared else size):
            return False
        if not self.all:
            return (
                True  # the first one shows early whether it can work, and is warm when work comes
            )
        return backlog > starting and starting < (1 if brisk else STARTING)

    def grow(self, slots: int, now: float) -> None:
        """Start one, unless the last one has died so soon that it is better to wait."""
        if self._restarts.start_in(now):
            return
        try:
            child: Child[T] = Child(
                self.start.command,
                self.start.folder,
                self.start.spec,
                slots if self.start.shared else 1,
                now,
            )
        except OSError as error:
            self._failed(f"cannot be started ({error})", now)
            return
        if self.start.shared:
            child.send(Order(slots=slots))
        self.all = [*self.all, child]
        self._selector.register(child.channel.socket, selectors.EVENT_READ, child)

    def note_ready(self, child: Child[T]) -> None:
        child.ready = True
        self._restarts.worked()

    def note_refusal(self, child: Child[T], refusal: Refusal, now: float) -> None:
        """A child cannot work. When others could before, that may pass: somebody may be changing
        the code right now."""
        child.refused = True
        if self._restarts.proven:
            self._failed(f"cannot work: {refusal.text}", now)
        else:
            self.abandon(refusal)

    def _failed(self, fate: str, now: float) -> None:
        wait = self._restarts.failed(now)
        if self._restarts.hopeless:
            reason = (
                f"No child process can start: {TRIES} in a row have failed; the last one {fate}."
            )
            self.abandon(Refusal("AddressNotFound", reason))
            return
        log.error("a child process %s; another one starts in %s", fate, span(wait))

    def abandon(self, refusal: Refusal) -> None:
        """Start no more children, and say why. Idempotent."""
        if not self.refused:
            self.refused = True
            self._on_refusal(refusal)

    # their end

    def watch(self, child: Child[T]) -> None:
        """Have the selector tell when the child's socket takes more, if there is more."""
        if child.channel.clogged is not child.watched:
            child.watched = child.channel.clogged
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.watched else 0)
            self._selector.modify(child.channel.socket, events, child)

    def ended(self, now: float) -> list[tuple[Child[T], str]]:
        """Return the children that have ended, and how. Ends those that cannot be reached any more,
        or do not end in time."""
        look = now >= self._look_at
        if look:
            self._look_at = now + LOOK
        found = []
        for child in self.all:
            if child.silent and not child.deaf:
                child.deaf = True
                self._selector.unregister(child.channel.socket)
            late = child.leaving and not child.calls and now > child.ending_since + ENDING
            if late or (child.silent and not child.leaving):
                child.kill()
            if look or child.silent:
                fate = child.fate()
                if fate:
                    found.append((child, fate))
        return found

    def reap(self, child: Child[T], fate: str, now: float) -> None:
        """Forget a child that has ended."""
        self.all = [each for each in self.all if each is not child]
        if not child.deaf:
            child.deaf = True
            self._selector.unregister(child.channel.socket)
        child.close()
        if not (child.sent or child.refused or child.leaving):
            self._failed(f"{fate} before it made a call", now)

    def patience(self, now: float) -> float | None:
        """Return how long it may be before it is to be looked after (seconds); None: for ever."""
        if not self.all:
            return None
        return (
            SILENT_LOOK
            if any(child.silent for child in self.all)
            else max(0.0, self._look_at - now)
        )

    def start_in(self, now: float) -> float:
        """Return the seconds until another child may be started."""
        return self._restarts.start_in(now)

    def wind_up(self, now: float, *, hard: bool) -> None:
        """Let all end in order; `hard`: those that still make calls, at once."""
        for child in self.all:
            child.leave(now)
            if not child.ready or (hard and child.calls):
                child.kill()

    def kill(self) -> None:
        """End all at once."""
        for child in self.all:
            child.kill()
