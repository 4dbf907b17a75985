"""What a thread or a coroutine waits on for the results of many tasks: they arrive one by one, as
they come."""

from __future__ import annotations

import contextlib
import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from fbcli.clock import SYSTEM
from fbcli.errors import TimedOut, Unavailable
from fbcli.results.poller import poller, results_of
from fbcli.stores.base import Result, Store
from fbcli.values.durations import span

if TYPE_CHECKING:
    import asyncio

P = ParamSpec("P")
R = TypeVar("R")


class Awaited(NamedTuple):
    """The tasks whose results are waited for."""

    by_store: Mapping[Store, Sequence[str]]
    """Task ids, none of them twice."""
    timeout: float | None
    """Seconds for all of them together; None: however long it takes."""

    def late(self, missing: int) -> TimedOut:
        """Return the error of a wait that took too long."""
        task_ids = [task_id for ids in self.by_store.values() for task_id in ids]
        which = (
            f"task {task_ids[0]}"
            if len(task_ids) == 1
            else f"{missing:,} of {len(task_ids):,} tasks"
        )
        return TimedOut(
            f"No result of {which} within {span(self.timeout or 0, 3)}. Is a consumer running, with"
            " results on?"
        )


class _BaseWaiter(ABC):
    """Takes in results from the poller while it is entered."""

    def __init__(self, awaited: Awaited) -> None:
        self._awaited = awaited
        self._missing = sum(map(len, awaited.by_store.values()))
        self._deadline = None if awaited.timeout is None else SYSTEM.monotonic() + awaited.timeout

    def arrived(self, result: Result) -> None:
        self._put(result)

    def troubled(self, error: Unavailable) -> None:
        self._put(error)

    @abstractmethod
    def _put(self, item: Result | Unavailable) -> None:
        """Take in one thing. From any thread."""

    def _begin(self) -> None:
        """Take in what is there already, and have the rest looked out for. Raises `Unavailable`."""
        for store, task_ids in self._awaited.by_store.items():
            there = results_of(store, task_ids)
            for result in there:
                self._put(result)
            known = {result.task_id for result in there}
            poller().watch(store, [task_id for task_id in task_ids if task_id not in known], self)

    def _end(self) -> None:
        for store, task_ids in self._awaited.by_store.items():
            poller().unwatch(store, task_ids, self)

    def _left(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - SYSTEM.monotonic())

    def _taken(self, item: Result | Unavailable) -> Result:
        if isinstance(item, Unavailable):
            raise item
        self._missing -= 1
        return item


class Waiter(_BaseWaiter):
    """For threads. Use as a context; iterating over it raises `TimedOut`, and `Unavailable` when
    the store cannot be reached."""

    def __init__(self, awaited: Awaited) -> None:
        super().__init__(awaited)
        self._arrived: queue.SimpleQueue[Result | Unavailable] = queue.SimpleQueue()

    def _put(self, item: Result | Unavailable) -> None:
        self._arrived.put(item)

    def __enter__(self) -> Waiter:
        self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def __iter__(self) -> Waiter:
        return self

    def __next__(self) -> Result:
        if not self._missing:
            raise StopIteration
        try:
            return self._taken(self._arrived.get(timeout=self._left()))
        except queue.Empty:
            raise self._awaited.late(self._missing) from None


class AsyncWaiter(_BaseWaiter):
    """For coroutines: `async with`, `async for`, else the same. However many wait, they take no
    thread for it."""

    def __init__(self, awaited: Awaited) -> None:
        import asyncio  # noqa: PLC0415  17 ms: whoever awaits has it, and `fb push` does without

        super().__init__(awaited)
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[Result | Unavailable] = asyncio.Queue()

    def _put(self, item: Result | Unavailable) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)

    async def __aenter__(self) -> AsyncWaiter:
        await in_thread(self._begin)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def __aiter__(self) -> AsyncWaiter:
        return self

    async def __anext__(self) -> Result:
        import asyncio  # noqa: PLC0415

        if not self._missing:
            raise StopAsyncIteration
        if not self._arrived.empty():
            return self._taken(self._arrived.get_nowait())
        try:
            return self._taken(await asyncio.wait_for(self._arrived.get(), self._left()))
        except asyncio.TimeoutError:
            raise self._awaited.late(self._missing) from None


async def in_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call it in a thread; the event loop goes on meanwhile."""
    import asyncio  # noqa: PLC0415  17 ms: whoever awaits has it, and `fb push` does without

    return await asyncio.to_thread(function, *args, **kwargs)
