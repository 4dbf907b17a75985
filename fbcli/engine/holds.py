"""Why a consumer does not run what it has, or takes no more: which control holds it, since when,
and why. Looked at about once a second, by the service that tells the store how it stands."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from fbcli.clock import Clock
from fbcli.stores.records import Hold

log = logging.getLogger("fbcli.held")
"""Of interest to those who ask for it (`--verbose`)."""

MOST_NAMED = 200
"""How many of the tasks that something holds are named."""


class Held(NamedTuple):
    """What one control holds at one moment."""

    by: str
    """The name of the control."""
    reason: str
    """For a person."""
    tasks: Sequence[str] = ()
    """Ids of the tasks that are in hand and may not start; none: nothing is taken at all."""
    since: float | None = None
    """Unix time; None: nobody has noted it."""


Look = Callable[[], Iterable[Held]]


class Holds:
    """Of one consumer. Used by one thread."""

    def __init__(self, queue: str, looks: Sequence[Look], clock: Clock) -> None:
        self._queue = queue
        self._looks = tuple(looks)
        self._clock = clock
        self._known: dict[tuple[str, bool], Hold] = {}

    def look(self) -> list[Hold]:
        """Return what holds up work now."""
        now = self._clock.now()
        found: dict[tuple[str, bool], Hold] = {}
        for look in self._looks:
            for held in look():
                # By what it is, not by its words: a reason may count seconds.
                key = held.by, bool(held.tasks)
                before = self._known.get(key)
                since = held.since or (before.since if before is not None else now)
                found[key] = Hold(
                    by=held.by,
                    reason=held.reason,
                    since=since,
                    count=len(held.tasks),
                    tasks=list(held.tasks[:MOST_NAMED]),
                )
        self._tell(found)
        self._known = found
        return list(found.values())

    def _tell(self, found: dict[tuple[str, bool], Hold]) -> None:
        """Tell what has begun to be held, and what is no more."""
        for key, hold in found.items():
            if key not in self._known:
                log.info("held by %s", hold.told(), extra={"queue": self._queue})
        for key, hold in self._known.items():
            if key not in found:
                log.info("no longer held by %s", hold.by, extra={"queue": self._queue})


def by_control(held: Iterable[tuple[str, str, str, float]]) -> list[Held]:
    """Put tasks that wait, each with a control, its reason, its id, and since when, together by
    control and reason."""
    groups: dict[tuple[str, str], tuple[list[str], list[float]]] = {}
    for by, reason, task_id, since in held:
        task_ids, times = groups.setdefault((by, reason), ([], []))
        task_ids.append(task_id)
        times.append(since)
    return [
        Held(by, reason, task_ids, min(times)) for (by, reason), (task_ids, times) in groups.items()
    ]
