"""`fbcli.current()`: what a function learns of its own task, and asks for."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fbcli
from fbcli.address.address import Address
from fbcli.broker import Delivery
from fbcli.controls.timeout import Deadlines
from fbcli.engine.current import CurrentTask, RemoteTask, running
from fbcli.engine.lifecycle import begin
from fbcli.errors import TaskCancelled, UsageError
from fbcli.logs.records import Stamp
from fbcli.options.model import Options
from fbcli.settings import Settings, load
from fbcli.task import CANCELLED, Task


def a_task(task_id: str = "t1", attempt: int = 2, timeout: float | None = 60, **extra: Any) -> Task:
    plan = SimpleNamespace(
        queue="mymod.add",
        address="mymod:add",
        options=Options(retries=5, timeout=timeout),
        timeout=timeout,
    )
    return Task(
        Delivery(b"", 0, deliveries=3),
        task_id,
        {"x": 1},
        {"task_id": task_id, **extra},
        plan,
        attempt,
    )


@contextmanager
def as_running(task: Any) -> Iterator[None]:
    token = running.set(task)
    try:
        yield
    finally:
        running.reset(token)


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    made = Deadlines(lambda: (), lambda task, exception: True, lambda task: True)
    yield made
    made.close()


def test_outside_of_a_task() -> None:
    assert fbcli.current(None) is None
    assert fbcli.current("none") == "none"
    with pytest.raises(UsageError, match=r"No task runs here.*carry"):
        fbcli.current()


def test_what_it_tells() -> None:
    with as_running(a_task(publish_time=5.5, retries=1)):
        task = fbcli.current()
    assert (task.task_id, task.queue, task.address) == ("t1", "mymod.add", "mymod:add")
    assert (task.attempt, task.retries_left, task.deliveries) == (2, 4, 3)
    assert (task.arguments, task.extra["retries"], task.publish_time) == ({"x": 1}, 1, 5.5)
    assert task.options.retries == 5
    assert (task.deadline, task.seconds_left, task.cancelled) == (None, None, False)
    assert not task.extend(5), "it has no timeout to be extended"
    assert "t1" in repr(task)


@pytest.mark.parametrize("published", ["yesterday", None])
def test_a_publish_time_that_is_none(published: object) -> None:
    with as_running(a_task(publish_time=published)):
        assert fbcli.current().publish_time is None
    with as_running(a_task()):
        assert fbcli.current().publish_time is None


def test_its_deadline_can_be_moved(deadlines: Deadlines) -> None:
    task = a_task()
    begin(task)
    with as_running(task):
        current = fbcli.current()
        assert current.deadline is not None
        assert current.seconds_left is not None
        assert 50 < current.seconds_left <= 60
        assert current.extend(100)
        assert 150 < current.seconds_left <= 160
        with pytest.raises(UsageError, match="not later"):
            current.extend(0)
        with pytest.raises(UsageError, match="not later"):
            current.extend(float("nan"))
        assert not current.cancelled
        deadlines.interrupt_now(task, TaskCancelled)
        assert current.cancelled
        assert not current.extend(100)
        task.state = CANCELLED
        assert current.cancelled, "for a thread that outlives its task"


def test_a_task_without_a_timeout_can_be_cancelled(deadlines: Deadlines) -> None:
    task = a_task(timeout=None)
    with as_running(task):
        deadlines.interrupt_now(task, TaskCancelled)
        assert fbcli.current().cancelled
        assert fbcli.current().deadline is None
        assert not fbcli.current().extend(5)


def test_a_batch_is_its_first_message_with_all_arguments() -> None:
    first, second = a_task("a", attempt=0), a_task("b", attempt=0)
    batch = SimpleNamespace(
        task=first,
        tasks=[first, second],
        plan=first.plan,
        arguments={"rows": [{"x": 1}, {"x": 2}]},
        task_id="a",
    )
    with as_running(batch):
        assert (fbcli.current().task_id, fbcli.current().attempt) == ("a", 1)
        assert fbcli.current().arguments == {"rows": [{"x": 1}, {"x": 2}]}
        assert fbcli.current().deadline is None
        begin(first)
        assert fbcli.current().extend(5)


def test_in_a_child_process_it_is_made_of_what_the_parent_tells() -> None:
    asked: list[float] = []

    def ask(seconds: float) -> bool:
        asked.append(seconds)
        return seconds < 100

    told = RemoteTask(
        "t1",
        "q",
        Options(retries=1),
        "m:f",
        attempt=2,
        arguments={"x": 1},
        deadline=1000.0,
        deliveries=2,
        ask=ask,
    )
    with as_running(told):
        task = fbcli.current()
        assert (task.task_id, task.queue, task.address, task.attempt) == ("t1", "q", "m:f", 2)
        assert (task.retries_left, task.deliveries, task.arguments, task.extra) == (
            0,
            2,
            {"x": 1},
            {},
        )
        assert task.seconds_left == 0
        assert task.extend(50)
        assert task.deadline == 1050
        assert not task.extend(200)
        assert (task.deadline, asked) == (1050, [50, 200])
        told.cancelled = True
        assert task.cancelled
    assert not CurrentTask(RemoteTask("t", "q", Options())).extend(5)


def test_other_threads_do_not_know_the_task_unless_it_is_carried() -> None:
    with as_running(a_task()), ThreadPoolExecutor(1) as pool:
        assert pool.submit(fbcli.current, None).result() is None
        assert pool.submit(fbcli.current().carry(fbcli.current)).result().task_id == "t1"
        carried = fbcli.carry(lambda number: (fbcli.current().task_id, number))
    assert fbcli.current(None) is None
    assert [carried(number) for number in range(2)] == [("t1", 0), ("t1", 1)]


def test_what_is_carried_may_run_in_several_threads_at_once() -> None:
    """One context cannot be entered twice at once: each call has its own."""
    barrier = threading.Barrier(3)
    with as_running(a_task()):
        carried = fbcli.carry(lambda: (barrier.wait(10), fbcli.current().task_id)[1])
    with ThreadPoolExecutor(3) as pool:
        assert [each.result() for each in [pool.submit(carried) for _ in range(3)]] == ["t1"] * 3


def test_carry_keeps_name_and_result() -> None:
    def work(x: int) -> int:
        """Doc."""
        return x * 2

    assert (fbcli.carry(work)(4), fbcli.carry(work).__name__, fbcli.carry(work).__doc__) == (
        8,
        "work",
        "Doc.",
    )


def test_asyncio_threads_know_the_task_by_themselves() -> None:
    async def ask() -> str:
        return await asyncio.to_thread(lambda: fbcli.current().task_id)

    with as_running(a_task()):
        assert asyncio.run(ask()) == "t1"


def test_the_log_is_stamped_in_any_thread(caplog: pytest.LogCaptureFixture) -> None:
    with as_running(a_task()):
        log = fbcli.current().log
    with caplog.at_level(logging.INFO, "fbcli.task"):
        thread = threading.Thread(target=lambda: log.info("half of %d", 10, extra={"user": 7}))
        thread.start()
        thread.join()
    (record,) = caplog.records
    assert (record.name, record.getMessage(), record.__dict__["user"]) == (
        "fbcli.task",
        "half of 10",
        7,
    )
    assert (record.__dict__["task_id"], record.__dict__["queue"]) == ("t1", "mymod.add")


def test_log_records_are_stamped_in_a_child_process_too() -> None:
    record = logging.makeLogRecord({"msg": "x"})
    with as_running(RemoteTask("t1", "q", Options())):
        Stamp().filter(record)
    assert (record.__dict__["task_id"], record.__dict__["queue"]) == ("t1", "q")


# in a consumer


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    loaded = load(tmp_path, {}, broker="memory://")
    yield loaded
    loaded.close()


def consumed(settings: Settings, function: Any, **options: Any) -> Any:
    """Return what a function returns that a consumer calls."""
    booster = fbcli.Booster(
        function, address=Address("tests:work", "tests", "work"), settings=settings, **options
    )
    result = booster.publish({"x": 1}, result=True)
    consumer = booster.consume()
    try:
        return result.result(30)
    finally:
        consumer.stop(0)
        assert consumer.join(30)


def outlived() -> dict[str, Any]:
    """Outlive the first deadline, moved to later."""
    task = fbcli.current()
    first = task.deadline
    granted = task.extend(60)
    assert first is not None
    return {
        "granted": granted,
        "first": first,
        "queue": task.queue,
        "arguments": dict(task.arguments),
    }


@pytest.mark.parametrize("mode", ["threads", "asyncio"])
def test_a_call_that_asks_for_more_time_gets_it(settings: Settings, mode: str) -> None:
    def work(x: int) -> dict[str, Any]:
        told = outlived()
        while time.time() < told["first"] + 0.1:
            time.sleep(0.01)
        return told

    async def awork(x: int) -> dict[str, Any]:
        told = outlived()
        while time.time() < told["first"] + 0.1:
            await asyncio.sleep(0.01)
        return told

    told = consumed(
        settings, work if mode == "threads" else awork, mode=mode, timeout=0.3, retries=0
    )
    assert (told["granted"], told["queue"], told["arguments"]) == (True, "tests.work", {"x": 1})
    with pytest.raises(fbcli.TaskFailed, match="timeout"):
        consumed(settings, lambda x: time.sleep(5), mode="threads", timeout=0.2, retries=0)


def test_a_batch_may_ask_for_more_time_too(settings: Settings) -> None:
    def work(rows: list[dict[str, Any]]) -> dict[str, Any]:
        told: dict[str, Any] = outlived()["arguments"]
        return told

    assert consumed(settings, work, batch=5, batch_wait=0, timeout=20) == {"rows": [{"x": 1}]}


def test_attempts_are_counted(settings: Settings) -> None:
    def work(x: int) -> list[int]:
        task = fbcli.current()
        if task.attempt < 3:
            raise ValueError(task.attempt)
        return [task.attempt, task.retries_left, task.deliveries]

    assert consumed(settings, work, retries=4) == [3, 2, 1]
