"""Results of tasks: one, many, awaited, called back; on every store."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fbcli
from fbcli.errors import TaskFailed, TimedOut, Unavailable, UsageError
from fbcli.results import AsyncResult, poller
from fbcli.results.cancelling import TTL, UNSTARTED, Outcome, cancel
from fbcli.results.poller import BATCH, Poller
from fbcli.results.status import statuses
from fbcli.stores import open_store
from fbcli.stores.base import ConsumerRecord, Result, Store
from tests.servers import wait_until

PATIENCE = 20.0


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return (
        f"sqlite:///{tmp_path}/store.db"
        if request.param == "sqlite"
        else request.getfixturevalue("redis_url")
    )


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = open_store(url)
    yield made
    made.close()


Pushed = Callable[[str], AsyncResult]


@pytest.fixture
def pushed(store: Store) -> Pushed:
    return lambda task_id: AsyncResult(task_id, lambda: store)


@pytest.fixture
def many(pushed: Pushed) -> list[AsyncResult]:
    return [pushed(f"t{number}") for number in range(4)]


def ended(task_id: str, value: Any = None, **fields: Any) -> Result:
    return Result(task_id, "mymod.add", fields.pop("state", "succeeded"), value, **fields)


def failed(task_id: str, **fields: Any) -> Result:
    return ended(
        task_id,
        state="failed",
        error_type="ValueError",
        error="bad",
        traceback='  File "m.py", line 1\nValueError: bad',
        **fields,
    )


def save(store: Store, *results: Result) -> None:
    store.save_results(results, 60)


class Later:
    """Saves results from another thread, each when the test says so or the one before it is known
    to have been taken."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads: list[threading.Thread] = []

    def __call__(self, seconds: float, *results: Result) -> None:
        timer = threading.Timer(seconds, save, (self._store, *results))
        timer.start()
        self._threads.append(timer)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def later(store: Store) -> Iterator[Later]:
    made = Later(store)
    yield made
    made.join()


def report(store: Store, *task_ids: str, worker: str = "w1", queue: str = "mymod.add") -> None:
    store.beat(
        [
            ConsumerRecord(
                worker, "here", 42, queue=queue, address="mymod:add", running=list(task_ids)
            )
        ],
        10,
    )


# one


def test_how_a_task_stands(store: Store, pushed: Pushed) -> None:
    task = pushed("t")
    assert (task.state, task.done(), task.peek()) == ("queued", False, None)
    report(store, "other", "t")
    assert (task.state, task.done()) == ("running", False)
    save(store, ended("t", 5))
    assert (task.state, task.done(), task.peek()) == ("succeeded", True, ended("t", 5))
    for state in ("failed", "dropped", "cancelled"):
        save(store, ended("t", state=state))
        assert task.state == state


def test_statuses_of_many_are_in_order_and_tell_where_they_run(store: Store) -> None:
    report(store, "b")
    save(store, ended("c", 5))
    first, second, third = statuses(store, ["a", "b", "c"])
    assert (first.state, first.known) == ("queued", False)
    assert second.run is not None
    assert (second.state, second.run.queue, second.run.pid) == ("running", "mymod.add", 42)
    assert third.result == ended("c", 5)


def test_one_that_ended_while_it_was_looked_at_is_not_taken_for_queued(store: Store) -> None:
    class Ending:
        """The task ends right after the first look at results, and has left the workers' reports by
        the next look."""

        looks = 0

        def results_of(self, task_ids: list[str]) -> Any:
            self.looks += 1
            if self.looks == 2:
                save(store, ended("t", 5))
            return store.results_of(task_ids)

        consumers = staticmethod(store.consumers)

    assert statuses(Ending(), ["t"])[0].state == "succeeded"  # type: ignore[arg-type]


def test_cancel_leaves_a_request_unless_it_has_ended(store: Store, pushed: Pushed) -> None:
    assert pushed("t").cancel()
    assert set(store.cancels()) == {"t"}
    save(store, ended("done"))
    assert not pushed("done").cancel()
    assert set(store.cancels()) == {"t"}


