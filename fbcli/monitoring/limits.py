"""What limits are in force: set for a queue, and reported by its consumers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fbcli.stores.base import ConsumerRecord, Limits, Scope, Store


class Force(msgspec.Struct, frozen=True):
    """What a live consumer goes by."""

    qps: float | None = None
    """Starts a second; None: no limit."""
    qps_scope: Scope = "process"
    concurrency: int | None = None


class Limited(msgspec.Struct):
    """One queue: what is set, and what its consumers have reported (they do so about once a
    second)."""

    queue: str
    limits: Limits
    in_force: list[Force]
    """The same for all consumers, as a rule: then it is one."""
    consumers: int


def limited(store: Store, queues: Sequence[str] = ()) -> list[Limited]:
    """Return how it stands with these queues, or (none given) with all that have limits, by
    name."""
    limits = store.limits()
    reported: dict[str, list[ConsumerRecord]] = {}
    for record in store.consumers():
        reported.setdefault(record.queue, []).append(record)
    return [
        Limited(
            queue,
            limits.get(queue, Limits()),
            list(dict.fromkeys(map(_force, reported.get(queue, ())))),
            len(reported.get(queue, ())),
        )
        for queue in queues or sorted(limits)
    ]


def _force(record: ConsumerRecord) -> Force:
    return Force(record.qps, record.qps_scope, record.concurrency)
