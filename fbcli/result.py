"""The result of a task that was pushed: waited for, from anywhere, by its id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fbcli.errors import TaskFailed, TimedOut
from fbcli.stores.base import Result, Store

P = ParamSpec("P")
R = TypeVar("R")

FOREVER = 10 * 365 * 86400.0


class AsyncResult:
    """What `push` returns. Results are there when they are saved: option `results`, or `publish(..., result=True)`."""

    __slots__ = ("_open_store", "task_id")

    def __init__(self, task_id: str, open_store: Callable[[], Store]) -> None:
        self.task_id = task_id
        self._open_store = open_store

    def __repr__(self) -> str:
        return f"<task {self.task_id}>"

    def peek(self) -> Result | None:
        """Return the whole result if it is there, at once."""
        return self._open_store().result(self.task_id)

    def wait(self, timeout: float | None = None) -> Result:
        """Return the whole result as soon as it is there; raises `TimedOut` after `timeout` seconds."""
        result = self._open_store().wait_result(self.task_id, FOREVER if timeout is None else timeout)
        if result is None:
            raise TimedOut(f"No result of task {self.task_id} within {timeout:g} s. Is a consumer running, with results on?")
        return result

    def result(self, timeout: float | None = None) -> Any:
        """Return what the function returned; raises `TaskFailed` when it failed for good, `TimedOut` after `timeout` seconds."""
        return value_of(self.wait(timeout))

    async def aresult(self, timeout: float | None = None) -> Any:
        """`result`, awaited."""
        return await in_thread(self.result, timeout)


async def in_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call it in a thread; the event loop goes on meanwhile."""
    import asyncio  # noqa: PLC0415  17 ms: whoever awaits has it, and `fb push` does without

    return await asyncio.to_thread(function, *args, **kwargs)


def value_of(result: Result) -> Any:
    """Return the value of a result, or raise `TaskFailed` with the remote error."""
    if result.state == "succeeded":
        return result.value
    raise TaskFailed(
        f"Task {result.task_id} {result.state}: {result.error_type}: {result.error}",
        error_type=result.error_type,
        error=result.error,
        traceback=result.traceback,
    )
