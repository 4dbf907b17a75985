"""One message being carried out, from fetch to settlement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any, Protocol

import msgspec

from fbcli.broker import Delivery

# What became of a task. Plain ints: the hot path compares them for every task.
RUNNING = 0
SUCCEEDED = 1
FAILED = 2
"""For good: to the dead letters."""
RETRY = 3
"""To be tried again after `delay` seconds, by whoever takes it then; counts as an attempt."""
REQUEUED = 4
"""Back to the queue at the function's own wish; no attempt is counted."""
RELEASED = 5
"""Back to the queue since this consumer stops or may not run it now; no attempt is counted."""
DROPPED = 6
"""Not wanted any more: expired, or done before."""
CANCELLED = 7
"""Somebody did not want it any more."""

STATE_NAMES = (
    "running",
    "succeeded",
    "failed",
    "retried",
    "requeued",
    "released",
    "dropped",
    "cancelled",
)
ENDED = frozenset({SUCCEEDED, FAILED, DROPPED, CANCELLED})
"""States after which a task does not come back."""


class Failure(msgspec.Struct):
    """An error as text: what travels into dead letters, results and events."""

    error_type: str
    error: str
    traceback: str = ""
    """The last lines."""


class Task(msgspec.Struct, gc=False):
    """The state of a task. Owned by the intake, but by the worker that runs it between `submit` and
    its outcome."""

    delivery: Delivery
    task_id: str
    arguments: dict[str, Any]
    extra: dict[str, Any]
    plan: Any
    """The compiled options it runs under (`engine.plan.Plan`)."""
    attempt: int = 0
    """Attempts begun, those of earlier deliveries included."""
    state: int = RUNNING
    value: Any = None
    failure: Failure | None = None
    delay: float = 0.0
    """Seconds, with RETRY and REQUEUED."""
    seconds: float = 0.0
    """How long it ran, all attempts of this delivery together."""
    begun: float = inf
    """When the attempt that runs began (monotonic seconds); never, between attempts."""
    deadline: Any = None
    """When that is interrupted, if somebody has asked or changed it (`controls.timeout.Deadline`).
    """
    retried: int = 0
    """Attempts that failed and were followed by another one in the same slot."""
    interrupted: type[BaseException] | None = None
    """What a cancelled coroutine was cancelled with."""
    claims: dict[str, str] | None = None
    """What controls have taken in the store for it: space -> key."""
    token: str = ""
    """By what the store knows these: no other task of the consumer has the same."""

    @property
    def task(self) -> Task:
        """Itself: see `Run`."""
        return self

    @property
    def tasks(self) -> Sequence[Task]:
        """Only itself: see `Run`."""
        return (self,)


class Run(Protocol):
    """What a pool carries out for a consumer: a task, or several by one call
    (`engine.batch.Batch`)."""

    seconds: float
    """How long it ran, all attempts together."""
    interrupted: type[BaseException] | None
    """What a cancelled coroutine was cancelled with."""

    @property
    def task_id(self) -> str:
        """The id of `task`."""

    @property
    def plan(self) -> Any:
        """The compiled options it runs under (`engine.plan.Plan`)."""

    @property
    def arguments(self) -> dict[str, Any]:
        """What the function is called with."""

    @property
    def task(self) -> Task:
        """The one it works on now; of several that are called together, the first."""

    @property
    def tasks(self) -> Sequence[Task]:
        """All of them."""


def tasks_of(runs: Iterable[Run]) -> list[Task]:
    """Return the tasks of what a pool runs."""
    return [task for run in runs for task in run.tasks]
