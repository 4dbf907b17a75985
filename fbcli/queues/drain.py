"""Waiting until queues are drained: nothing ready, nothing in flight."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from fbcli.clock import Clock
from fbcli.queues.queue import Queue

FIRST_POLL, LAST_POLL = 0.05, 0.5
"""Seconds between two looks at the broker, growing: short waits end at once, long ones cost the
broker nothing."""

WINDOW = 10.0
"""Seconds over which the rate is measured."""


class Backlog(msgspec.Struct):
    """What several queues hold together at one moment."""

    ready: int = 0
    in_flight: int = 0
    delayed: int = 0
    rate: float | None = None
    """How many fewer a second; None: not known yet. Negative while it grows."""
    left: int = 0
    """How many are waited for."""

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at this rate; None: not known, or for ever."""
        return self.left / self.rate if self.rate and self.rate > 0 else None


class Drain:
    """Watches queues until nothing of them is left."""

    def __init__(
        self,
        queues: Sequence[Queue],
        clock: Clock,
        *,
        delayed: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`delayed`: wait for messages that wait for their time, too; among them are those that
        will be retried later."""
        self._queues = queues
        self._clock = clock
        self._delayed = delayed
        self._sleep = sleep
        self._samples: deque[tuple[float, int]] = deque()
        self._silent_since: dict[str, float] | None = None

    def wait(
        self, timeout: float | None, on_reading: Callable[[Backlog], None]
    ) -> tuple[bool, Backlog]:
        """Return whether all was drained within `timeout` seconds (None: however long it takes),
        and the last reading.

        It takes two readings in a row, so that nothing hides between two counts of a broker.
        Raises `Unsupported` when the broker cannot count.
        """
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        pause, empty_before = FIRST_POLL, False
        while True:
            backlog = self._read()
            on_reading(backlog)
            empty = backlog.left == 0
            if empty and empty_before:
                return True, backlog
            now = self._clock.monotonic()
            if deadline is not None and now >= deadline:
                return False, backlog
            pause = FIRST_POLL if empty != empty_before else min(pause * 1.3, LAST_POLL)
            self._sleep(pause if deadline is None else min(pause, deadline - now))
            empty_before = empty

    def _read(self) -> Backlog:
        total = Backlog()
        blind = []
        for queue in self._queues:
            size = queue.known_size()
            total.ready += size.ready
            total.delayed += size.delayed or 0
            if size.in_flight is None:
                blind.append(queue)
            else:
                total.in_flight += size.in_flight
        if blind:
            total.in_flight += self._reported(blind, quiet=total.ready == 0)
        total.left = total.ready + total.in_flight + (total.delayed if self._delayed else 0)
        total.rate = self._rate(total.left)
        return total

    def _reported(self, queues: Sequence[Queue], *, quiet: bool) -> int:
        """Count what is in flight by what live consumers say of themselves, where the broker does
        not know.

        They say it once a second, so a word from before the queue was empty does not count: until
        each of them has spoken again, one is taken to be in flight.
        """
        names = {queue.name for queue in queues}
        records = [record for record in queues[0].open_store().consumers() if record.queue in names]
        held = sum(record.in_flight for record in records)
        if held or not quiet:
            self._silent_since = None
            return held
        beats = {record.consumer_id: record.beat for record in records}
        if self._silent_since is None:
            self._silent_since = beats
        return int(any(beat <= self._silent_since.get(each, 0.0) for each, beat in beats.items()))

    def _rate(self, left: int) -> float | None:
        now = self._clock.monotonic()
        self._samples.append((now, left))
        while now - self._samples[0][0] > WINDOW and len(self._samples) > 2:
            self._samples.popleft()
        first_time, first_left = self._samples[0]
        return (first_left - left) / (now - first_time) if now - first_time >= 0.2 else None
