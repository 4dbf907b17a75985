"""A consumer in this process, on real brokers: what becomes of each kind of message and of each way
to fail."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fbcli.address.address import Address
from fbcli.booster import Booster
from fbcli.broker import Outgoing
from fbcli.engine.consumer import Consumer
from fbcli.errors import (
    DeadLetter,
    Requeue,
    Retry,
    TaskCancelled,
    TaskFailed,
    TaskTimeout,
    Unavailable,
)
from fbcli.message import decode
from fbcli.settings import Settings, load
from fbcli.stores.base import Writes
from tests.servers import wait_until

Make = Callable[..., Booster[Any, Any]]


@pytest.fixture(params=["memory", "sqlite", "redis", "redis+list"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings of an empty project, for each embedded or local broker."""
    own = {"sqlite": None, "memory": "memory://"}
    broker = own[request.param] if request.param in own else request.getfixturevalue("redis_url")
    if request.param == "redis+list":
        broker = broker.replace("redis://", "redis+list://")
    loaded = load(tmp_path, {}, broker=broker)
    yield loaded
    loaded.open_broker().close()
    loaded.open_store().close()


@pytest.fixture
def make(settings: Settings) -> Make:
    def make(function: Callable[..., Any], **options: Any) -> Booster[Any, Any]:
        options.setdefault("heartbeat", 1.0)
        return Booster(
            function, address=Address("tests:work", "tests", "work"), settings=settings, **options
        )

    return make


def drain(booster: Booster[Any, Any], **how: Any) -> Consumer:
    """Consume until the queue is empty."""
    consumer = Consumer(booster.work(), burst=True, **how)
    consumer.serve()
    assert consumer.failure is None
    return consumer


def dead_letters(booster: Booster[Any, Any]) -> list[dict[str, Any]]:
    return [json.loads(body) for body in booster.queue.broker.peek(booster.queue.dead.name, 100)]


def raw(booster: Booster[Any, Any], *bodies: bytes) -> None:
    booster.queue.broker.publish(booster.queue.name, [Outgoing(body) for body in bodies])


@pytest.mark.parametrize("mode", ["threads", "solo", "asyncio"])
def test_every_message_runs_once_with_its_arguments(make: Make, mode: str) -> None:
    seen: list[tuple[int, int]] = []

    def work(x: int, y: int = 2) -> None:
        seen.append((x, y))

    booster = make(work, mode=mode)
    assert booster.push_many({"x": i} for i in range(1200)) == 1200
    booster.push(5000, y=1)
    consumer = drain(booster)
    assert sorted(seen) == [*((i, 2) for i in range(1200)), (5000, 1)]
    assert consumer.tally.counts.succeeded == 1201
    assert booster.count() == 0


def test_async_functions_run_as_coroutines(make: Make) -> None:
    loops = set()
    waiting: list[int] = []

    async def work(x: int) -> int:
        loops.add(asyncio.get_running_loop())
        waiting.append(x)
        while len(waiting) < 50:
            await asyncio.sleep(0.001)
        return x

    booster = make(work, concurrency=50)
    booster.push_many({"x": i} for i in range(50))
    assert drain(booster).tally.counts.succeeded == 50, "each waits for all the others"
    assert len(loops) == 1


def test_async_function_in_threads(make: Make) -> None:
    async def work(x: int) -> None:
        await asyncio.sleep(0)

    booster = make(work, mode="threads", concurrency=2)
    booster.push_many({"x": i} for i in range(20))
    assert drain(booster).tally.counts.succeeded == 20


def test_a_function_may_raise_what_fb_interrupts_with(make: Make) -> None:
    def work(x: int) -> None:
        raise TaskTimeout if x else TaskCancelled

    booster = make(work, retries=0)
    booster.push(0)
    booster.push(1)
    counts = drain(booster).tally.counts
    assert (counts.failed, counts.cancelled) == (1, 1)
    (letter,) = dead_letters(booster)
    assert letter["extra"]["dead"]["error_type"] == "TaskTimeout"


def test_retries_then_dead_letter_with_its_reason(make: Make) -> None:
    calls: list[int] = []

    def work(x: int) -> None:
        calls.append(x)
        raise ValueError(f"no {x}")

    booster = make(work, retries=2)
    task_id = booster.push(7).task_id
    counts = drain(booster).tally.counts
    assert calls == [7, 7, 7]
    assert (counts.failed, counts.retried) == (1, 2)
    (letter,) = dead_letters(booster)
    assert letter["x"] == 7
    assert letter["extra"]["task_id"] == task_id
    details = letter["extra"]["dead"]
    assert details["reason"] == "no 7"
    assert details["error_type"] == "ValueError"
    assert details["attempts"] == 3
    assert "raise ValueError" in details["traceback"]
    assert "fbcli/engine" not in details["traceback"], "only the user's own frames"


