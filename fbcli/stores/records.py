"""What is kept in a store, as others read and write it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

ResultState = Literal["succeeded", "failed", "dropped", "cancelled"]
Scope = Literal["process", "cluster"]


class Result(msgspec.Struct, omit_defaults=True):
    """How a task ended. Kept for its `ttl`."""

    task_id: str
    queue: str
    state: ResultState
    value: Any = None
    """What the function returned (JSON)."""
    error_type: str = ""
    error: str = ""
    traceback: str = ""
    """The last lines of the remote traceback."""
    attempts: int = 1
    started: float = 0.0
    finished: float = 0.0
    worker: str = ""


class Counts(msgspec.Struct):
    """What has become of tasks since their consumer started: how many. Those of several consumers
    add up."""

    succeeded: int = 0
    failed: int = 0
    """For good: dead letters."""
    retried: int = 0
    """Attempts that failed and were, or will be, followed by another."""
    requeued: int = 0
    released: int = 0
    """Given back unrun or unfinished, because the consumer stopped, paused, or was too early."""
    dropped: int = 0
    """Expired, or done before."""
    cancelled: int = 0
    late: int = 0
    """Outcomes that settled nothing, since the lease had been lost."""
    reclaimed: int = 0
    """Messages of dead consumers given back to the queue."""

    @property
    def done(self) -> int:
        """Tasks that have ended, one way or the other."""
        return self.succeeded + self.failed + self.dropped + self.cancelled

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            *(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__)
        )


class Hold(msgspec.Struct, omit_defaults=True):
    """What keeps a consumer from running what it has in hand, or from taking anything."""

    by: str
    """The control: pause, window, breaker, rate, dedupe, max_per_key, …"""
    reason: str
    """For a person."""
    since: float = 0.0
    """Unix time, by the consumer's own clock."""
    count: int = 0
    """Tasks in hand that may not start; 0: nothing is taken."""
    tasks: list[str] = []
    """Ids of them, some hundreds at most."""

    def told(self) -> str:
        """Return it as a person reads it."""
        what = {0: "", 1: " (1 task)"}.get(self.count, f" ({self.count:,} tasks)")
        return f"{self.by}: {self.reason}{what}"


class ConsumerRecord(msgspec.Struct, omit_defaults=True):
    """What a consumer (one function, in one process) says of itself about once a second.

    Consumers of older and newer versions share a store: fields that are not known here are
    ignored, and all but the id have a default.
    """

    consumer_id: str
    host: str = ""
    pid: int = 0
    started: float = 0.0
    """Unix time, by its own clock."""
    queue: str = ""
    address: str = ""
    """Of its function: `module:func`."""
    state: str = "running"
    """running, draining, stopped; or why no work is taken: paused, closed (outside its hours),
    tripped (by its breaker)."""
    note: str = ""
    """Until when, or what next, for a person."""
    trouble: str = ""
    """What keeps it from working, for a person; empty when all is well."""
    holds: list[Hold] = []
    """What keeps tasks from being run."""
    counts: Counts = msgspec.field(default_factory=Counts)
    in_flight: int = 0
    """Messages held: running, waiting for a slot, or waiting to be settled."""
    running: list[str] = []
    """Ids of the tasks that run: some hundreds at most."""
    concurrency: int | None = None
    """Most calls at once."""
    qps: float | None = None
    """Starts a second at most; None: no limit."""
    qps_scope: Scope = "process"
    per_second: float = 0.0
    """Tasks that have ended a second, over the last ten seconds or so."""
    mean_seconds: float = 0.0
    """How long its recent calls took."""
    beat: float = 0.0
    """Unix time at which it was last heard of, by the store's clock; set by the store."""

    @property
    def worker(self) -> str:
        """The process it lives in, as results name it."""
        return f"{self.host}:{self.pid}"


class Parked(msgspec.Struct):
    """A message that waits in the store for its time, for a broker that cannot delay."""

    parked_id: str
    queue: str
    scheme: str
    """URL scheme of the broker it belongs to, so that it never goes to another."""
    due: float
    body: bytes
    priority: int = 0


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `fb limit` sets for a queue, over what its consumers were started with. None: as they
    were started."""

    qps: float | None = None
    """Starts a second; 0: no limit."""
    qps_scope: Scope | None = None
    concurrency: int | Literal["auto"] | None = None