def test_a_result_is_returned_as_soon_as_it_is_there(pushed: Pushed, later: Later) -> None:
    later(0.05, ended("t", {"a": [1]}))
    assert pushed("t").result(PATIENCE) == {"a": [1]}
    with pytest.raises(TimedOut, match=r"No result of task none within 10 ms"):
        pushed("none").wait(0.01)


def test_a_failure_is_raised_with_all_that_is_known_of_it(store: Store, pushed: Pushed) -> None:
    save(store, failed("t", attempts=4, worker="host:7"))
    with pytest.raises(TaskFailed) as raised:
        pushed("t").result(PATIENCE)
    error = raised.value
    assert str(error) == "Task t of mymod.add failed after 4 attempts on host:7: ValueError: bad"
    assert (error.error_type, error.error, error.task_id, error.state) == (
        "ValueError",
        "bad",
        "t",
        "failed",
    )
    assert error.traceback.endswith("ValueError: bad")
    shown = "".join(traceback.format_exception(error))
    assert 'File "m.py", line 1' in shown, "Python shows where it was raised"
    again = copy.copy(error)  # as pickle makes it
    assert (str(again), again.error_type, again.traceback) == (
        str(error),
        "ValueError",
        error.traceback,
    )


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"state": "failed", "error_type": "KeyError"}, "failed: KeyError"),
        ({"state": "dropped", "error": "expired"}, "was dropped: expired."),
        ({"state": "cancelled", "error": UNSTARTED}, "was cancelled before it started."),
        ({"state": "cancelled"}, "was cancelled."),
    ],
)
def test_what_else_there_is_instead_of_a_value(
    store: Store, pushed: Pushed, fields: dict[str, Any], sentence: str
) -> None:
    save(store, ended("t", **fields))
    with pytest.raises(TaskFailed) as raised:
        pushed("t").result(PATIENCE)
    assert str(raised.value) == f"Task t of mymod.add {sentence}"
    assert raised.value.state == fields["state"]
    assert raised.value.__cause__ is None


# one, awaited


def test_every_method_has_a_twin_to_be_awaited(store: Store, pushed: Pushed) -> None:
    async def use() -> None:
        task = pushed("t")
        assert (await task.astate(), await task.adone(), await task.apeek()) == (
            "queued",
            False,
            None,
        )
        assert await task.acancel()
        save(store, ended("t", 5))
        assert (await task.astate(), await task.adone(), await task.apeek()) == (
            "succeeded",
            True,
            ended("t", 5),
        )
        assert await task == await task.aresult() == 5
        assert await task.awaited(PATIENCE) == ended("t", 5)
        with pytest.raises(TimedOut, match=r"No result of task none within 10 ms"):
            await pushed("none").aresult(0.01)
        save(store, failed("f"))
        with pytest.raises(TaskFailed, match="ValueError: bad"):
            await pushed("f")

    asyncio.run(use())


def test_however_many_coroutines_wait_they_take_no_thread_each(
    store: Store, pushed: Pushed, later: Later
) -> None:
    async def use() -> tuple[list[Any], int]:
        waiting = asyncio.gather(*(pushed(f"t{number}").aresult(PATIENCE) for number in range(300)))
        await asyncio.sleep(0)
        later(0.3, *(ended(f"t{number}", number) for number in range(300)))
        most = 0
        while not waiting.done():
            most = max(most, sum(thread.name == "fb-results" for thread in threading.enumerate()))
            await asyncio.sleep(0.01)
        return await waiting, most

    values, threads = asyncio.run(use())
    assert (values, threads) == (list(range(300)), 1)


# many


def test_wait_all_returns_them_in_order_however_they_ended(
    store: Store, many: list[AsyncResult], later: Later
) -> None:
    save(store, ended("t3", 3))
    later(0.02, ended("t0", 0))
    later(0.05, failed("t1"))
    later(0.08, ended("t2", 2))
    expected = [ended("t0", 0), failed("t1"), ended("t2", 2), ended("t3", 3)]
    assert fbcli.wait_all(iter(many), PATIENCE) == expected
    assert asyncio.run(fbcli.await_all(many, PATIENCE)) == expected
    assert fbcli.wait_all([]) == []
    assert asyncio.run(fbcli.await_all([])) == []
    assert fbcli.wait_all([many[0], many[0]], 0) == [ended("t0", 0)] * 2