def test_a_retry_that_waits_goes_back_to_the_broker_and_remembers_its_attempts(make: Make) -> None:
    calls: list[float] = []

    def work() -> None:
        calls.append(time.monotonic())
        raise Retry(after=1.2)

    booster = make(work, retries=1)
    booster.push()
    consumer = booster.consume()
    wait_until(lambda: len(calls) == 1, "the first attempt")
    wait_until(lambda: booster.queue.size().delayed == 1, "it to wait outside of the consumer")
    wait_until(lambda: len(dead_letters(booster)) == 1, "the end")
    consumer.stop(1)
    assert consumer.join(10)
    assert calls[1] - calls[0] >= 1.19
    assert dead_letters(booster)[0]["extra"]["dead"]["attempts"] == 2


def test_requeue_and_dead_letter_by_the_function(make: Make) -> None:
    calls: list[str] = []

    def work(how: str) -> None:
        calls.append(how)
        if how == "dead":
            raise DeadLetter("not this one")
        if calls.count("again") == 1:
            raise Requeue(after=0)

    booster = make(work, retries=5)
    booster.push("again")
    booster.push("dead")
    counts = drain(booster).tally.counts
    assert sorted(calls) == ["again", "again", "dead"]
    assert (counts.succeeded, counts.failed, counts.requeued, counts.retried) == (1, 1, 1, 0)
    assert dead_letters(booster)[0]["extra"]["dead"]["reason"] == "not this one"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[1, 2]", "not an object"),
        (b"3", "not an object"),
        (b"{}", "'x'"),
        (b'{"x": 1, "z": 2}', "'z'"),
        (b'{"x": 1, "extra": 5}', "'extra' is not an object"),
        (b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested"),
        (b'{"x": "' + b"a" * 10_000_000 + b'"}', "limit"),
        (b'{"x": 1, "extra": {"timeout": "soon"}}', "options cannot be used"),
        (b'{"x": 1, "extra": {"retries": [1]}}', "options cannot be used"),
    ],
    ids=[
        "text",
        "bytes",
        "list",
        "number",
        "missing",
        "unknown",
        "extra",
        "deep",
        "huge",
        "timeout",
        "retries",
    ],
)
def test_bad_messages_are_buried_with_the_reason_and_the_consumer_goes_on(
    make: Make, body: bytes, reason: str
) -> None:
    seen: list[int] = []

    def work(x: int) -> None:
        seen.append(x)

    booster = make(work)
    booster.push(1)
    raw(booster, body)
    booster.push(2)
    counts = drain(booster).tally.counts
    assert sorted(seen) == [1, 2]
    assert (counts.succeeded, counts.failed) == (2, 1)
    (letter,) = dead_letters(booster)
    assert reason in letter["extra"]["dead"]["reason"]


def test_a_plain_message_of_any_language_is_a_call(make: Make) -> None:
    seen: list[int] = []

    def work(x: int) -> None:
        seen.append(x)

    booster = make(work)
    raw(
        booster,
        b'{"x": 1}',
        b'{ "x" : 2, "extra" : {} }',
        b'{"x": 3, "extra": {"task_id": 77, "attempts": "junk"}}',
    )
    assert drain(booster).tally.counts.succeeded == 3
    assert sorted(seen) == [1, 2, 3]


def test_options_of_a_single_message(make: Make) -> None:
    calls: list[str] = []

    def work(name: str) -> None:
        calls.append(name)
        raise ValueError(name)

    booster = make(work, retries=3)
    booster.publish({"name": "once"}, retries=0)
    booster.publish({"name": "twice"}, retries=1)
    booster.publish({"name": "old", "extra": {"publish_time": time.time() - 60}}, expires=30)
    counts = drain(booster).tally.counts
    assert sorted(calls) == ["once", "twice", "twice"]
    assert (counts.failed, counts.dropped) == (2, 1)


