"""Callbacks: called with a task's result once it is there, one after the other, in a thread of the
process that is theirs alone."""

from __future__ import annotations

import inspect
import logging
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fbcli.errors import Unavailable, UsageError
from fbcli.platform.forks import PerProcess
from fbcli.results.poller import poller
from fbcli.stores.base import Result, Store

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("fbcli.results")


def call_back(store: Store, task_id: str, callback: Callable[[Result], Any]) -> None:
    """Call `callback(result)` when the task has ended. An `async def` runs in the event loop from
    which this is called.

    Raises `UsageError` for an `async def` outside of an event loop.
    """
    poller().watch(store, [task_id], _Caller(callback))


class _Caller:
    """Watches for one task."""

    def __init__(self, callback: Callable[[Result], Any]) -> None:
        self._callback = callback
        self._loop = _running_loop() if inspect.iscoroutinefunction(callback) else None
        self._troubled = False

    def arrived(self, result: Result) -> None:
        _calls().put((self._call, result))

    def troubled(self, error: Unavailable) -> None:
        if not self._troubled:
            log.warning("waiting for a result: %s Trying again until it works.", error)
        self._troubled = True

    def _call(self, result: Result) -> None:
        try:
            if self._loop is None:
                self._callback(result)
            else:
                self._call_in_loop(self._loop, result)
        except BaseException as error:
            log.exception(
                "the callback for the result of task %s failed: %r", result.task_id, error
            )

    def _call_in_loop(self, loop: asyncio.AbstractEventLoop, result: Result) -> None:
        import asyncio  # noqa: PLC0415

        def ended(future: Any) -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                log.error(
                    "the callback for the result of task %s failed: %r",
                    result.task_id,
                    error,
                    exc_info=error,
                )

        asyncio.run_coroutine_threadsafe(self._callback(result), loop).add_done_callback(ended)


def _running_loop() -> asyncio.AbstractEventLoop:
    import asyncio  # noqa: PLC0415

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "A callback that is an 'async def' needs a running event loop: call then() from a"
            " coroutine."
        ) from None


class _Calls:
    """The thread that makes the calls."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[Result], None], Result]] = (
            queue.SimpleQueue()
        )
        self.put = self._waiting.put
        threading.Thread(target=self._serve, name="fb-callbacks", daemon=True).start()

    def _serve(self) -> None:
        while True:
            call, result = self._waiting.get()
            call(result)


_own: PerProcess[_Calls] = PerProcess()


def _calls() -> _Calls:
    """Return that of this process."""
    return _own.get(_Calls)
