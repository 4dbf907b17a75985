"""Controls in every pool and on every broker: the same calls, the same outcomes."""

from __future__ import annotations

import itertools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fbcli.booster import Booster, find_booster
from fbcli.engine.consumer import Consumer
from fbcli.settings import Settings, load
from fbcli.stores.base import Result
from tests.servers import needs, wait_until

MODULE = """\
import asyncio
import os
import time

import fbcli


def note(path, what, n):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{what} {n} {time.time()}\\n".encode())
    os.close(descriptor)


def work(path, n, key=0, seconds=0.0):
    note(path, "begin", f"{n}:{key}")
    time.sleep(seconds)
    note(path, "end", f"{n}:{key}")
    return n * 2


async def awork(path, n, key=0, seconds=0.0):
    note(path, "begin", f"{n}:{key}")
    await asyncio.sleep(seconds)
    note(path, "end", f"{n}:{key}")
    return n * 2


def rows(rows):
    for row in rows:
        note(row["path"], "begin", f"{row['n']}:{len(rows)}")
    if any(row.get("bad") for row in rows):
        raise ValueError("bad")
    return [row["n"] * 2 for row in rows]


async def arows(rows):
    return rows_of(rows)


rows_of = rows


def about(path, n):
    task = fbcli.current()
    more = task.extend(60)
    task.log.info("here")
    said = [task.attempt, task.queue, task.deadline is not None, more, task.options.retries]
    return [*said, task.extra.get("task_id")]


async def aabout(path, n):
    await asyncio.sleep(0)
    return await asyncio.to_thread(about, path, n)


def moody(path, n):
    note(path, "begin", f"{n}:0")
    attempt = fbcli.current().attempt
    if attempt < 2:
        raise fbcli.Retry("again", after=0.01)
    if n == 2:
        raise fbcli.DeadLetter("no more")
    raise KeyError(n)


async def amoody(path, n):
    return moody(path, n)
"""

BROKERS = ("memory", "sqlite", "redis", "redis+list")
MODES = ("threads", "asyncio", "process", "gevent", "eventlet")
EVERYWHERE = [
    *itertools.product(("sqlite",), MODES),
    *itertools.product(("memory", "redis", "redis+list"), ("threads", "process")),
]
"""Every pool on one broker, every broker with two pools: what a pool does has nothing to do with
the broker."""


