"""Several functions in one pool: each sees its own tasks only, and the slots belong to whoever has
work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from fbcli.pools.base import Done, Pool
from fbcli.pools.shared import Share, SharedPool
from fbcli.pools.threads import ThreadPool
from tests.servers import wait_until


@dataclass
class Job:
    """A task of the share that it is named after: `a1` is one of `a`."""

    task_id: str
    act: Callable[[], Any] = lambda: None


@dataclass
class Hall:
    """A shared pool, and what has come out of it at each share."""

    pools: list[ThreadPool] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    ended: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hub = SharedPool(self.make, owner_of=lambda job: job.task_id[0])

    def make(self, size: int, done: Done) -> Pool:
        self.pools.append(ThreadPool(size, self.run, done))
        return self.pools[-1]

    def run(self, job: Job) -> None:
        self.begun.append(job.task_id)
        job.act()

    def share(self, owner: str, size: int) -> Share:
        ended = self.ended[owner] = []
        return self.hub.share(owner, size, lambda job, last: ended.append(job.task_id))


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    for pool in hall.pools:
        pool.close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What tasks wait for that shall last; open when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


def submit(share: Share, *jobs: Job) -> None:
    share.submit(jobs)
    share.nudge(False)


def test_each_gets_its_own_outcomes_and_all_start_in_the_order_in_which_they_came(
    hall: Hall,
) -> None:
    a, b = hall.share("a", 1), hall.share("b", 1)
    a.submit([Job("a1"), Job("a2")])
    b.submit([Job("b1")])
    a.submit([Job("a3")])
    b.nudge(False)
    wait_until(lambda: len(hall.ended["a"]) + len(hall.ended["b"]) == 4, "all to end")
    assert hall.begun == ["a1", "a2", "b1", "a3"]
    assert hall.ended == {"a": ["a1", "a2", "a3"], "b": ["b1"]}


def test_one_sees_the_slots_of_all_but_its_own_tasks(hall: Hall, gate: threading.Event) -> None:
    a, b = hall.share("a", 2), hall.share("b", 2)
    submit(a, Job("a1", gate.wait), Job("a2", gate.wait), Job("a3", gate.wait))
    wait_until(lambda: len(a.running()) == 2, "two to run")
    assert b.running() == []
    assert (b.busy(), b.pending()) == (2, 1), "so that nobody hands over what could not start"


def test_taking_back_takes_only_ones_own(hall: Hall, gate: threading.Event) -> None:
    a, b = hall.share("a", 1), hall.share("b", 1)
    submit(a, Job("a1", gate.wait))
    wait_until(lambda: bool(a.running()), "it to run")
    b.submit([Job("b1"), Job("b2")])
    a.submit([Job("a2")])
    b.submit([Job("b3")])
    assert [job.task_id for job in a.take_back()] == ["a2"]
    gate.set()
    wait_until(lambda: len(hall.ended["b"]) == 3, "the other's to end")
    assert hall.begun == ["a1", "b1", "b2", "b3"]
    assert hall.ended["a"] == ["a1"]


def test_closing_one_leaves_the_other(hall: Hall) -> None:
    a, b = hall.share("a", 2), hall.share("b", 2)
    a.close()
    a.close()
    submit(b, Job("b1"), Job("b2"))
    wait_until(lambda: len(hall.ended["b"]) == 2, "the other's to end")


def test_what_still_runs_for_one_that_has_ended_costs_the_other_no_slot(
    hall: Hall, gate: threading.Event
) -> None:
    a, b = hall.share("a", 1), hall.share("b", 1)
    submit(a, Job("a1", gate.wait))
    wait_until(lambda: bool(a.running()), "it to run")
    a.close()
    submit(b, Job("b1"))
    gate.set()
    wait_until(lambda: hall.ended["b"] == ["b1"], "the other's to end")
    assert hall.ended["a"] == [], "nobody waits for it any more"


def test_the_pool_ends_with_the_last_and_another_begins_with_the_next(hall: Hall) -> None:
    """A function that finds its queue empty may end before another one of the process has begun."""
    a = hall.share("a", 1)
    submit(a, Job("a1"))
    wait_until(lambda: hall.ended["a"] == ["a1"], "it to end")
    a.close()
    b = hall.share("b", 1)
    submit(b, Job("b1"))
    wait_until(lambda: hall.ended["b"] == ["b1"], "the next one's to run")
    assert len(hall.pools) == 2


def test_there_are_as_many_slots_as_the_one_wants_that_wants_the_most(hall: Hall) -> None:
    a, b = hall.share("a", 2), hall.share("b", 5)
    assert (a.size, b.size) == (5, 5)
    b.resize(3)
    assert a.size == 3
    a.resize(8)
    b.resize(1)
    assert (a.size, b.size) == (8, 8)
    a.close()
    assert b.size == 1


def test_an_interrupt_finds_its_task(hall: Hall) -> None:
    def forever() -> None:
        while True:
            threading.Event().wait(0.001)

    hit: list[str] = []

    def run(job: Job) -> None:
        try:
            job.act()
        except TimeoutError:
            hit.append(job.task_id)

    hall.run = run  # type: ignore[method-assign]
    a, b = hall.share("a", 2), hall.share("b", 2)
    job = Job("a1", forever)
    submit(a, job)
    wait_until(lambda: bool(a.running()), "it to run")
    assert not b.interrupt(Job("b1"), TimeoutError)
    assert a.interrupt(job, TimeoutError)
    wait_until(lambda: hall.ended["a"] == ["a1"], "it to end")
    assert hit == ["a1"]
