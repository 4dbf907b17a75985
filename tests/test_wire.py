"""Messages of every released format stay readable: each line of `tests/samples` is one, and is a
call of `task(x, y)`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from fbcli.address.address import Address
from fbcli.booster import Booster
from fbcli.broker import Outgoing
from fbcli.engine.consumer import Consumer
from fbcli.message import decode, replace_extra
from fbcli.settings import load

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.ndjson"))
LINES = [
    pytest.param(line, id=f"{file.stem}-{number}")
    for file in SAMPLES
    for number, line in enumerate(file.read_bytes().splitlines())
]


def test_there_are_samples() -> None:
    assert len(LINES) >= 6


@pytest.mark.parametrize("line", LINES)
def test_a_message_of_old_is_still_a_call(line: bytes, tmp_path: Path) -> None:
    seen: list[tuple[Any, Any]] = []

    def task(x: int, y: int) -> None:
        seen.append((x, y))

    booster = Booster(
        task,
        address=Address("old:task", "old", "task"),
        settings=load(tmp_path, {}, broker="memory://"),
    )
    fresh = replace_extra(line, {"publish_time": time.time(), "delay_until": None})
    booster.queue.broker.publish(booster.queue.name, [Outgoing(fresh)])
    consumer = Consumer(booster.work(), burst=True)
    consumer.serve()
    assert consumer.tally.counts.succeeded == 1
    assert seen == [(1, 2)]
    booster.settings.open_store().close()


def test_what_is_published_today_has_the_shape_of_the_samples(tmp_path: Path) -> None:
    booster = Booster(
        lambda x: x,
        address=Address("new:task", "new", "task"),
        settings=load(tmp_path, {}, broker="memory://"),
    )
    task_id = booster.publish(
        {"x": 1}, retries=0, timeout="5s", expires=60, delay=0, priority=9, result=True
    ).task_id
    (body,) = booster.queue.broker.peek("new.task", 1)
    arguments, extra = decode(body)
    assert arguments == {"x": 1}
    assert extra["task_id"] == task_id
    assert set(extra) == {
        "task_id",
        "publish_time",
        "retries",
        "timeout",
        "expires",
        "delay_until",
        "priority",
        "result",
    }
    known = {key for line in LINES for key in decode(line.values[0])[1]}  # type: ignore[arg-type]
    assert set(extra) <= known, "a new key needs a sample"
