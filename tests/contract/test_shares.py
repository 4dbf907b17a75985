"""A share of a pool against the contract of pools: it looks like a pool of its own. How several get
along: `tests/pools/test_shared.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fbcli.pools.base import Done, Pool
from fbcli.pools.coroutines import CoroutinePool
from fbcli.pools.shared import SharedPool
from fbcli.pools.threads import ThreadPool
from tests.contract.pool_contract import PoolContract
from tests.contract.test_pools import arun, bad, busy_nap, run


class TestShareOfThreads(PoolContract):
    def make(self, size: int, done: Done[Any]) -> Pool:
        hub = SharedPool(
            lambda size, done: ThreadPool(size, run, done), owner_of=lambda job: "mine"
        )
        return hub.share("mine", size, done)

    def nap(self, seconds: float) -> Callable[[], Any]:
        return lambda: busy_nap(seconds)

    def bad(self) -> Callable[[], Any]:
        return bad


class TestShareOfCoroutines(PoolContract):
    def make(self, size: int, done: Done[Any]) -> Pool:
        hub = SharedPool(
            lambda size, done: CoroutinePool(size, arun, done), owner_of=lambda job: "mine"
        )
        return hub.share("mine", size, done)

    def nap(self, seconds: float) -> Callable[[], Any]:
        return lambda: asyncio.sleep(seconds)

    def bad(self) -> Callable[[], Any]:
        return bad
