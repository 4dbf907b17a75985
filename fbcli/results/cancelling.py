"""Cancelling tasks, and finding out what became of each: a queued one never starts, a running one
is interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from fbcli.clock import SYSTEM, Clock
from fbcli.results.poller import results_of
from fbcli.results.status import runs_of, statuses
from fbcli.stores.base import Result, Store

TTL = 30 * 86400.0
"""Seconds for which a request is remembered: a delayed message may come up as late as that."""

POLL = 0.1
"""Seconds between two looks."""

SETTLING = 0.5
"""Seconds that the result of a call that runs no more may take to be saved."""

UNSTARTED = "cancelled before it started"
"""What a consumer writes into the result of a message that it did not start."""

Became = Literal["asked", "will_not_start", "interrupted", "still_running", "ended_before"]


class Outcome(msgspec.Struct):
    """What became of one task."""

    task_id: str
    became: Became
    state: str = "queued"
    """As of `AsyncResult.state`; "ended" when it has ended and its result was not saved."""


def cancel(
    store: Store,
    task_ids: Sequence[str],
    *,
    wait: float,
    clock: Clock = SYSTEM,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Outcome]:
    """Ask that these tasks neither start nor go on; return what became of each, in order, as far as
    that is known within `wait` seconds. No request is left for those that had ended. Raises
    `Unavailable`."""
    before = {each.task_id: each for each in statuses(store, list(dict.fromkeys(task_ids)))}
    outcomes = {
        task_id: Outcome(task_id, "ended_before", each.result.state)
        for task_id, each in before.items()
        if each.result is not None
    }
    asked = [task_id for task_id in before if task_id not in outcomes]
    if asked:
        store.request_cancel(asked, TTL)
    if wait > 0:
        inquiry = Inquiry(store, asked, clock)
        deadline = clock.monotonic() + wait
        while not inquiry.look() and clock.monotonic() < deadline:
            sleep(POLL)
        outcomes |= {each.task_id: each for each in inquiry.outcomes()}
    return [
        outcomes.get(task_id) or Outcome(task_id, "asked", before[task_id].state)
        for task_id in before
    ]


class Inquiry:
    """Looks what becomes of tasks that shall be cancelled.

    A consumer asks for requests, acts, and reports what it runs, in this order and about once a
    second. So after two reports of all consumers whatever none of them runs will not start.
    """

    def __init__(self, store: Store, task_ids: Sequence[str], clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._open = list(task_ids)
        self._known: dict[str, Outcome] = {}
        self._ran: dict[str, float] = {}
        """When each task that was seen to run was last seen to (monotonic seconds)."""
        self._beats: dict[str, tuple[float, int]] = {}
        """Of each consumer its last report, and how many there were since the first look."""

    def look(self) -> bool:
        """Look once; True when all is known."""
        records = self._store.consumers()
        for record in records:
            last, count = self._beats.get(record.consumer_id, (record.beat, 0))
            self._beats[record.consumer_id] = record.beat, count + (record.beat != last)
        told = all(self._beats[record.consumer_id][1] >= 2 for record in records)
        runs, now = runs_of(records), self._clock.monotonic()
        results = {result.task_id: result for result in results_of(self._store, self._open)}
        for task_id in self._open:
            if task_id in results:
                self._known[task_id] = _outcome(results[task_id])
            elif task_id in runs:
                self._ran[task_id] = now
            elif task_id in self._ran:
                if now >= self._ran[task_id] + SETTLING:
                    self._known[task_id] = Outcome(task_id, "ended_before", "ended")
            elif told:
                self._known[task_id] = Outcome(task_id, "will_not_start")
        self._open = [task_id for task_id in self._open if task_id not in self._known]
        return not self._open

    def outcomes(self) -> list[Outcome]:
        """Return what is known by now; of the rest, what is most likely."""
        unsure = [
            Outcome(task_id, "still_running", "running")
            if task_id in self._ran
            else Outcome(task_id, "will_not_start")
            for task_id in self._open
        ]
        return [*self._known.values(), *unsure]


def _outcome(result: Result) -> Outcome:
    if result.state != "cancelled":
        return Outcome(result.task_id, "ended_before", result.state)
    return Outcome(
        result.task_id,
        "will_not_start" if result.error == UNSTARTED else "interrupted",
        result.state,
    )