class Shop:
    """A project with the module, its functions in one mode on one broker."""

    def __init__(self, folder: Path, settings: Settings, mode: str) -> None:
        (folder / "jobs.py").write_text(MODULE)
        self.path = folder / "notes"
        self.settings = settings
        self.mode = mode

    def booster(self, function: str, **options: Any) -> Booster[Any, Any]:
        name = f"a{function}" if self.mode == "asyncio" else function
        flags = {"mode": self.mode, "heartbeat": 1.0, "results": True, **options}
        return find_booster(f"jobs.py:{name}", self.settings, flags)

    def noted(self, what: str) -> list[tuple[str, float]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [(n, float(at)) for word, n, at in map(str.split, lines) if word == what]

    def began(self) -> Counter[str]:
        return Counter(n for n, _ in self.noted("begin"))


@pytest.fixture(params=EVERYWHERE, ids=lambda param: "-".join(param))
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    broker, mode = request.param
    if mode in ("gevent", "eventlet"):
        needs(mode)
    url: str | None = {"memory": f"memory://{tmp_path.name}", "sqlite": None}.get(broker, "")
    if url == "":
        url = request.getfixturevalue("redis_url").replace("redis://", f"{broker}://")
    settings = load(tmp_path, {}, broker=url)
    path = sys.path.copy()
    yield Shop(tmp_path, settings, mode)
    settings.close()
    sys.path[:] = path
    sys.modules.pop("jobs", None)


def consumed(booster: Booster[Any, Any], done: Callable[[Consumer], bool]) -> Consumer:
    """Consume in a thread until `done`, and stop."""
    consumer = Consumer(booster.work())
    consumer.start()
    try:
        wait_until(
            lambda: done(consumer) or not consumer._thread.is_alive(), "the calls to be made", 30
        )  # type: ignore[union-attr]
        if consumer.failure is not None:
            raise consumer.failure
    finally:
        consumer.stop(5.0)
        assert consumer.join(20), [thread.name for thread in threading.enumerate()]
    return consumer


def result_of(booster: Booster[Any, Any], task_id: str) -> Result:
    result = booster.settings.open_store().result(task_id)
    assert result is not None
    return result


def test_dedupe_with_a_limit_for_each_key(shop: Shop) -> None:
    booster = shop.booster("work", dedupe=True, dedupe_key="n", max_per_key="key=1", concurrency=4)
    for n in [*range(6), *range(6)]:
        booster.publish({"path": str(shop.path), "n": n, "key": n % 2, "seconds": 0.05})
    consumer = consumed(booster, lambda consumer: consumer.tally.counts.done == 12)
    assert (consumer.tally.counts.succeeded, consumer.tally.counts.dropped) == (6, 6)
    assert shop.began() == {f"{n}:{n % 2}": 1 for n in range(6)}
    for key in ("0", "1"):
        mine = [(at, +1) for n, at in shop.noted("begin") if n.endswith(key)]
        mine += [(at, -1) for n, at in shop.noted("end") if n.endswith(key)]
        assert max(itertools.accumulate(step for _, step in sorted(mine))) == 1


def test_batches(shop: Shop) -> None:
    booster = shop.booster("rows", batch=4, batch_wait=0.2, retries=0)
    ids = [
        booster.publish(
            {"path": str(shop.path), "n": n, **({"bad": True} if n == 5 else {})}
        ).task_id
        for n in range(10)
    ]
    consumer = consumed(booster, lambda consumer: consumer.tally.counts.done == 10)
    assert (consumer.tally.counts.succeeded, consumer.tally.counts.failed) == (9, 1)
    assert [result_of(booster, task_id).value for n, task_id in enumerate(ids) if n != 5] == [
        n * 2 for n in range(10) if n != 5
    ]
    failed = result_of(booster, ids[5])
    assert (failed.state, failed.error_type, failed.attempts) == ("failed", "ValueError", 1)
    assert "raise ValueError" in failed.traceback


def test_a_timeout_interrupts_and_is_retried(shop: Shop) -> None:
    booster = shop.booster("work", timeout=1.5, retries=1)
    task_id = booster.publish({"path": str(shop.path), "n": 1, "seconds": 20.0}).task_id
    consumed(booster, lambda consumer: consumer.tally.counts.done == 1)
    result = result_of(booster, task_id)
    assert (result.state, result.error_type, result.attempts) == ("failed", "TaskTimeout", 2)
    # On a slow machine an attempt may be over before its child process has come to write it down.
    assert shop.began() <= Counter({"1:0": 2})


def test_cancel_while_it_runs_and_while_it_waits(shop: Shop) -> None:
    booster = shop.booster("work", concurrency=1)
    first, second = (
        booster.publish({"path": str(shop.path), "n": n, "seconds": 2.5}) for n in (1, 2)
    )

    def cancelled(consumer: Consumer) -> bool:
        if not asked and shop.noted("begin"):
            asked.extend((first.cancel(), second.cancel()))
        return consumer.tally.counts.done == 2

    asked: list[bool] = []
    consumer = consumed(booster, cancelled)
    assert consumer.tally.counts.cancelled == 2
    assert shop.noted("end") == []
    assert {result_of(booster, each.task_id).state for each in (first, second)} == {"cancelled"}
    assert shop.began() == {"1:0": 1}
    assert list(booster.settings.open_store().cancels()) == []


def test_the_current_task(shop: Shop) -> None:
    booster = shop.booster("about", timeout=30, retries=7)
    task_id = booster.publish({"path": str(shop.path), "n": 1}).task_id
    consumed(booster, lambda consumer: consumer.tally.counts.done == 1)
    assert result_of(booster, task_id).value == [1, booster.queue.name, True, True, 7, task_id]


def test_what_a_function_raises_decides(shop: Shop) -> None:
    booster = shop.booster("moody", retries=5, retry_on="OSError")
    refused, buried = (booster.publish({"path": str(shop.path), "n": n}).task_id for n in (1, 2))
    consumed(booster, lambda consumer: consumer.tally.counts.done == 2)
    assert shop.began() == {"1:0": 2, "2:0": 2}, "Retry is always honoured, KeyError is no OSError"
    results = [result_of(booster, task_id) for task_id in (refused, buried)]
    assert [(result.state, result.error_type) for result in results] == [
        ("failed", "KeyError"),
        ("failed", "DeadLetter"),
    ]


def test_a_shared_rate_and_a_window_that_is_open(shop: Shop) -> None:
    booster = shop.booster(
        "work", qps=50, qps_scope="cluster", window="00:00-12:00; 12:00-00:00", breaker="50/60s"
    )
    booster.push_many({"path": str(shop.path), "n": n} for n in range(40))
    consumed(booster, lambda consumer: consumer.tally.counts.done == 40)
    times = [at for _, at in shop.noted("begin")]
    assert max(times) - min(times) > 0.6, "forty at fifty a second take 0.8 s"
