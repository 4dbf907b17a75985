"""The results of many tasks together: in the order in which they were pushed, or in which they
come."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from fbcli.results.handle import AsyncResult, value_of
from fbcli.results.waiters import AsyncWaiter, Awaited, Waiter
from fbcli.stores.base import Result, Store


def wait_all(results: Iterable[AsyncResult], timeout: float | None = None) -> list[Result]:
    """Return the whole results of these tasks, in their order, once all are there, however they
    ended.

    `timeout` is in seconds, for all together. Raises `TimedOut`, and `Unavailable` when a store
    cannot be reached.
    """
    pushed = list(results)
    with Waiter(_awaited(pushed, timeout)) as letters:
        return _in_order(pushed, letters)


def gather(results: Iterable[AsyncResult], timeout: float | None = None) -> list[Any]:
    """Return what these tasks returned, in their order; raises `TaskFailed` of the first that
    failed, as soon as it has.

    The others go on then. `timeout` is in seconds, for all together. Raises `TimedOut` and
    `Unavailable`, too.
    """
    pushed = list(results)
    with Waiter(_awaited(pushed, timeout)) as letters:
        return [result.value for result in _in_order(pushed, map(_succeeded, letters))]


async def await_all(results: Iterable[AsyncResult], timeout: float | None = None) -> list[Result]:
    """`wait_all`, awaited."""
    pushed = list(results)
    async with AsyncWaiter(_awaited(pushed, timeout)) as letters:
        return _in_order(pushed, [result async for result in letters])


async def agather(results: Iterable[AsyncResult], timeout: float | None = None) -> list[Any]:
    """`gather`, awaited."""
    pushed = list(results)
    async with AsyncWaiter(_awaited(pushed, timeout)) as letters:
        return [
            result.value
            for result in _in_order(pushed, [_succeeded(result) async for result in letters])
        ]


class Completed:
    """What `as_completed` returns."""

    def __init__(self, awaited: Awaited) -> None:
        self._awaited = awaited

    def __iter__(self) -> Iterator[Result]:
        with Waiter(self._awaited) as letters:
            yield from letters

    async def __aiter__(self) -> AsyncIterator[Result]:
        async with AsyncWaiter(self._awaited) as letters:
            async for result in letters:
                yield result


def as_completed(results: Iterable[AsyncResult], timeout: float | None = None) -> Completed:
    """Return the whole results of tasks, each as soon as it is there: `for result in
    as_completed(results)`, or `async for`.

    `timeout` is in seconds, from the beginning of the loop, for all together. The loop raises
    `TimedOut` and `Unavailable`.
    """
    return Completed(_awaited(results, timeout))


def _awaited(results: Iterable[AsyncResult], timeout: float | None) -> Awaited:
    by_store: dict[Store, dict[str, None]] = {}
    for result in results:
        by_store.setdefault(result.store, {})[result.task_id] = None
    return Awaited({store: list(task_ids) for store, task_ids in by_store.items()}, timeout)


def _in_order(pushed: Iterable[AsyncResult], arrived: Iterable[Result]) -> list[Result]:
    by_id = {result.task_id: result for result in arrived}
    return [by_id[each.task_id] for each in pushed]


def _succeeded(result: Result) -> Result:
    value_of(result)
    return result
