"""An event loop in a thread of its own, for client libraries that know nothing but asyncio: whoever
calls them, from any thread, has them run there."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import cache
from typing import Any, Generic, TypeVar

from fbcli.errors import Unavailable
from fbcli.platform.forks import PerProcess

log = logging.getLogger("fbcli.clients")

T = TypeVar("T")

ENDING = 2.0
"""Seconds that coroutines get to end once they were cancelled."""
MOST_ROUNDS = 100
"""How often a loop that ends is ended again by what runs in it, before it is left as it is."""


class BackgroundCall(Generic[T]):
    """A coroutine that runs in a background loop. Used by any thread but the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._future: Future[T] = Future()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended, at most so long (None: for ever); return whether it has."""
        try:
            self._future.exception(seconds)
        except (TimeoutError, FutureTimeout):  # two classes before Python 3.11
            return False
        return True

    def result(self) -> T:
        """Wait until it has ended; return what it returned, or raise what it raised:
        `concurrent.futures.CancelledError` when it was cancelled, `Unavailable` when the loop has
        ended before."""
        return self._future.result()

    def was_cancelled(self) -> bool:
        """Wait until it has ended; return whether that was by being cancelled."""
        return isinstance(self._future.exception(), CancelledError)

    def cancel(self) -> None:
        """Ask it to end. Whether it has, and what it returned or raised all the same, `wait` and
        `result` tell: what it was handed in the last moment is not lost."""
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:
            pass  # the loop has ended, and all that ran in it

    # by the loop

    def begin(self, ended: Callable[[BackgroundCall[Any]], object]) -> None:
        """In the loop's thread."""
        self._future.add_done_callback(lambda _: ended(self))
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._conclude)

    def lose(self, error: Exception) -> None:
        """It will not go on any more, since the loop has ended."""
        if self._task is None:
            self._coroutine.close()
        if not self._future.done():
            self._future.set_exception(error)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _conclude(self, task: asyncio.Task[T]) -> None:
        error = CancelledError("it was cancelled") if task.cancelled() else task.exception()
        if error is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(task.result())


class BackgroundLoop:
    """One event loop and its thread. Thread-safe.

    It ends with `close`, or when something in it raises `SystemExit` or `KeyboardInterrupt`. What
    runs in it then is cancelled, and whoever waits for that gets an error.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._calls: set[BackgroundCall[Any]] = set()
        """Not ended. Changed holding the lock."""
        self._ending = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_note)
        self._thread = threading.Thread(target=self._serve, name="fb-asyncio", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it takes coroutines. That of a parent is none for a child that it forks."""
        return not self._ending and self._process == os.getpid()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> BackgroundCall[T]:
        """Have it run. Raises `Unavailable` when the loop has ended."""
        if self.alive:
            with self._lock:
                if not self._ending:
                    call = BackgroundCall(self._loop, coroutine)
                    self._calls.add(call)
                    self._loop.call_soon_threadsafe(call.begin, self._forget)
                    return call
        coroutine.close()
        raise _gone()

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """Have it run, and wait for what it returns; raise what it raises.

        After `timeout` seconds it is cancelled; when it has ended by that, or has not within
        `ENDING` seconds, `TimeoutError` is raised. When this wait is interrupted, it is cancelled
        too. Raises `Unavailable` when the loop has ended.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("The loop's own thread would wait for itself for ever: use await.")
        call = self.start(coroutine)
        try:
            if not call.wait(timeout):
                call.cancel()
                if not call.wait(ENDING) or call.was_cancelled():
                    raise TimeoutError(f"it did not end within {timeout:g} s")
        except BaseException:
            call.cancel()
            raise
        return call.result()

    def close(self) -> None:
        """End it, once what runs in it has ended, which is cancelled. Waits for that, within
        limits. Idempotent."""
        if not self.alive:
            return
        with self._lock:
            self._ending = True
        try:
            self._loop.call_soon_threadsafe(self._loop.stop)
        except RuntimeError:
            return  # it has ended by itself meanwhile
        if threading.current_thread() is not self._thread:
            self._thread.join(3 * ENDING)

    def _forget(self, call: BackgroundCall[Any]) -> None:
        with self._lock:
            self._calls.discard(call)

    # the loop's thread

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            log.error("the event loop of a client library was ended by %r in it", error)
        with self._lock:
            self._ending = True
        for _ in range(MOST_ROUNDS):
            if self._wind_up():
                break
        self._loop.close()
        with self._lock:
            left = list(self._calls)
        for call in left:
            call.lose(_gone())

    def _wind_up(self) -> bool:
        """End all that runs; False: one of those has raised what ends a loop."""
        run = self._loop.run_until_complete
        try:
            run(asyncio.sleep(0))  # what is about to begin begins
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                _, left = run(asyncio.wait(tasks, timeout=ENDING))
                if left:
                    log.warning("%d coroutines of a client library did not end", len(left))
            run(self._loop.shutdown_asyncgens())
        except (SystemExit, KeyboardInterrupt):
            return False
        return True


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in the background, where nobody waits for it."""
    log.warning("in a client library: %s", context["message"], exc_info=context.get("exception"))


def _gone() -> Unavailable:
    return Unavailable("The event loop of the client library has ended. Connect again.")


_own: PerProcess[BackgroundLoop] = PerProcess()


def background_loop() -> BackgroundLoop:
    """Return the one of this process: begun when it is first needed, again in a forked child, and
    again when it has ended; it ends with the process.

    Ask for it each time. What belongs to a loop, such as connections, belongs to that very one.
    """
    _close_at_exit()
    while True:
        loop = _own.get(BackgroundLoop)
        if loop.alive:
            return loop
        _own.forget(loop)


@cache
def _close_at_exit() -> None:
    atexit.register(_close_own)


def _close_own() -> None:
    loop = _own.take()
    if loop is not None:
        loop.close()
