"""What the consumers of several processes report, merged to one row a queue: totals, rates, times.
Prints nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, inf

import msgspec

from fbcli.broker import Size
from fbcli.clock import SYSTEM, Clock
from fbcli.engine.tally import Snapshot
from fbcli.stores.base import Counts

WINDOWS = (1.0, 10.0, 60.0)
"""Seconds over which rates are taken; over what there is while the history is shorter."""

GRAIN = 0.2
"""Least seconds between two points of the history."""

TOTAL = ""
"""In the place of a queue's name: all queues together."""


class Row(msgspec.Struct, frozen=True):
    """One queue at one moment. None: not known (yet)."""

    queue: str
    address: str
    state: str
    """starting, running, paused, closed, tripped, draining, stopped, or trouble."""
    note: str
    """Why no work is taken, for a person."""
    trouble: str
    processes: int
    done: int
    succeeded: int
    failed: int
    retried: int
    requeued: int
    released: int
    dropped: int
    cancelled: int
    late: int
    reclaimed: int
    unfinished: int
    rate_1s: float | None
    """Tasks done a second."""
    rate_10s: float | None
    rate_60s: float | None
    rate: float
    """The same since the board was made."""
    mean_ms: float | None
    """Of the most recent calls, as `p95_ms`."""
    p95_ms: float | None
    in_flight: int
    """Held: running, waiting for a slot, or waiting to be settled."""
    running: int
    concurrency: int
    backlog: int | None
    delayed: int | None
    empty_in: float | None
    """Seconds until the backlog is worked off at the rate of the last ten seconds."""


class Summary(msgspec.Struct, frozen=True):
    """What it comes to at the end."""

    elapsed: float
    rows: list[Row]
    total: Row


class Board:
    """Merges reports as they come. `clock` times rates and `elapsed`."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._begun = clock.monotonic()
        self._lines: dict[str, _QueueRow] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the board was made."""
        return self._clock.monotonic() - self._begun

    def update(
        self,
        snapshots: Mapping[str, Sequence[Snapshot]],
        sizes: Mapping[str, Size | None] | None = None,
    ) -> None:
        """Take in what each worker says now, by a key of the worker's own (a process id), and the
        sizes of the queues.

        Totals never go down: a worker that is gone keeps its part, and one whose counts begin anew
        (it was started again under its old key) adds to it. A worker `key` that becomes `key.N` in
        the same update has been renamed, not doubled.
        """
        now = self.elapsed
        by_queue: dict[str, dict[str, list[Snapshot]]] = {}
        for worker, reported in snapshots.items():
            for snapshot in reported:
                by_queue.setdefault(snapshot.queue, {}).setdefault(worker, []).append(snapshot)
        for queue in by_queue:
            if queue not in self._lines:
                self._lines[queue] = _QueueRow()
        for queue, line in self._lines.items():
            line.update(now, by_queue.get(queue, {}), (sizes or {}).get(queue))

    def rows(self) -> list[Row]:
        """Return a row for each queue, in the order in which they were first seen."""
        return [_row(queue, [line], self.elapsed) for queue, line in self._lines.items()]

    def totals(self) -> Row:
        """Return all queues as one row. Rates add up; backlogs too, those that are known."""
        return _row(TOTAL, list(self._lines.values()), self.elapsed)

    def summary(self) -> Summary:
        """Return what has been done so far."""
        return Summary(self.elapsed, self.rows(), self.totals())


