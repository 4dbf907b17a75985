"""Limits that are set for a queue while its consumers live, over what these were started with; and
what is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fbcli.stores.base import Limits, Store


class Force(msgspec.Struct, frozen=True):
    """What a live consumer goes by."""

    qps: float | None = None
    """Starts a second; None: no limit."""
    qps_scope: str = "process"
    concurrency: int | str | None = None


class Limited(msgspec.Struct):
    """One queue: what is set, and what its consumers have reported (they do so about once a
    second)."""

    queue: str
    limits: Limits
    in_force: list[Force]
    """The same for all consumers, as a rule: then it is one."""
    consumers: int


def merged(before: Limits, changes: Mapping[str, Any]) -> Limits:
    """Return limits with these changed: fields of `Limits` by name."""
    return msgspec.structs.replace(before, **changes)


def change(store: Store, queue: str, changes: Mapping[str, Any]) -> Limits:
    """Set these limits of a queue; the others that were set stay. Return all."""
    limits = merged(store.limits().get(queue, Limits()), changes)
    store.limit(queue, limits)
    return limits


def limited(store: Store, queues: Sequence[str] = ()) -> list[Limited]:
    """Return how it stands with these queues, or (none given) with all that have limits, by
    name."""
    limits = store.limits()
    reports: dict[str, list[Mapping[str, Any]]] = {}
    for worker in store.workers():
        for queue, report in worker.queues.items():
            reports.setdefault(queue, []).append(report)
    return [
        Limited(
            queue,
            limits.get(queue, Limits()),
            list(dict.fromkeys(map(_force, reports.get(queue, ())))),
            len(reports.get(queue, ())),
        )
        for queue in queues or sorted(limits)
    ]


def _force(report: Mapping[str, Any]) -> Force:
    return Force(report.get("qps"), report.get("qps_scope", "process"), report.get("concurrency"))