def test_gather_returns_the_values(store: Store, many: list[AsyncResult], later: Later) -> None:
    later(0.02, *(ended(f"t{number}", number) for number in (3, 2, 1, 0)))
    assert fbcli.gather(many, PATIENCE) == [0, 1, 2, 3]
    assert asyncio.run(fbcli.agather(many, PATIENCE)) == [0, 1, 2, 3]
    assert fbcli.gather(many, 0) == [0, 1, 2, 3]
    assert asyncio.run(fbcli.agather(many, 0)) == [0, 1, 2, 3]


def test_gather_raises_the_first_failure_without_waiting_for_the_others(
    store: Store, many: list[AsyncResult]
) -> None:
    save(store, failed("t2"))
    with pytest.raises(TaskFailed, match="Task t2"):
        fbcli.gather(many, PATIENCE)
    with pytest.raises(TaskFailed, match="Task t2"):
        asyncio.run(fbcli.agather(many, PATIENCE))


def test_as_completed_yields_them_as_they_come(store: Store, many: list[AsyncResult]) -> None:
    save(store, ended("t1", finished=20.0), ended("t2", finished=10.0))
    coming = iter(fbcli.as_completed(many, PATIENCE))
    assert [next(coming).task_id, next(coming).task_id] == ["t2", "t1"], (
        "those that are there in the order of their end"
    )
    save(store, ended("t3"))
    assert next(coming).task_id == "t3"
    save(store, ended("t0"))
    assert next(coming).task_id == "t0"
    assert next(coming, None) is None


def test_as_completed_can_be_awaited(store: Store, many: list[AsyncResult], later: Later) -> None:
    async def use() -> list[str]:
        return [result.task_id async for result in fbcli.as_completed(many, PATIENCE)]

    save(store, ended("t3"))
    later(0.05, ended("t0"), ended("t1"), ended("t2"))
    assert asyncio.run(use())[0] == "t3"


def test_too_late(store: Store, many: list[AsyncResult]) -> None:
    save(store, ended("t1"))
    late = r"No result of 3 of 4 tasks within 50 ms"
    for call in (fbcli.wait_all, fbcli.gather, lambda *given: list(fbcli.as_completed(*given))):
        with pytest.raises(TimedOut, match=late):
            call(many, 0.05)  # type: ignore[operator]
    for acall in (fbcli.await_all, fbcli.agather):
        with pytest.raises(TimedOut, match=late):
            asyncio.run(acall(many, 0.05))
    with pytest.raises(TimedOut, match="No result of task t0 within 0 s"):
        fbcli.wait_all(many[:1], 0)


def test_tasks_of_several_stores_can_be_waited_for_together(
    store: Store, pushed: Pushed, tmp_path: Path
) -> None:
    other = open_store(f"sqlite:///{tmp_path}/other.db")
    try:
        save(store, ended("a", 1))
        save(other, ended("b", 2))
        assert fbcli.gather([pushed("a"), AsyncResult("b", lambda: other)], PATIENCE) == [1, 2]
    finally:
        other.close()


def test_a_store_that_cannot_be_reached(tmp_path: Path) -> None:
    store = open_store("redis://127.0.0.1:1/0")
    task = AsyncResult("t", lambda: store)
    try:
        for call in (fbcli.wait_all, fbcli.gather):
            with pytest.raises(Unavailable):
                call([task], PATIENCE)
        with pytest.raises(Unavailable):
            asyncio.run(fbcli.agather([task], PATIENCE))
    finally:
        store.close()


def test_a_store_that_goes_away_meanwhile(
    store: Store, many: list[AsyncResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = iter(fbcli.as_completed(many, PATIENCE))
    save(store, ended("t0"))
    next(coming)

    def fail(task_ids: object) -> Any:
        raise Unavailable("gone")

    monkeypatch.setattr(store, "results_of", fail)
    with pytest.raises(Unavailable, match="gone"):
        next(coming)


# how economically


class Counting:
    """Counts what is asked of a store."""

    def __init__(self, store: Store) -> None:
        self.asked: list[int] = []
        self._store = store

    def results_of(self, task_ids: list[str]) -> Any:
        self.asked.append(len(task_ids))
        return self._store.results_of(task_ids)


def test_many_are_asked_for_at_once(store: Store) -> None:
    counting = Counting(store)
    tasks = [AsyncResult(f"t{number}", lambda: counting) for number in range(BATCH + 500)]  # type: ignore[arg-type,return-value]
    save(store, *(ended(task.task_id) for task in tasks))
    assert len(fbcli.wait_all(tasks, PATIENCE)) == len(tasks)
    assert counting.asked == [BATCH, 500]


def test_what_takes_long_is_asked_for_less_and_less(store: Store, pushed: Pushed) -> None:
    counting = Counting(store)
    task = AsyncResult("t", lambda: counting)  # type: ignore[arg-type,return-value]
    with pytest.raises(TimedOut):
        fbcli.wait_all([task], 1.0)
    assert 5 <= len(counting.asked) <= 60, "0.005, 0.01 … 0.1 seconds apart"


def test_the_thread_ends_when_nothing_is_waited_for(
    store: Store, pushed: Pushed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "IDLE_SECONDS", 0.01)
    mine = Poller()
    monkeypatch.setattr("fbcli.results.waiters.poller", lambda: mine)
    for _ in range(2):
        with pytest.raises(TimedOut):
            fbcli.wait_all([pushed("t")], 0.05)
        assert mine._wanted == {}
        wait_until(lambda: mine._thread is None, "the thread to end")


def test_a_forked_process_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = poller.poller()
    assert poller.poller() is mine
    monkeypatch.setattr("os.getpid", lambda: -5)
    assert poller.poller() is not mine


# called back


def test_a_callback_gets_the_result_however_it_ended(
    store: Store, pushed: Pushed, later: Later
) -> None:
    got: list[Result] = []
    threads: set[str] = set()

    def note(result: Result) -> None:
        got.append(result)
        threads.add(threading.current_thread().name)

    save(store, ended("there", 1))
    assert pushed("there").then(note).task_id == "there"
    for number in range(20):
        pushed(f"t{number}").then(note)
    later(0.02, failed("t0"), *(ended(f"t{number}", number) for number in range(1, 20)))
    wait_until(lambda: len(got) == 21, "all callbacks")
    assert {result.task_id for result in got} == {"there", *(f"t{number}" for number in range(20))}
    assert len(threads) == 1


def test_a_callback_that_fails_is_logged_and_disturbs_no_other(
    store: Store, pushed: Pushed, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[str] = []

    def fail(result: Result) -> None:
        raise LookupError("oh")

    pushed("a").then(fail).then(lambda result: got.append(result.task_id))
    with caplog.at_level(logging.ERROR, "fbcli.results"):
        save(store, ended("a"))
        wait_until(lambda: got == ["a"], "the second callback")
    assert "the callback for the result of task a failed: LookupError('oh')" in caplog.text


def test_a_callback_may_wait_for_another_task(store: Store, pushed: Pushed, later: Later) -> None:
    got: list[Any] = []
    pushed("a").then(lambda result: got.append(fbcli.gather([pushed("b")], PATIENCE)))
    save(store, ended("a"))
    later(0.1, ended("b", 7))
    wait_until(lambda: got == [[7]], "the callback to have waited")


def test_a_callback_outlives_an_outage_of_the_store(
    store: Store, pushed: Pushed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[str] = []
    looks: list[object] = []

    def fail(task_ids: object) -> Any:
        looks.append(task_ids)
        raise Unavailable("gone.")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "fbcli.results"):
        patch.setattr(store, "results_of", fail)
        pushed("a").then(lambda result: got.append(result.task_id))
        wait_until(lambda: len(looks) >= 3, "some looks in vain")
    save(store, ended("a"))
    wait_until(lambda: got == ["a"], "the callback")
    assert caplog.text.count("waiting for a result: gone. Trying again until it works.") == 1


def test_a_coroutine_function_is_called_back_in_its_loop(
    store: Store, pushed: Pushed, caplog: pytest.LogCaptureFixture
) -> None:
    async def use() -> tuple[Result, bool]:
        loop, got = asyncio.get_running_loop(), asyncio.Queue[tuple[Result, bool]]()

        async def note(result: Result) -> None:
            await got.put((result, asyncio.get_running_loop() is loop))

        async def fail(result: Result) -> None:
            raise LookupError("oh")

        pushed("a").then(fail).then(note)
        save(store, ended("a", 1))
        return await asyncio.wait_for(got.get(), PATIENCE)

    with caplog.at_level(logging.ERROR, "fbcli.results"):
        assert asyncio.run(use()) == (ended("a", 1), True)
    assert "the callback for the result of task a failed: LookupError('oh')" in caplog.text

    async def note(result: Result) -> None: ...

    with pytest.raises(UsageError, match="event loop"):
        pushed("a").then(note)


# cancelling, and what becomes of it


class Turns:
    """A clock whose sleeper lets something happen at each turn."""

    def __init__(self, *turns: Callable[[], object]) -> None:
        self._turns = iter(turns)
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at

    now = monotonic

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        next(self._turns, lambda: None)()


def became(store: Store, *task_ids: str, turns: Turns | None = None) -> list[Outcome]:
    turns = turns or Turns()
    return cancel(store, task_ids, wait=3.0, clock=turns, sleep=turns.sleep)


def test_without_any_consumer_nothing_will_start(store: Store) -> None:
    turns = Turns()
    assert became(store, "b", "a", "b", turns=turns) == [
        Outcome("b", "will_not_start"),
        Outcome("a", "will_not_start"),
    ]
    assert set(store.cancels()) == {"a", "b"}
    assert turns.at == 0.0, "there is nobody to wait for"
    assert TTL > 29 * 86400


def test_what_has_ended_is_not_asked_for(store: Store) -> None:
    save(store, ended("a"), failed("b"))
    assert became(store, "a", "b") == [
        Outcome("a", "ended_before", "succeeded"),
        Outcome("b", "ended_before", "failed"),
    ]
    assert not store.cancels()


def test_without_waiting_nothing_is_known_yet(store: Store) -> None:
    report(store, "b")
    outcomes = cancel(store, ["a", "b"], wait=0)
    assert outcomes == [Outcome("a", "asked", "queued"), Outcome("b", "asked", "running")]


def test_a_running_task_is_interrupted(store: Store) -> None:
    report(store, "a")
    turns = Turns(
        lambda: save(store, ended("a", state="cancelled", error="cancelled while it ran"))
    )
    assert became(store, "a", turns=turns) == [Outcome("a", "interrupted", "cancelled")]
    assert turns.at < 1


def test_a_task_that_comes_up_meanwhile_is_dropped(store: Store) -> None:
    report(store)
    turns = Turns(lambda: save(store, ended("a", state="cancelled", error=UNSTARTED)))
    assert became(store, "a", turns=turns) == [Outcome("a", "will_not_start", "cancelled")]


def test_a_queued_task_will_not_start_once_all_consumers_have_heard_of_it(store: Store) -> None:
    beat_again = lambda: report(store)  # noqa: E731
    report(store)
    turns = Turns(lambda: None, beat_again, lambda: None, beat_again)
    assert became(store, "a", turns=turns) == [Outcome("a", "will_not_start")]
    assert turns.at == pytest.approx(0.4)


def test_a_task_that_starts_before_its_consumer_has_heard_of_it(store: Store) -> None:
    report(store)
    turns = Turns(
        lambda: report(store, "a"),
        lambda: save(store, ended("a", state="cancelled", error="cancelled while it ran")),
    )
    assert became(store, "a", turns=turns) == [Outcome("a", "interrupted", "cancelled")]


def test_one_that_does_not_react_is_still_running(store: Store) -> None:
    report(store, "a")
    turns = Turns()
    assert became(store, "a", turns=turns) == [Outcome("a", "still_running", "running")]
    assert turns.at >= 3


def test_one_that_ended_by_itself_meanwhile(store: Store) -> None:
    report(store, "a", "b")
    turns = Turns(lambda: report(store), lambda: save(store, ended("b")))
    assert became(store, "a", "b", turns=turns) == [
        Outcome("a", "ended_before", "ended"),
        Outcome("b", "ended_before", "succeeded"),
    ]