class _QueueRow:
    """One queue: what its workers have said, and how much was done when."""

    def __init__(self) -> None:
        self.total = Counts()
        self.workers: set[str] = set()
        """Keys of those that live."""
        self.living: list[Snapshot] = []
        self.snapshots: list[Snapshot] = []
        self.backlog: int | None = None
        self.delayed: int | None = None
        self._banked = Counts()
        """Of earlier lives of workers that began anew."""
        self._latest: dict[str, Counts] = {}
        self._history: list[tuple[float, int]] = []
        self._now = 0.0
        self._seconds: list[float] | None = None

    def update(
        self, now: float, workers: Mapping[str, Sequence[Snapshot]], size: Size | None
    ) -> None:
        for worker, reported in workers.items():
            counts = _sum(snapshot.counts for snapshot in reported)
            origin = worker.rpartition(".")[0]
            if origin in self._latest and origin not in workers and worker not in self._latest:
                self._latest[worker] = self._latest.pop(origin)
            before = self._latest.get(worker)
            if before is not None and _less(counts, before):
                self._banked += before
            self._latest[worker] = counts
        total = _sum([self._banked, *self._latest.values()])
        if total != self.total:
            self.total, self._seconds = total, None
        said = [(worker, snapshot) for worker, reported in workers.items() for snapshot in reported]
        self.workers = {worker for worker, snapshot in said if snapshot.state != "stopped"}
        self.living = [snapshot for _, snapshot in said if snapshot.state != "stopped"]
        self.snapshots = [snapshot for _, snapshot in said] or self.snapshots
        self.backlog = (
            size.ready if size is not None else _most(snapshot.backlog for snapshot in self.living)
        )
        self.delayed = (
            size.delayed
            if size is not None
            else _most(snapshot.delayed for snapshot in self.living)
        )
        self._now = now
        if not self._history or now - self._history[-1][0] >= GRAIN:
            self._history.append((now, self.total.done))
            del self._history[: max(0, bisect_right(self._history, (now - WINDOWS[-1], inf)) - 1)]

    def seconds(self) -> list[float]:
        """Return recent durations of calls, sorted; while nothing is done they are not gathered
        anew."""
        if self._seconds is None:
            reporting = self.living or self.snapshots
            self._seconds = sorted(second for snapshot in reporting for second in snapshot.seconds)
        return self._seconds

    def rate(self, window: float) -> float | None:
        """Return how many tasks were done a second in the last `window` seconds."""
        if not self._history:
            return None
        index = bisect_right(self._history, (self._now - window, inf)) - 1
        then, done = self._history[max(0, index)]
        return (self.total.done - done) / (self._now - then) if self._now > then else None


def _row(queue: str, lines: Sequence[_QueueRow], elapsed: float) -> Row:
    living = [snapshot for line in lines for snapshot in line.living]
    total = _sum(line.total for line in lines)
    rates = [_added(line.rate(window) for line in lines) for window in WINDOWS]
    seconds = (
        lines[0].seconds()
        if len(lines) == 1
        else sorted(second for line in lines for second in line.seconds())
    )
    backlog = _added(line.backlog for line in lines)
    trouble = next((snapshot.trouble for snapshot in living if snapshot.trouble), "")
    addresses = dict.fromkeys(
        snapshot.address for line in lines for snapshot in line.living or line.snapshots
    )
    return Row(
        queue=queue,
        address=" ".join(addresses),
        state="trouble" if trouble else _state(living),
        note=next((snapshot.note for snapshot in living if snapshot.note), ""),
        trouble=trouble,
        processes=len({worker for line in lines for worker in line.workers}),
        done=total.done,
        **msgspec.structs.asdict(total),
        unfinished=sum(snapshot.unfinished for line in lines for snapshot in line.snapshots),
        rate_1s=_rounded(rates[0]),
        rate_10s=_rounded(rates[1]),
        rate_60s=_rounded(rates[2]),
        rate=round(total.done / elapsed, 3) if elapsed > 0 else 0.0,
        mean_ms=round(sum(seconds) / len(seconds) * 1000, 4) if seconds else None,
        p95_ms=round(seconds[ceil(len(seconds) * 0.95) - 1] * 1000, 4) if seconds else None,
        in_flight=sum(snapshot.in_flight for snapshot in living),
        running=sum(snapshot.running for snapshot in living),
        concurrency=sum(snapshot.concurrency for snapshot in living),
        backlog=None if backlog is None else int(backlog),
        delayed=(
            None if (delayed := _added(line.delayed for line in lines)) is None else int(delayed)
        ),
        empty_in=_empty_in(backlog, rates[1]),
    )


def _state(living: Sequence[Snapshot]) -> str:
    """Return the state of consumers together: what a person should know of any of them comes
    first."""
    states = {snapshot.state for snapshot in living}
    if "draining" in states:
        return "draining"
    shut = states - {"new", "running", "stopped"}
    if shut:
        return min(shut)
    return "running" if "running" in states else "starting" if states else "stopped"


def _empty_in(backlog: float | None, rate: float | None) -> float | None:
    if backlog == 0:
        return 0.0
    return round(backlog / rate, 1) if backlog is not None and rate else None


def _sum(many: Iterable[Counts]) -> Counts:
    return sum(many, start=Counts())


def _less(counts: Counts, than: Counts) -> bool:
    return any(getattr(counts, name) < getattr(than, name) for name in Counts.__struct_fields__)


def _added(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
