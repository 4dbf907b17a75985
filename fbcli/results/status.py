"""How tasks stand: from the results in the store, and from what the live workers report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from fbcli.results.poller import results_of
from fbcli.stores.base import ConsumerRecord, Result, ResultState, Store
from fbcli.stores.records import Hold

State = Literal["queued", "waiting", "running"] | ResultState


class TaskStatus(NamedTuple):
    """What is known of one task."""

    task_id: str
    result: Result | None = None
    run: ConsumerRecord | None = None
    """The consumer that runs it now, or has it in hand."""
    hold: Hold | None = None
    """What keeps that from running it."""

    @property
    def state(self) -> State:
        """How it ended; else "running" or "waiting" (in hand of a consumer that may not run it)
        where a live worker says so; else "queued", of which nobody can be sure: it may be unknown,
        run for less than a second, or have ended without its result having been saved."""
        if self.result is not None:
            return self.result.state
        if self.hold is not None:
            return "waiting"
        return "running" if self.run is not None else "queued"

    @property
    def known(self) -> bool:
        """Whether anything at all is known of it."""
        return self.result is not None or self.run is not None


def statuses(store: Store, task_ids: Sequence[str]) -> list[TaskStatus]:
    """Return how these tasks stand, in the order given. Raises `Unavailable`."""
    ended = {result.task_id: result for result in results_of(store, task_ids)}
    records = store.consumers() if len(ended) < len(set(task_ids)) else []
    runs, held = runs_of(records), held_of(records)
    unsure = [
        task_id for task_id in task_ids if not any(task_id in each for each in (ended, runs, held))
    ]
    if unsure:  # one that was running at the first look may have ended before the second
        ended |= {result.task_id: result for result in results_of(store, unsure)}
    return [
        TaskStatus(
            task_id,
            ended.get(task_id),
            *(runs[task_id], None) if task_id in runs else held.get(task_id, (None, None)),
        )
        for task_id in task_ids
    ]


def runs_of(records: Sequence[ConsumerRecord]) -> dict[str, ConsumerRecord]:
    """Return who runs what now, by task id: up to some hundreds of each consumer, as of its last
    report (a second ago)."""
    return {task_id: record for record in records for task_id in record.running}


def held_of(records: Sequence[ConsumerRecord]) -> dict[str, tuple[ConsumerRecord, Hold]]:
    """Return who has what in hand and may not run it, by task id, and why; as `runs_of`."""
    return {
        task_id: (record, hold)
        for record in records
        for hold in record.holds
        for task_id in hold.tasks
    }
