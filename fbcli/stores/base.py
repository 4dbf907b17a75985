"""The contract of stores: state shared by all processes of a context, beside the broker.

Verbs of the domain, not raw keys. Times are Unix seconds of the store's own clock where it has one.
Every verb raises `Unavailable` when the store cannot be reached, and tries to connect anew at the
next call. Thread-safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

ResultState = Literal["succeeded", "failed", "dropped", "cancelled"]
ClaimState = Literal["granted", "busy", "done"]
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


class Tokens(NamedTuple):
    """Slots of a shared rate's grid."""

    count: int  # type: ignore[assignment]  # tuples have a method of that name
    """How many were taken, side by side on the grid; 0: none is free near enough."""
    wait: float
    """Seconds from now to the first of them (below 0: it is due); with none taken, to the next free
    one."""


class Claim(NamedTuple):
    """The answer to one claim."""

    state: ClaimState
    holder: str = ""
    """With "busy": an owner that has it."""


class News(NamedTuple):
    """All that a consumer asks the store about once a second."""

    pauses: Mapping[str, float | None]
    limits: Mapping[str, Limits]
    cancels: Collection[str]


class Store(ABC):
    """State shared beside the broker. Constructing one does not connect."""

    reach: Literal["process", "host", "network"]
    """Who can share it."""

    def __init__(self, url: str) -> None:
        self.url = url

    # pauses
    @abstractmethod
    def pause(self, queue: str, seconds: float | None = None) -> None:
        """Stop all consumers of `queue` from taking more, for `seconds` or (None) until
        `resume`."""

    @abstractmethod
    def resume(self, queue: str) -> bool:
        """End a pause; False when there was none."""

    @abstractmethod
    def pauses(self) -> Mapping[str, float | None]:
        """Return the paused queues, each with the seconds left (None: until resumed). Ended pauses
        are not among them."""

    # limits of live consumers
    @abstractmethod
    def limit(self, queue: str, limits: Limits) -> None:
        """Have the consumers of `queue` keep to `limits` until `unlimit`; replaces the earlier ones
        of the queue."""

    @abstractmethod
    def unlimit(self, queue: str) -> bool:
        """Let the consumers of `queue` go back to what they were started with; False when nothing
        was set."""

    @abstractmethod
    def limits(self) -> Mapping[str, Limits]:
        """Return the queues with limits."""

    # cancelled tasks
    @abstractmethod
    def request_cancel(self, task_ids: Sequence[str], ttl: float) -> None:
        """Ask that these tasks neither start nor go on; forgotten after `ttl` seconds."""

    @abstractmethod
    def cancels(self) -> Collection[str]:
        """Return the ids of the tasks to be cancelled."""

    @abstractmethod
    def end_cancels(self, task_ids: Sequence[str]) -> None:
        """Forget the requests for these tasks: they have been cancelled, or have ended."""

    def news(self) -> News:
        """Return what may have changed, in as few round trips as the store can."""
        return News(self.pauses(), self.limits(), self.cancels())

    # one rate shared by many
    @abstractmethod
    def take_tokens(
        self, key: str, qps: float, count: int, *, ahead: float, slack: float
    ) -> Tokens:
        """Take up to `count` of the next free slots of the grid `key`, on which `qps` slots a
        second lie evenly.

        A slot that is free and not taken within `slack` seconds after its time is lost; the next
        one is due at once then. One later than `ahead` seconds from now is not handed out. The grid
        goes by the store's clock, and is the same for all who use the key; when `qps` changes, it
        goes on from the last slot taken. Forgotten when it has long been idle.
        """

    # claims on keys: who works on what, and what is done
    @abstractmethod
    def claim(
        self, space: str, keys: Sequence[str], *, owner: str, lease: float, limit: int = 1
    ) -> list[Claim]:
        """Claim each key for `owner`, in order: "granted" while fewer than `limit` claims of all
        owners are on it (an owner may hold several), "busy" when not, "done" when it is marked. All
        claims of an owner in a space live until `lease` seconds after its last `claim` or
        `keep_claims` there."""

    @abstractmethod
    def keep_claims(self, spaces: Sequence[str], owner: str, lease: float) -> None:
        """Let all claims of `owner` in these spaces live for `lease` more seconds."""

    @abstractmethod
    def free(self, space: str, keys: Sequence[str], *, owner: str) -> None:
        """Give one claim of `owner` on each key back; of one that has none, nothing."""

    @abstractmethod
    def drop_claims(self, spaces: Sequence[str], owner: str) -> None:
        """Give all claims of `owner` in these spaces back."""

    @abstractmethod
    def mark(self, space: str, keys: Sequence[str], *, owner: str, ttl: float | None) -> None:
        """Mark keys as done, for `ttl` seconds or (None) for ever, and give one claim of `owner` on
        each back. A later mark replaces the earlier; the owner need not have claimed the key."""

    @abstractmethod
    def unmark(self, space: str, keys: Sequence[str] | None = None) -> int:
        """Forget marks (None: all of the space); return how many there were."""

    # results
    @abstractmethod
    def save_results(self, results: Sequence[Result], ttl: float) -> None:
        """Save a batch for `ttl` seconds; confirmed when it returns. A later result of the same
        task replaces the earlier."""

    @abstractmethod
    def result(self, task_id: str) -> Result | None:
        """Return a task's result, or None when there is none (yet, or any more)."""

    @abstractmethod
    def results_of(self, task_ids: Sequence[str]) -> Mapping[str, Result]:
        """Return the results that are there, by task id, in one round trip."""

    @abstractmethod
    def wait_result(self, task_id: str, timeout: float) -> Result | None:
        """Return a task's result as soon as it is there; None after `timeout` seconds."""

    @abstractmethod
    def results(self, queue: str | None = None, limit: int = 100) -> list[Result]:
        """Return the newest results, newest first, of one queue or (None) of all."""

    # consumers
    @abstractmethod
    def beat(self, records: Sequence[ConsumerRecord], ttl: float) -> None:
        """Say that these consumers live; each is forgotten after `ttl` seconds without another
        beat."""

    @abstractmethod
    def retire(self, consumer_ids: Sequence[str]) -> None:
        """Forget consumers now."""

    @abstractmethod
    def consumers(self) -> list[ConsumerRecord]:
        """Return the consumers alive, by id."""

    # delayed messages of brokers that cannot delay
    @abstractmethod
    def park(self, messages: Sequence[Parked]) -> None:
        """Keep messages until they are due; confirmed when it returns."""

    @abstractmethod
    def due(self, queue: str, scheme: str, limit: int, lease: float) -> list[Parked]:
        """Hand out up to `limit` messages whose time has come, soonest first. Each is handed to
        nobody else for `lease` seconds; whoever has published it says `unpark`."""

    @abstractmethod
    def parked(self, queue: str, scheme: str, limit: int) -> list[Parked]:
        """Return up to `limit` waiting messages, soonest first, taking none."""

    @abstractmethod
    def parked_count(self, queue: str, scheme: str) -> int:
        """Count the waiting messages of one queue."""

    @abstractmethod
    def parked_queues(self, scheme: str) -> Collection[str]:
        """Return the queues that hold waiting messages."""

    @abstractmethod
    def unpark(self, queue: str, scheme: str, parked_ids: Sequence[str]) -> int:
        """Remove messages (published, or cancelled); return how many were there."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections. Idempotent."""
