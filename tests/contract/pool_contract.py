"""What every pool does. A new pool is done when a subclass with its `make` passes."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from fbcli.pools.base import Done, Pool
from tests.servers import wait_until


@dataclass
class Job:
    """A task for a pool: does `act` when it is run. What that is, the pool under test says; None:
    nothing."""

    task_id: str
    act: Any = None
    result: Any = None
    interrupted: Any = None
    error: BaseException | None = field(default=None, repr=False)


def into(done: list[Job]) -> Done[Job]:
    """Return what adds to this list the tasks that have ended."""
    return lambda job, last: done.append(job)


class PoolRun:
    """A pool and what it has done."""

    def __init__(self, contract: PoolContract, size: int) -> None:
        self.done: list[str] = []
        self.lasts: list[bool] = []
        """What was said with each of them."""
        self.lock = threading.Lock()
        self.contract = contract
        self.pool = contract.make(size, self._done)

    def _done(self, job: Job, last: bool) -> None:
        with self.lock:
            self.done.append(job.task_id)
            self.lasts.append(last)

    def submit(self, *jobs: Job) -> None:
        self.pool.submit(jobs)
        self.nudge()

    def warm_up(self) -> None:
        """Have all workers started, where that takes its time."""
        jobs = [Job(f"warm {i}", self.contract.nap(0.1)) for i in range(1000)]
        self.submit(*jobs)
        wait_until(lambda: len(self.pool.running()) == self.pool.size, "all workers to be there")
        self.wait_for(len(jobs) - len(self.pool.take_back()))
        self.done.clear()
        self.lasts.clear()

    def nudge(self) -> None:
        self.pool.nudge(False)

    def wait_for(self, count: int) -> None:
        def enough() -> bool:
            self.nudge()
            return len(self.done) >= count

        wait_until(enough, f"{count} tasks to end")


class PoolContract(ABC):
    @abstractmethod
    def make(self, size: int, done: Done[Job]) -> Pool:
        """Return a pool that does `job.act` for each job."""

    @abstractmethod
    def nap(self, seconds: float) -> Any:
        """Return an action that waits so long, and can be interrupted while it waits."""

    @abstractmethod
    def bad(self) -> Any:
        """Return an action that raises `SystemExit`."""

    interrupts = 100
    """How many tasks are interrupted where it is many: fewer, where one interrupt takes its time.
    """

    @pytest.fixture
    def start(self) -> Iterator[Callable[[int], PoolRun]]:
        runs: list[PoolRun] = []

        def make(size: int) -> PoolRun:
            runs.append(PoolRun(self, size))
            return runs[-1]

        yield make
        for run in runs:
            run.pool.close()
            run.pool.close()

    def test_runs_every_task_once(self, start: Callable[[int], PoolRun]) -> None:
        on = start(4)
        for batch in range(20):
            on.submit(*(Job(f"{batch}.{i}") for i in range(50)))
        on.wait_for(1000)
        assert len(set(on.done)) == len(on.done) == 1000
        assert on.pool.pending() == 0
        assert on.pool.running() == []

    def test_begins_in_order(self, start: Callable[[int], PoolRun]) -> None:
        on = start(1)
        on.submit(*(Job(str(i)) for i in range(100)))
        on.wait_for(100)
        assert on.done == [str(i) for i in range(100)], (
            "one after the other, they end as they begin"
        )

    def test_tells_when_none_waits_any_more(self, start: Callable[[int], PoolRun]) -> None:
        on = start(1)
        on.warm_up()
        on.submit(*(Job(str(i), self.nap(0.02)) for i in range(30)))
        on.wait_for(30)
        assert on.lasts[-1]
        assert not all(on.lasts), "the others waited for the worker"

    def test_runs_as_many_at_once_as_its_size_and_no_more(
        self, start: Callable[[int], PoolRun]
    ) -> None:
        on = start(5)
        on.warm_up()
        nap = self.nap(0.05)
        most = 0
        on.submit(*(Job(str(i), nap) for i in range(20)))
        while len(on.done) < 20:
            on.nudge()
            most = max(most, len(on.pool.running()))
            time.sleep(0.002)
        assert most == 5

    def test_take_back_returns_what_has_not_started(self, start: Callable[[int], PoolRun]) -> None:
        on = start(2)
        on.submit(*(Job(str(i), self.nap(0.2)) for i in range(10)))
        wait_until(lambda: len(on.pool.running()) == 2, "two to run")
        taken = [job.task_id for job in on.pool.take_back()]
        on.wait_for(2)
        assert sorted([*taken, *on.done]) == sorted(map(str, range(10)))
        assert len(on.done) == 2

    def test_a_task_that_raises_does_not_stop_the_pool(
        self, start: Callable[[int], PoolRun]
    ) -> None:
        on = start(2)
        on.submit(Job("bad", self.bad()), Job("good"))
        on.wait_for(2)
        on.submit(Job("later"))
        on.wait_for(3)
        assert sorted(on.done) == ["bad", "good", "later"]

    def test_interrupt_hits_the_one_that_is_meant(self, start: Callable[[int], PoolRun]) -> None:
        on = start(3)
        on.warm_up()
        jobs = [Job(str(i), self.nap(2)) for i in range(3)]
        on.submit(*jobs)
        wait_until(lambda: len(on.pool.running()) == 3, "three to run")
        assert on.pool.interrupt(jobs[1], TimeoutError)
        on.wait_for(1)
        assert on.done == ["1"]
        on.wait_for(3)
        assert [type(job.error) for job in jobs] == [type(None), TimeoutError, type(None)]
        assert not on.pool.interrupt(jobs[1], TimeoutError)
        assert not on.pool.interrupt(Job("nobody"), TimeoutError)

    def test_two_tasks_may_carry_one_id(self, start: Callable[[int], PoolRun]) -> None:
        on = start(2)
        on.warm_up()
        spared, hit = (Job("same", self.nap(2)) for _ in range(2))
        on.submit(spared, hit)
        wait_until(lambda: len(on.pool.running()) == 2, "both to run")
        assert not on.pool.interrupt(Job("same"), TimeoutError), "that one is not here"
        assert on.pool.interrupt(hit, TimeoutError)
        on.wait_for(2)
        assert (spared.error, type(hit.error)) == (None, TimeoutError)

    def test_interrupts_never_hit_another_task(self, start: Callable[[int], PoolRun]) -> None:
        on = start(2)
        jobs = [Job(str(i), self.nap(0.001)) for i in range(3 * self.interrupts)]
        on.submit(*jobs)
        aimed = set()
        while len(on.done) < len(jobs):
            on.nudge()
            for job in on.pool.running():
                if int(job.task_id) % 3 == 0:
                    on.pool.interrupt(job, TimeoutError)
                    aimed.add(job.task_id)
        hit = {job.task_id for job in jobs if job.error is not None}
        assert hit <= aimed
        assert len(on.done) == len(set(on.done)) == len(jobs)

    def test_resize(self, start: Callable[[int], PoolRun]) -> None:
        on = start(6)
        on.warm_up()
        on.submit(*(Job(str(i), self.nap(0.03)) for i in range(6)))
        wait_until(lambda: len(on.pool.running()) == 6, "six to run")
        on.wait_for(6)
        on.pool.resize(2)
        on.submit(*(Job(f"b{i}", self.nap(0.03)) for i in range(8)))
        most = 0
        while len(on.done) < 14:
            on.nudge()
            most = max(most, len(on.pool.running()))
            time.sleep(0.001)
        assert most == 2