def test_a_delayed_message_waits_for_its_time(make: Make) -> None:
    started: list[float] = []

    def work() -> None:
        started.append(time.time())

    booster = make(work)
    due = time.time() + 0.7
    booster.publish({}, at=due)
    consumer = booster.consume()
    wait_until(lambda: bool(started), "it to start")
    consumer.stop(0)
    assert consumer.join(10)
    assert due - 0.05 <= started[0] < due + 1.0


def test_timeout_interrupts_python_code_and_gives_up_on_c(make: Make) -> None:
    release = threading.Event()
    ended: list[str] = []

    def work(kind: str) -> None:
        try:
            if kind == "python":
                while not release.is_set():
                    time.sleep(0.01)
            else:
                release.wait(20)
        finally:
            ended.append(kind)

    booster = make(work, retries=0, timeout=0.3, concurrency=2)
    booster.push("python")
    booster.push("c")
    counts = drain(booster).tally.counts
    assert counts.failed == 2
    assert ended == ["python"], "the other one hangs in C until it is let go"
    release.set()
    assert {letter["extra"]["dead"]["error_type"] for letter in dead_letters(booster)} == {
        "TaskTimeout"
    }
    assert all("300 ms" in letter["extra"]["dead"]["reason"] for letter in dead_letters(booster))


def test_timeout_cancels_a_coroutine(make: Make) -> None:
    async def work() -> None:
        await asyncio.sleep(60)

    booster = make(work, retries=1, timeout=0.2)
    booster.push()
    counts = drain(booster).tally.counts
    assert (counts.failed, counts.retried) == (1, 1)
    assert dead_letters(booster)[0]["extra"]["dead"]["error_type"] == "TaskTimeout"


def test_stop_drains_what_runs_and_gives_back_what_does_not(make: Make) -> None:
    begun, ended = threading.Semaphore(0), []
    gate = threading.Event()

    def work(x: int) -> None:
        begun.release()
        gate.wait(10)
        ended.append(x)

    booster = make(work, concurrency=2, prefetch=10)
    booster.push_many({"x": i} for i in range(10))
    consumer = booster.consume()
    for _ in range(2):
        assert begun.acquire(timeout=10)
    consumer.stop(drain=10)
    wait_until(lambda: booster.count() == 8, "what has not started to be back")
    gate.set()
    assert consumer.join(10)
    assert len(ended) == 2
    assert booster.count() == 8
    assert consumer.snapshot().unfinished == 0
    seen = [
        decode(body)[1].get("attempts")
        for body in booster.queue.broker.peek(booster.queue.name, 10)
    ]
    assert seen == [None] * 8, "giving back counts no attempt"


