"""Consumers whose calls run in child processes: what becomes of tasks, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbcli.address.address import Address
from fbcli.booster import Booster
from fbcli.engine.children import start
from fbcli.engine.consumer import Consumer
from fbcli.errors import AddressNotFound, BadSetting, MissingLibrary
from fbcli.settings import Settings, load
from tests.contract import child_acts
from tests.servers import needs, wait_until

Make = Callable[..., Booster[Any, Any]]

every_mode = pytest.mark.parametrize("mode", ["process", "gevent", "eventlet"])


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    loaded = load(tmp_path, {}, broker="memory://")
    yield loaded
    loaded.open_broker().close()
    loaded.open_store().close()


@pytest.fixture
def make(settings: Settings) -> Make:
    def make(function: Callable[..., Any], mode: str, **options: Any) -> Booster[Any, Any]:
        if mode != "process":
            needs(mode)
        options.setdefault("concurrency", 2)
        return Booster(
            function, settings=settings, mode=mode, results=True, heartbeat=1.0, **options
        )

    return make


def drain(booster: Booster[Any, Any]) -> Consumer:
    """Consume until the queue is empty."""
    consumer = Consumer(booster.work(), burst=True)
    consumer.serve()
    assert consumer.failure is None
    return consumer


def dead_letter(booster: Booster[Any, Any]) -> dict[str, Any]:
    (body,) = booster.queue.broker.peek(booster.queue.dead.name, 100)
    letter: dict[str, Any] = json.loads(body)["extra"]["dead"]
    return letter


@every_mode
def test_results_come_back(make: Make, mode: str) -> None:
    booster = make(child_acts.echo, mode)
    pushed = {number: booster.push(number) for number in range(50)}
    assert drain(booster).tally.counts.succeeded == 50
    assert {number: result.result(timeout=5) for number, result in pushed.items()} == {
        number: number for number in range(50)
    }


@every_mode
def test_arguments_are_of_the_annotated_types_there(make: Make, mode: str) -> None:
    booster = make(child_acts.typed, mode)
    result = booster.publish({"when": "2024-02-03T04:05:06Z", "where": "/tmp", "names": ["b", "a"]})
    drain(booster)
    assert result.result(timeout=5) == ["datetime", "PosixPath", "set"]


@every_mode
def test_a_failure_is_told_as_if_it_had_happened_here(make: Make, mode: str) -> None:
    booster = make(child_acts.fail, mode, retries=2)
    booster.push("refused")
    counts = drain(booster).tally.counts
    assert (counts.failed, counts.retried) == (1, 2)
    letter = dead_letter(booster)
    assert (letter["reason"], letter["error_type"], letter["attempts"]) == (
        "refused",
        "ConnectionRefusedError",
        3,
    )
    assert "raise ConnectionRefusedError(text)" in letter["traceback"]


@every_mode
def test_an_error_without_words_is_told_too(make: Make, mode: str) -> None:
    booster = make(child_acts.fail_mutely, mode, retries=0)
    booster.push()
    assert drain(booster).tally.counts.failed == 1
    letter = dead_letter(booster)
    assert (letter["reason"], letter["error_type"]) == (
        "its text could not be made: KeyError",
        "Mute",
    )
    assert "raise Mute" in letter["traceback"]


def test_causes_come_along(make: Make) -> None:
    booster = make(child_acts.fail_with_cause, "process", retries=0)
    booster.push()
    drain(booster)
    trace = dead_letter(booster)["traceback"]
    assert trace.index("ValueError: invalid") < trace.index("direct cause") < trace.index("outer")


@pytest.mark.parametrize(("names", "attempts"), [(("ConnectionError",), 3), (("ValueError",), 1)])
def test_retry_on_knows_the_bases_of_remote_errors(
    make: Make, names: tuple[str, ...], attempts: int
) -> None:
    booster = make(child_acts.fail, "process", retries=2, retry_on=names)
    booster.push("refused")
    drain(booster)
    assert dead_letter(booster)["attempts"] == attempts


@every_mode
def test_what_a_function_asks_for_is_done(make: Make, mode: str) -> None:
    booster = make(child_acts.ask_for_retry, mode, retries=1)
    booster.push()
    assert drain(booster).tally.counts.retried == 1
    (delayed,) = booster.queue.delayed(10)
    assert 0.0 < delayed.due - time.time() < 7.5


@every_mode
def test_a_timeout_ends_the_call(make: Make, mode: str) -> None:
    booster = make(child_acts.nap, mode, timeout=0.3, retries=1)
    booster.push(60)
    counts = drain(booster).tally.counts
    assert (counts.failed, counts.retried) == (1, 1)
    letter = dead_letter(booster)
    assert (letter["reason"], letter["error_type"]) == (
        "ran longer than its timeout of 300 ms",
        "TaskTimeout",
    )


def test_a_timeout_ends_what_is_stuck_in_c(make: Make) -> None:
    booster = make(child_acts.stuck_in_regex, "process", timeout=0.3, retries=0)
    booster.push()
    drain(booster)
    assert dead_letter(booster)["error_type"] == "TaskTimeout"


def test_a_lost_child_is_a_failed_attempt(make: Make, tmp_path: Path) -> None:
    booster = make(child_acts.crash_once, "process", retries=1)
    result = booster.push(str(tmp_path / "crashed"))
    assert drain(booster).tally.counts.retried == 1
    assert result.result(timeout=5) == "second"


@every_mode
def test_the_deadline_can_be_moved(make: Make, mode: str) -> None:
    booster = make(child_acts.extend, mode, timeout=1.0, retries=0)
    result = booster.push(30.0, 1.5)
    assert drain(booster).tally.counts.succeeded == 1
    assert result.result(timeout=5) is True


@every_mode
def test_a_running_task_can_be_cancelled(make: Make, settings: Settings, mode: str) -> None:
    booster = make(child_acts.nap, mode)
    result = booster.push(60)
    consumer = Consumer(booster.work()).start()
    try:
        wait_until(lambda: len(consumer.running()) == 1, "it to run")
        result.cancel()
        wait_until(lambda: consumer.tally.counts.cancelled == 1, "it to be cancelled")
    finally:
        consumer.stop(0.0)
        assert consumer.join(10)


@every_mode
def test_batches(make: Make, mode: str) -> None:
    booster = make(child_acts.batch, mode, batch=10, retries=0)
    pushed = [booster.publish({"n": number}) for number in range(20)]
    pushed.append(booster.publish({"n": "bad"}))
    counts = drain(booster).tally.counts
    assert (counts.succeeded, counts.failed) == (20, 1)
    assert [result.result(timeout=5) for result in pushed[:20]] == [
        number * 2 for number in range(20)
    ]
    assert dead_letter(booster)["error_type"] == "TypeError"


@every_mode
@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_stopped_consumer_gives_back_what_runs(
    make: Make, mode: str, timeout: float | None
) -> None:
    booster = make(child_acts.nap, mode, timeout=timeout)
    booster.push_many({"seconds": 60} for _ in range(4))
    consumer = Consumer(booster.work()).start()
    wait_until(lambda: len(consumer.running()) == 2, "two to run")
    consumer.stop(0.0)
    assert consumer.join(10)
    assert consumer.failure is None
    assert booster.count() == 4


def test_current_tells_the_options(make: Make) -> None:
    booster = make(child_acts.current, "process", retries=7, max_per_key="extra=2", breaker="5/60s")
    result = booster.push()
    drain(booster)
    told = result.result(timeout=5)
    assert (told["task_id"], told["retries"], told["attempt"]) == (result.task_id, 7, 1)


# what is refused


@pytest.mark.parametrize("mode", ["gevent", "eventlet"])
def test_async_functions_need_another_mode(make: Make, mode: str) -> None:
    consumer = Consumer(make(child_acts.loop_id, mode).work(), burst=True)
    consumer.serve()
    assert isinstance(consumer.failure, BadSetting)
    assert "asyncio" in str(consumer.failure)


def test_a_library_that_is_missing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    booster = make(child_acts.nothing, "gevent")
    booster.push()
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: None)
    consumer = Consumer(booster.work(), burst=True)
    consumer.serve()
    assert isinstance(consumer.failure, MissingLibrary)
    assert "pip install 'fbcli[gevent]'" in str(consumer.failure)
    assert booster.count() == 1


def test_a_function_that_is_not_where_its_address_says(settings: Settings) -> None:
    def inner() -> None:
        pass

    address = Address("tests.contract.child_acts:nothing", "tests.contract.child_acts", "nothing")
    consumer = Consumer(
        Booster(inner, address=address, settings=settings, mode="process").work(), burst=True
    )
    consumer.serve()
    assert isinstance(consumer.failure, BadSetting)
    assert "top level" in str(consumer.failure)


def test_a_function_that_no_child_can_import(settings: Settings) -> None:
    address = Address("nowhere.at.all:task", "nowhere.at.all", "task")
    booster = Booster(
        child_acts.nothing, address=address, settings=settings, mode="process", heartbeat=1.0
    )
    booster.push()
    consumer = Consumer(booster.work())
    consumer.serve()
    assert isinstance(consumer.failure, AddressNotFound)
    assert booster.count() == 1, "its message went back"


SCRIPT = """
import os, sys
from fbcli import boost

@boost(mode={mode!r}, broker="memory://", retries=0, results=True, heartbeat=1.0)
def task(x: int) -> list:
    return [x, __name__, os.getpid()]

if __name__ == "__main__":
    result = task.push(1)
    consumer = task.consume()
    value, name, pid = result.result(timeout=20)
    assert value == 1 and pid != os.getpid(), value
    assert name != "__main__"
    consumer.stop(1.0)
    consumer.join()
    print("done")
elif {careless}:
    task.consume()
"""


@every_mode
def test_a_function_of_a_script(tmp_path: Path, mode: str) -> None:
    if mode != "process":
        needs(mode)
    (tmp_path / "script.py").write_text(SCRIPT.format(mode=mode, careless=False))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_a_user_s_modules_never_take_the_place_of_python_s(tmp_path: Path) -> None:
    for name in ("queue", "socket", "types", "selectors", "signal"):
        (tmp_path / f"{name}.py").write_text(
            "raise SystemExit('imported instead of what comes with Python')\n"
        )
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPT.format(mode="process", careless=False))
    done = subprocess.run(
        [sys.executable, "work/script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr
