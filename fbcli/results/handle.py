"""A task that was pushed, by its id: how it stands, and its result, from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from fbcli.errors import RemoteTraceback, TaskFailed
from fbcli.results.callbacks import call_back
from fbcli.results.status import State, statuses
from fbcli.results.waiters import AsyncWaiter, Awaited, in_thread
from fbcli.stores.base import Result, Store

FOREVER = 10 * 365 * 86400.0

CANCEL_TTL = 7 * 86400.0
"""Seconds for which a request to cancel a task is remembered."""


class AsyncResult:
    """What `push` returns. Results are there when they are saved: option `results`, or
    `publish(..., result=True)`.

    `await result` is `await result.aresult()`; each method has a twin with an "a" before its name,
    to be awaited (of `wait`: `awaited`, since `await` is a word of the language). For many at once:
    `fbcli.gather`, `wait_all`, `as_completed`. All of them raise `Unavailable` when the store
    cannot be reached.
    """

    __slots__ = ("_open_store", "task_id")

    def __init__(self, task_id: str, open_store: Callable[[], Store]) -> None:
        self.task_id = task_id
        self._open_store = open_store

    def __repr__(self) -> str:
        return f"<task {self.task_id}>"

    @property
    def store(self) -> Store:
        """Where its result will be."""
        return self._open_store()

    # how it stands

    @property
    def state(self) -> State:
        """How it stands, by the store, at once: "succeeded", "failed", "dropped" or "cancelled"
        when its result was saved; "running" when a live worker has reported so (once a second);
        else "queued".

        Note: nobody can be sure of "queued". A task whose results are not saved is "queued" before
        it runs and after it has ended, too; so is one that never was, or whose result was kept for
        long enough.
        """
        return statuses(self.store, [self.task_id])[0].state

    def done(self) -> bool:
        """Whether it has ended, one way or the other, and its result is there."""
        return self.peek() is not None

    def peek(self) -> Result | None:
        """Return the whole result if it is there, at once."""
        return self.store.result(self.task_id)

    def cancel(self) -> bool:
        """Ask that it neither start nor go on: within about two seconds a running call gets
        `TaskCancelled`, and a message that comes up is dropped, for a week. Its state is
        "cancelled" then. False: it had ended before."""
        if self.done():
            return False
        self.store.request_cancel([self.task_id], CANCEL_TTL)
        return True

    # its result

    def wait(self, timeout: float | None = None) -> Result:
        """Return the whole result as soon as it is there; raises `TimedOut` after `timeout`
        seconds."""
        result = self.store.wait_result(self.task_id, FOREVER if timeout is None else timeout)
        if result is None:
            raise self._awaited(timeout).late(1)
        return result

    def result(self, timeout: float | None = None) -> Any:
        """Return what the function returned; raises `TaskFailed` when it failed for good,
        `TimedOut` after `timeout` seconds."""
        return value_of(self.wait(timeout))

    def then(self, callback: Callable[[Result], Any]) -> AsyncResult:
        """Call `callback(result)` as soon as the result is there, however it ended, and return
        this.

        Callbacks run one after the other in a thread that all tasks of the process share, as long
        as the process lives; an `async def` runs in the event loop from which `then` is called.
        What they raise is logged.
        """
        call_back(self.store, self.task_id, callback)
        return self

    # the same, awaited

    def __await__(self) -> Generator[Any, None, Any]:
        return self.aresult().__await__()

    async def astate(self) -> State:
        """`state`, awaited."""
        return await in_thread(lambda: self.state)

    async def adone(self) -> bool:
        """`done`, awaited."""
        return await in_thread(self.done)

    async def apeek(self) -> Result | None:
        """`peek`, awaited."""
        return await in_thread(self.peek)

    async def acancel(self) -> bool:
        """`cancel`, awaited."""
        return await in_thread(self.cancel)

    async def awaited(self, timeout: float | None = None) -> Result:
        """`wait`, awaited; however many coroutines wait, they take no thread for it."""
        async with AsyncWaiter(self._awaited(timeout)) as letters:
            return await letters.__anext__()

    async def aresult(self, timeout: float | None = None) -> Any:
        """`result`, awaited."""
        return value_of(await self.awaited(timeout))

    def _awaited(self, timeout: float | None) -> Awaited:
        return Awaited({self.store: [self.task_id]}, timeout)


def value_of(result: Result) -> Any:
    """Return the value of a result, or raise `TaskFailed` with the remote error and its
    traceback."""
    if result.state == "succeeded":
        return result.value
    error = TaskFailed(
        f"Task {result.task_id} of {result.queue} {ending_of(result)}",
        error_type=result.error_type,
        error=result.error,
        traceback=result.traceback,
        task_id=result.task_id,
        state=result.state,
    )
    raise error from (RemoteTraceback(result.traceback) if result.traceback else None)


def ending_of(result: Result) -> str:
    """Return how a task ended, for a person, as the end of a sentence about it."""
    if result.state == "succeeded":
        return "succeeded."
    if result.state == "cancelled":
        return f"was {result.error or 'cancelled'}."
    if result.state == "dropped":
        return f"was dropped: {result.error}."
    said = f"{result.error_type}: {result.error}" if result.error else result.error_type
    tries = f" after {result.attempts} attempts" if result.attempts > 1 else ""
    return f"failed{tries}{f' on {result.worker}' if result.worker else ''}: {said}"