def test_stop_waits_for_nothing_when_nothing_runs(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held for its time goes back, and then there is nothing to wait for."""
    monkeypatch.setattr("fbcli.engine.intake.MAX_WAIT", 3600.0)
    begun = threading.Event()
    booster = make(lambda x: begun.set(), qps=10)
    booster.push_many({"x": i} for i in range(1000))
    consumer = booster.consume()
    assert begun.wait(10)
    wait_until(lambda: consumer.snapshot().in_flight > 0, "some to be held")
    consumer.stop(drain=3600)
    assert consumer.join(20)
    assert booster.count() == 1000 - consumer.tally.counts.done


def test_stop_gives_back_what_does_not_end_in_time(make: Make, settings: Settings) -> None:
    gate, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        gate.wait(20)

    booster = make(work)
    if not booster.queue.broker.capabilities.ack:
        pytest.skip("a broker that cannot hold a message cannot give it back")
    booster.push()
    consumer = booster.consume()
    assert begun.wait(10)
    consumer.stop(drain=0.2)
    assert consumer.join(10)
    assert booster.count() == 1
    assert consumer.snapshot().unfinished == 1
    gate.set()


def test_pause_and_resume(make: Make, settings: Settings) -> None:
    seen: list[int] = []

    def work(x: int) -> None:
        seen.append(x)

    booster = make(work)
    store = settings.open_store()
    store.pause("tests.work")
    consumer = booster.consume()
    wait_until(lambda: consumer.snapshot().state == "paused", "the consumer to know")
    booster.push_many({"x": i} for i in range(5))
    wait_until(lambda: booster.count() == 5, "all to wait in the broker")
    assert seen == []
    store.resume("tests.work")
    wait_until(lambda: len(seen) == 5, "all to run")
    consumer.stop(1)
    assert consumer.join(10)


def test_results_of_success_and_failure(make: Make) -> None:
    def work(x: int) -> Any:
        if x < 0:
            raise ValueError("negative")
        return {"twice": 2 * x, "odd": object} if x == 9 else 2 * x

    booster = make(work, results=True, retries=0)
    good, bad, odd = booster.push(4), booster.push(-1), booster.push(9)
    drain(booster)
    assert good.result(1) == 8
    with pytest.raises(TaskFailed, match="negative") as failed:
        bad.result(1)
    assert failed.value.error_type == "ValueError"
    assert "raise ValueError" in failed.value.traceback
    assert odd.result(1) == {"twice": 18, "odd": "<class 'object'>"}, (
        "what is no JSON becomes its repr"
    )


def test_no_result_unless_asked_for(make: Make) -> None:
    booster = make(lambda_work)
    plain, asked = booster.push(1), booster.publish({"x": 2}, result=True)
    drain(booster)
    assert asked.result(1) == 2
    assert plain.peek() is None


def lambda_work(x: int) -> int:
    return x


def test_nothing_is_acknowledged_before_its_result_is_recorded(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    booster = make(lambda_work, results=True)
    if not booster.queue.broker.capabilities.ack:
        pytest.skip("a broker that cannot hold a message cannot keep it")
    store = booster.settings.open_store()
    refusals: list[int | None] = []

    def refusing(verb: str) -> None:
        do = getattr(store, verb)

        def refuse(writes: Writes) -> Any:
            if len(refusals) < 3:
                refusals.append(booster.queue.size().in_flight)
                raise Unavailable("the store is away")
            return do(writes)

        monkeypatch.setattr(store, verb, refuse)

    refusing("write")
    refusing("prepared")
    pushed = booster.push(3)
    drain(booster)
    assert refusals == [1, 1, 1], "still held each time"
    assert pushed.result(1) == 3
    assert booster.queue.size().in_flight == 0


def test_a_timeout_beyond_what_the_broker_holds_is_warned_of(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for timeout, warnings in ((5.0, 1), (4.0, 0)):
        caplog.clear()
        booster = make(lambda_work, timeout=timeout)
        broker = booster.queue.broker
        can = msgspec.structs.replace(broker.capabilities, max_hold=4.0)
        monkeypatch.setattr(broker, "capabilities", can)
        with caplog.at_level("WARNING"):
            drain(booster)
        assert caplog.text.count("takes a message back after 4 s") == warnings


def test_max_tasks_is_exact(make: Make) -> None:
    booster = make(lambda_work)
    booster.push_many({"x": i} for i in range(100))
    consumer = Consumer(booster.work(), max_tasks=37)
    consumer.serve()
    assert consumer.tally.counts.succeeded == 37
    assert booster.count() == 63


def test_too_many_deliveries_are_buried(make: Make) -> None:
    booster = make(lambda_work, max_deliveries=2)
    if booster.queue.broker.capabilities.delivery_count == "none":
        pytest.skip("this broker does not count deliveries")
    booster.push(1)
    broker = booster.queue.broker
    for _ in range(2):
        inbox = broker.open("tests.work", consumer_id="dies", prefetch=1, lease=0.05)
        wait_until(lambda inbox=inbox: bool(inbox.fetch(1, 0.1)), "the message")
        other = broker.open("tests.work", consumer_id="other", prefetch=1, lease=60)
        wait_until(lambda other=other: other.keep_alive() == 1, "the lease to run out")
        other.close()
        inbox.close()
    counts = drain(booster).tally.counts
    assert (counts.succeeded, counts.failed) == (0, 1)
    assert "delivered 2 times" in dead_letters(booster)[0]["extra"]["dead"]["reason"]


def test_rate_is_paced_and_counts_starts_not_ends(make: Make) -> None:
    started: list[float] = []

    def work(x: int) -> None:
        started.append(time.monotonic())
        time.sleep(0.1)

    booster = make(work, qps=50, concurrency=20)
    booster.push_many({"x": i} for i in range(50))
    drain(booster)
    assert len(started) == 50
    gaps = [b - a for a, b in itertools.pairwise(started)]
    assert 0.016 < sum(gaps) / len(gaps) < 0.08, (
        "no faster; and each does not wait for the one before, which takes 0.1 s"
    )


def test_positional_only_and_converted_arguments(make: Make) -> None:
    seen: list[Any] = []

    def work(x: int, /, when: Path) -> None:
        seen.append((x, when))

    booster = make(work)
    booster.push(1, Path("/tmp/a"))
    assert drain(booster).tally.counts.succeeded == 1
    assert seen == [(1, Path("/tmp/a"))]
