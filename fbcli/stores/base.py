"""The contract of stores: state shared by all processes of a context, beside the broker.

Verbs of the domain, not raw keys. Times are Unix seconds of the store's own clock where it has one. Every verb raises
`Unavailable` when the store cannot be reached, and tries to connect anew at the next call. Thread-safe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

ResultState = Literal["succeeded", "failed", "dropped"]


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


class Worker(msgspec.Struct, omit_defaults=True):
    """What a consuming process says of itself at each heartbeat."""

    worker_id: str
    host: str
    pid: int
    started: float
    queues: dict[str, dict[str, Any]]
    """Queue name -> counters and settings of its consumer."""
    beat: float = 0.0
    """When it was last heard of; set by the store."""


class Parked(msgspec.Struct):
    """A message that waits in the store for its time, for a broker that cannot delay."""

    parked_id: str
    queue: str
    scheme: str
    """URL scheme of the broker it belongs to, so that it never goes to another."""
    due: float
    body: bytes
    priority: int = 0


class Store(ABC):
    """State shared beside the broker. Constructing one does not connect."""

    def __init__(self, url: str) -> None:
        self.url = url

    # pauses
    @abstractmethod
    def pause(self, queue: str, seconds: float | None = None) -> None:
        """Stop all consumers of `queue` from taking more, for `seconds` or (None) until `resume`."""

    @abstractmethod
    def resume(self, queue: str) -> bool:
        """End a pause; False when there was none."""

    @abstractmethod
    def pauses(self) -> Mapping[str, float | None]:
        """Return the paused queues, each with the seconds left (None: until resumed). Ended pauses are not among them."""

    # results
    @abstractmethod
    def save_results(self, results: Sequence[Result], ttl: float) -> None:
        """Save a batch for `ttl` seconds; confirmed when it returns. A later result of the same task replaces the earlier."""

    @abstractmethod
    def result(self, task_id: str) -> Result | None:
        """Return a task's result, or None when there is none (yet, or any more)."""

    @abstractmethod
    def wait_result(self, task_id: str, timeout: float) -> Result | None:
        """Return a task's result as soon as it is there; None after `timeout` seconds."""

    @abstractmethod
    def results(self, queue: str | None = None, limit: int = 100) -> list[Result]:
        """Return the newest results, newest first, of one queue or (None) of all."""

    # workers
    @abstractmethod
    def beat(self, worker: Worker, ttl: float) -> None:
        """Say that a worker lives; forgotten after `ttl` seconds without another beat."""

    @abstractmethod
    def retire(self, worker_id: str) -> None:
        """Forget a worker now."""

    @abstractmethod
    def workers(self) -> list[Worker]:
        """Return the workers alive, by id."""

    # delayed messages of brokers that cannot delay
    @abstractmethod
    def park(self, messages: Sequence[Parked]) -> None:
        """Keep messages until they are due; confirmed when it returns."""

    @abstractmethod
    def due(self, queue: str, scheme: str, limit: int, lease: float) -> list[Parked]:
        """Hand out up to `limit` messages whose time has come, soonest first. Each is handed to nobody else for `lease`
        seconds; whoever has published it says `unpark`."""

    @abstractmethod
    def parked(self, queue: str, scheme: str, limit: int) -> list[Parked]:
        """Return up to `limit` waiting messages, soonest first, taking none."""

    @abstractmethod
    def parked_count(self, queue: str, scheme: str) -> int:
        """Count the waiting messages of one queue."""

    @abstractmethod
    def unpark(self, queue: str, scheme: str, parked_ids: Sequence[str]) -> int:
        """Remove messages (published, or cancelled); return how many were there."""

    @abstractmethod
    def close(self) -> None:
        """Close all connections. Idempotent."""
