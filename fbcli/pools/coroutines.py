"""A pool of coroutines on one event loop in a thread of its own. Plain functions in it run in the
loop's threads.

A few runner tasks take work from a shared deque, one message after the other, so that no asyncio
task is made per message.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from fbcli.pools.base import Done, Pool, T

AExecute: TypeAlias = Callable[[T], Awaitable[None]]
"""Carries one task out; like `Execute`, awaited."""

TURN_SECONDS = 0.01
"""How long a runner goes on without giving way, when its coroutines never wait."""


MOST_THREADS = 100_000
"""Of plain functions: the runners limit them, whose number may change."""


class CoroutinePool(Pool[T]):
    """At most `size` coroutines at once."""

    def __init__(self, size: int, execute: AExecute[T], done: Done[T], *, name: str = "fb") -> None:
        super().__init__(size, done)
        self._execute = execute
        self._tasks: deque[T] = deque()
        self._current: dict[asyncio.Task[None], T] = {}
        self._runners: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(
            ThreadPoolExecutor(MOST_THREADS, thread_name_prefix=f"{name}-sync")
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"{name}-loop", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def submit(self, tasks: Sequence[T]) -> None:
        self._tasks.extend(tasks)

    def nudge(self, brisk: bool) -> float | None:
        if self._tasks and not self._closed.is_set():
            self._loop.call_soon_threadsafe(self._grow, 1 if brisk else len(self._tasks))
            return 0.005 if brisk and len(self._runners) < self.size else None
        return None

    def _grow(self, wanted: int) -> None:
        for _ in range(min(wanted, len(self._tasks), self.size - len(self._runners))):
            runner = self._loop.create_task(self._work())
            self._runners.add(runner)

    async def _work(self) -> None:
        """Run tasks until there is none left."""
        me = asyncio.current_task()
        assert me is not None
        tasks, execute, done, current = self._tasks, self._execute, self._done, self._current
        turn = time.monotonic() + TURN_SECONDS
        try:
            while tasks and len(self._runners) <= self.size and not self._closed.is_set():
                current[me] = task = tasks.popleft()
                try:
                    await execute(task)
                except asyncio.CancelledError:
                    if self._closed.is_set():
                        return
                    _uncancel(me)
                del current[me]
                done(task, not tasks)
                if time.monotonic() > turn:
                    await _give_way(me)
                    turn = time.monotonic() + TURN_SECONDS
        finally:
            self._runners.discard(me)

    def pending(self) -> int:
        return len(self._tasks)

    def running(self) -> list[T]:
        return list(self._current.copy().values())

    def take_back(self) -> list[T]:
        taken: list[T] = []
        while True:
            try:
                taken.append(self._tasks.popleft())
            except IndexError:
                return taken

    def interrupt(self, task: T, exception: type[BaseException]) -> bool:
        """Cancel the coroutine, with `exception` noted in `task.interrupted` for whoever catches
        the cancellation."""
        for runner, each in self._current.copy().items():
            if each is task:
                self._loop.call_soon_threadsafe(self._cancel, runner, task, exception)
                return True
        return False

    def _cancel(self, runner: asyncio.Task[None], task: T, exception: type[BaseException]) -> None:
        current = self._current.get(runner)
        if current is not None and current is task:
            current.interrupted = exception
            runner.cancel()

    def abandon(self, task: T) -> T | None:
        """None: a coroutine that swallows its cancellation, or blocks the loop, cannot be left
        behind alone."""
        return None

    def resize(self, size: int) -> None:
        self.size = size

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)

    async def _end(self) -> None:
        """Cancel what still runs, then end the loop; a call in a thread that never returns is left
        behind."""
        for runner, task in self._current.items():
            self._cancel(runner, task, asyncio.CancelledError)
        if self._runners:
            await asyncio.wait(self._runners, timeout=1.0)
        self._loop.call_soon(self._loop.stop)


async def _give_way(me: asyncio.Task[None]) -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        _uncancel(me)


def _uncancel(task: asyncio.Task[None]) -> None:
    """Forget a cancellation that has been dealt with (Python 3.11 counts them)."""
    uncancel: Callable[[], int] | None = getattr(task, "uncancel", None)
    if uncancel is not None:
        while uncancel():
            pass


def in_threads(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return an `async def` that calls a plain function in the loop's threads."""

    async def call(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(function, *args, **kwargs)

    return call
