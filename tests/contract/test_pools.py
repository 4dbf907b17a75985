"""Every pool against the same contract, and what each does beyond it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from fbcli.pools.base import Done, Pool
from fbcli.pools.coroutines import CoroutinePool, in_threads
from fbcli.pools.threads import ThreadPool
from tests.contract.pool_contract import Job, PoolContract, into
from tests.servers import wait_until


def run(job: Job) -> None:
    try:
        job.result = job.act() if job.act else None
    except BaseException as error:
        job.error = error


async def arun(job: Job) -> None:
    try:
        job.result = job.act() if job.act else None
        if asyncio.iscoroutine(job.result):
            job.result = await job.result
    except asyncio.CancelledError as error:
        job.error = job.interrupted() if job.interrupted else error
    except BaseException as error:
        job.error = error


def bad() -> None:
    raise SystemExit(3)


def busy_nap(seconds: float) -> None:
    """Wait in Python code, where an interrupt can be raised."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


class TestThreads(PoolContract):
    def make(self, size: int, done: Done[Job]) -> Pool:
        return ThreadPool(size, run, done)

    def nap(self, seconds: float) -> Callable[[], Any]:
        return lambda: busy_nap(seconds)

    def bad(self) -> Callable[[], Any]:
        return bad

    def test_grows_on_demand_and_shrinks_when_idle(self) -> None:
        done: list[Any] = []
        pool = ThreadPool(50, run, into(done), name="grow", idle_seconds=0.05)

        def threads() -> int:
            return sum(thread.name.startswith("grow-") for thread in threading.enumerate())

        assert threads() == 0
        pool.submit([Job(str(i), lambda: busy_nap(0.05)) for i in range(10)])
        pool.nudge(False)
        assert threads() == 10
        wait_until(lambda: threads() == 0, "idle threads to end")
        assert len(done) == 10
        pool.submit([Job("again")])
        pool.nudge(False)
        wait_until(lambda: len(done) == 11, "the pool to grow again")
        pool.close()

    def test_short_tasks_do_not_wake_many_threads(self) -> None:
        done: list[Any] = []
        pool = ThreadPool(50, run, into(done), name="brisk")
        for i in range(100):
            pool.submit([Job(f"{i}.{j}") for j in range(50)])
            pool.nudge(True)
        wait_until(lambda: len(done) == 5000, "all to end")
        assert sum(thread.name.startswith("brisk-") for thread in threading.enumerate()) < 10
        pool.close()

    def test_a_long_task_among_short_ones_holds_up_none(self) -> None:
        done: list[Any] = []
        release = threading.Event()
        pool = ThreadPool(2, run, into(done))
        pool.submit([Job("long", release.wait), *(Job(str(i)) for i in range(10))])

        def others() -> bool:
            pool.nudge(True)
            return len(done) == 10

        wait_until(others, "the short ones to end")
        release.set()
        wait_until(lambda: len(done) == 11, "the long one to end")
        pool.close()

    def test_what_hangs_in_c_is_given_up_and_its_slot_replaced(self) -> None:
        done: list[Any] = []
        release = threading.Event()
        pool = ThreadPool(1, run, into(done))
        stuck = Job("stuck", release.wait)
        pool.submit([stuck, Job("next")])
        pool.nudge(False)
        wait_until(lambda: [job.task_id for job in pool.running()] == ["stuck"], "it to be stuck")
        assert pool.interrupt(stuck, TimeoutError)
        given_up = pool.abandon(stuck)
        assert given_up is not None
        assert given_up.task_id == "stuck"
        wait_until(
            lambda: [job.task_id for job in done] == ["next"], "the next one to run in its place"
        )
        release.set()
        last = Job("last")
        pool.submit([last])
        pool.nudge(False)
        wait_until(lambda: len(done) == 2, "the last one")
        assert [job.task_id for job in done] == ["next", "last"], "what was given up never reports"
        assert pool.abandon(last) is None
        pool.close()


class TestCoroutines(PoolContract):
    def make(self, size: int, done: Done[Job]) -> Pool:
        return CoroutinePool(size, arun, done)

    def nap(self, seconds: float) -> Callable[[], Any]:
        return lambda: asyncio.sleep(seconds)

    def bad(self) -> Callable[[], Any]:
        return bad

    def test_plain_functions_go_to_threads(self) -> None:
        done: list[Any] = []
        pool = CoroutinePool(20, arun, into(done))
        meet = in_threads(threading.Barrier(20).wait)
        pool.submit([Job(str(i), lambda: meet(60)) for i in range(20)])
        pool.nudge(False)
        wait_until(lambda: len(done) == 20, "each to meet all the others")
        pool.close()

    def test_coroutines_that_never_wait_let_others_in(self) -> None:
        done: list[Any] = []
        pool = CoroutinePool(2, arun, into(done))
        pool.submit(
            [
                Job("first", lambda: asyncio.sleep(0.01)),
                *(Job(str(i), lambda: busy_nap(0.001)) for i in range(200)),
            ]
        )
        pool.nudge(False)
        wait_until(lambda: len(done) == 201, "all to end")
        assert [job.task_id for job in done].index("first") < 100
        pool.close()

    def test_close_ends_the_thread(self) -> None:
        pool = CoroutinePool(2, arun, lambda job, last: None, name="closing")
        pool.submit([Job("long", lambda: asyncio.sleep(60))])
        pool.nudge(False)
        wait_until(lambda: bool(pool.running()), "it to run")
        pool.close()
        wait_until(
            lambda: not any(t.name == "closing-loop" for t in threading.enumerate()),
            "the loop to end",
        )
