"""Which task runs here: in this thread or coroutine; and what a function may ask and tell about its
own task.

Costs a task nothing that does not ask: what runs is noted in a context variable anyway, for the
log, and all else is made when it is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar, copy_context
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

import msgspec

from fbcli.clock import SYSTEM
from fbcli.controls.base import NEVER
from fbcli.controls.timeout import deadline_of
from fbcli.errors import UsageError
from fbcli.task import CANCELLED

if TYPE_CHECKING:
    from fbcli.options.model import Options

    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_RAISE: Any = object()

running: ContextVar[Any] = ContextVar("fbcli_task", default=None)
"""The `Task` (or batch) that runs here; in a child process of a pool the `RemoteTask` that stands
for it; else None."""


class Source(Protocol):
    """Where a `CurrentTask` takes what it says from."""

    @property
    def task_id(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def arguments(self) -> Mapping[str, Any]: ...
    @property
    def extra(self) -> Mapping[str, Any]: ...
    @property
    def options(self) -> Options: ...
    @property
    def deliveries(self) -> int: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def cancelled(self) -> bool: ...
    def extend(self, seconds: float) -> bool: ...


class RemoteTask(msgspec.Struct):
    """A task as another process tells of it: plain data, and a callable that sends a wish for more
    time to where the clock is.

    Whoever runs the function sets `running` to it. Its fields are those of `CurrentTask`.
    """

    task_id: str
    queue: str
    options: Any
    """`Options`."""
    address: str = ""
    attempt: int = 1
    arguments: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    deadline: float | None = None
    deliveries: int = 1
    ask: Callable[[float], bool] | None = None
    """Asks for so many seconds more, and returns whether they were granted; None: nobody can be
    asked."""
    cancelled: bool = False
    """Set by whoever hears of it."""

    def extend(self, seconds: float) -> bool:
        """Move the deadline, when that is granted."""
        if self.deadline is None or self.ask is None or not self.ask(seconds):
            return False
        self.deadline += seconds
        return True

    @property
    def plan(self) -> RemoteTask:
        """Itself: as of a `Task`, the queue and options are found in it."""
        return self


class _Here:
    """A task (or batch) of this process. With a batch that is called as a whole: its first message,
    but all of the arguments."""

    def __init__(self, task: Any) -> None:
        self._running = task
        self._task = getattr(task, "task", task)
        self.task_id: str = self._task.task_id
        self.queue: str = task.plan.queue
        self.address: str = task.plan.address
        self.options: Options = task.plan.options
        self.extra: dict[str, Any] = self._task.extra
        self.deliveries: int = self._task.delivery.deliveries

    @property
    def attempt(self) -> int:
        attempt: int = self._task.attempt
        return max(1, attempt)

    @property
    def arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = self._running.arguments
        return arguments

    @property
    def deadline(self) -> float | None:
        deadline = deadline_of(self._running)
        return None if deadline is None or deadline.due == NEVER else deadline.unix()

    @property
    def cancelled(self) -> bool:
        deadline = deadline_of(self._running)
        return self._task.state == CANCELLED or (deadline is not None and deadline.cancelled)

    def extend(self, seconds: float) -> bool:
        deadline = deadline_of(self._running)
        return deadline is not None and deadline.extend(seconds)


class CurrentTask:
    """The task that runs here, as `fbcli.current()` returns it. Every attempt has its own."""

    __slots__ = ("_source",)

    def __init__(self, source: Source) -> None:
        self._source = source

    def __repr__(self) -> str:
        return f"<task {self.task_id} of {self.queue}, attempt {self.attempt}>"

    @property
    def task_id(self) -> str:
        """Its id. With a batch: that of the first message."""
        return self._source.task_id

    @property
    def queue(self) -> str:
        """The queue that its message came from."""
        return self._source.queue

    @property
    def address(self) -> str:
        """Where the function lives."""
        return self._source.address

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1; those of earlier deliveries are counted."""
        return self._source.attempt

    @property
    def retries_left(self) -> int:
        """How often it will be tried again, should this attempt fail."""
        return max(0, self.options.retries + 1 - self.attempt)

    @property
    def deadline(self) -> float | None:
        """When this attempt will be interrupted (Unix seconds); None: it has no timeout."""
        return self._source.deadline

    @property
    def seconds_left(self) -> float | None:
        """The seconds until then, not below 0; None: it has no timeout."""
        deadline = self.deadline
        return None if deadline is None else max(0.0, deadline - SYSTEM.now())

    @property
    def options(self) -> Options:
        """The options in force, those of the message included."""
        return self._source.options

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments of the call, by name."""
        return self._source.arguments

    @property
    def extra(self) -> Mapping[str, Any]:
        """What travels in the message beside the arguments."""
        return self._source.extra

    @property
    def publish_time(self) -> float | None:
        """When it was pushed (Unix seconds, by the clock of whoever pushed it); None: the message
        does not tell."""
        published = self.extra.get("publish_time")
        return float(published) if isinstance(published, int | float) else None

    @property
    def deliveries(self) -> int:
        """How often its message was handed to a consumer, this time included. More than 1: a worker
        was lost with it, or it was given back."""
        return self._source.deliveries

    @property
    def cancelled(self) -> bool:
        """Whether somebody has cancelled it: for code that `TaskCancelled` does not reach, such as
        threads of its own."""
        return self._source.cancelled

    def extend(self, seconds: float) -> bool:
        """Let this attempt be interrupted so many seconds later than it would be; False: it has no
        timeout, or it is too late.

        Raises `UsageError` for a time that is not above 0.
        """
        if not seconds > 0:
            raise UsageError(
                f"extend() moves the deadline to later: {seconds!r} seconds are not later."
            )
        return self._source.extend(seconds)

    @property
    def log(self) -> TaskLog:
        """A logger whose records carry the task's id and queue, wherever they are written from."""
        return TaskLog(
            logging.getLogger("fbcli.task"), {"task_id": self.task_id, "queue": self.queue}
        )

    @staticmethod
    def carry(function: Callable[P, R]) -> Callable[P, R]:
        """`fbcli.carry`."""
        return carry(function)


class TaskLog(Adapter):
    """Adds the task's id and queue to what a caller gives by `extra`."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, {**kwargs, "extra": {**(self.extra or {}), **(kwargs.get("extra") or {})}}


@overload
def current() -> CurrentTask: ...
@overload
def current(default: T) -> CurrentTask | T: ...
def current(default: Any = _RAISE) -> Any:
    """Return the task that runs in this thread or coroutine; outside of any task `default`, or
    (none given) raises `UsageError`.

    Threads of `asyncio.to_thread` know it, too; for others that a function starts see `carry`.
    """
    task = running.get()
    if task is not None:
        return CurrentTask(task if isinstance(task, RemoteTask) else _Here(task))
    if default is _RAISE:
        raise UsageError(
            "No task runs here: fbcli.current() is for functions that a consumer calls. In a thread"
            " of your own, start what fbcli.carry(function) returns; where there may be none, ask"
            " current(None)."
        )
    return default


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` bound to the task that runs here, for a thread that does not know it by
    itself: `Thread(target=carry(function))`, `executor.map(carry(function), items)`.

    Bound are all context variables, as they are now. It may be called often, and by several threads
    at once.
    """
    context = copy_context()

    @wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.copy().run(function, *args, **kwargs)

    return carried
