"""Queues for tests, filled without any consumer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fbcli.broker import Outgoing
from fbcli.message import encode
from fbcli.queues.lookup import find_queue
from fbcli.queues.queue import Queue
from fbcli.settings import Settings, load


@contextmanager
def settings_in(folder: Path, broker: str | None = None, **env: str) -> Iterator[Settings]:
    """The settings of a folder; what was opened under them is closed."""
    settings = load(folder, {"HOME": str(folder / "home"), **env}, broker=broker)
    try:
        yield settings
    finally:
        settings.close()


@contextmanager
def queue_in(folder: Path, name: str = "mymod.add", broker: str | None = None) -> Iterator[Queue]:
    """A queue of a folder's settings."""
    with settings_in(folder, broker) as settings:
        yield find_queue(name, settings)


def message(
    task_id: str | None = None,
    *,
    delay: float | None = None,
    extra: dict[str, Any] | None = None,
    **arguments: Any,
) -> Outgoing:
    """A message as `fb push` makes it, with a task id of the test's own."""
    known = {
        "publish_time": round(time.time(), 3),
        **({"task_id": task_id} if task_id else {}),
        **(extra or {}),
    }
    return Outgoing(encode(arguments, known), 0, None if delay is None else time.time() + delay)


def letter(
    task_id: str, reason: str = "boom", *, extra: dict[str, Any] | None = None, **arguments: Any
) -> Outgoing:
    """A dead letter as a consumer leaves it."""
    details = {
        "reason": reason,
        "error_type": "ValueError",
        "traceback": f'  File "mymod.py", line 1, in add\nValueError: {reason}',
        "attempts": 4,
        "deliveries": 1,
        "queue": "mymod.add",
        "host": "here",
        "time": round(time.time(), 3),
    }
    return message(task_id, extra={"attempts": 4, "dead": details, **(extra or {})}, **arguments)
