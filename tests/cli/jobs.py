"""A user's module whose functions write down what they do, what they have written so far, and its
queues seen from without."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from fbcli.broker import Outgoing, Size
from fbcli.stores.base import Result
from tests.cli.shell import Ran, Shell
from tests.messages import message, queue_in, settings_in

JOBS = '''\
"""A user's module: functions that write down what they do, so that a test can wait for it."""

import asyncio
import logging
import os
import threading
import time

from fbcli import boost

log = logging.getLogger(__name__)


def note(what, n):
    line = f"{what} {n} {os.getpid()} {threading.get_ident()} {time.time()}\\n"
    descriptor = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def work(n: int = 0, seconds: float = 0.0) -> int:
    note("begin", n)
    time.sleep(seconds)
    note("end", n)
    return n * 2


async def awork(n: int = 0, seconds: float = 0.0) -> int:
    note("begin", n)
    await asyncio.sleep(seconds)
    note("end", n)
    return n * 2


def hold(n: int = 0) -> None:
    """Runs until the test says so."""
    note("begin", n)
    while not os.path.exists("go"):
        time.sleep(0.01)
    note("end", n)


async def ahold(n: int = 0) -> None:
    note("begin", n)
    while not os.path.exists("go"):
        await asyncio.sleep(0.01)
    note("end", n)


def fails(n: int = 0) -> None:
    note("begin", n)
    raise ValueError(f"no {n}")


@boost(retries=1)
def boosted(n: int = 0) -> None:
    note("begin", n)
    raise ValueError(f"no {n}")


def odd(n: int) -> None:
    note("begin", n)
    if n % 2:
        raise ValueError(f"{n} is odd")


def talk(n: int = 0) -> None:
    print(f"printed {n}")
    log.info("logged %d", n)
    note("end", n)
'''


class Note(NamedTuple):
    """A line that a function wrote down."""

    what: str
    n: int
    pid: int
    thread: int
    at: float


def notes(fb: Shell, what: str = "") -> list[Note]:
    """Return what the functions have written down so far."""
    with contextlib.suppress(FileNotFoundError):
        lines = (fb.folder / "notes").read_text().splitlines()
        found = [
            Note(word, int(n), int(pid), int(thread), float(at))
            for word, n, pid, thread, at in map(str.split, lines)
        ]
        return [note for note in found if what in ("", note.what)]
    return []


def began(fb: Shell) -> list[int]:
    """Return the numbers of the calls that began, in order."""
    return [note.n for note in notes(fb, "begin")]


def side_by_side(fb: Shell) -> int:
    """Return how many calls ran at once, at most."""
    running = itertools.accumulate(
        1 if note.what == "begin" else -1 for note in sorted(notes(fb), key=lambda note: note.at)
    )
    return max(running)


def push(fb: Shell, function: str, numbers: range = range(1), **more: Any) -> None:
    """Publish calls of `jobs:function`, with the task ids "t0", "t1", …"""
    raw(fb, function, *(message(f"t{n}", n=n, **more) for n in numbers))


def raw(fb: Shell, function: str, *messages: Outgoing) -> None:
    """Publish messages as they are."""
    with queue_in(fb.folder, f"jobs.{function}", fb.env.get("FB_BROKER")) as queue:
        queue.publish(messages)


def size(fb: Shell, function: str) -> Size:
    """Return how much the queue of `jobs:function` holds."""
    with queue_in(fb.folder, f"jobs.{function}", fb.env.get("FB_BROKER")) as queue:
        return queue.known_size()


def bodies(fb: Shell, function: str, *, dead: bool = False) -> list[dict[str, Any]]:
    """Return the ready messages, or the dead letters."""
    with queue_in(fb.folder, f"jobs.{function}", fb.env.get("FB_BROKER")) as queue:
        return [
            json.loads(body)
            for body in queue.broker.peek(queue.dead.name if dead else queue.name, 100)
        ]


def result(fb: Shell, task_id: str) -> Result | None:
    """Return the saved result of a task."""
    with settings_in(fb.folder, fb.env.get("FB_BROKER")) as settings:
        return settings.open_store().result(task_id)


def together(fb: Shell, calls: Iterable[Sequence[str]]) -> list[Ran]:
    """Run several commands, some of them side by side, since most of their time is waiting."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda words: fb(*words), calls))


def set_up(fb: Shell, url: str | None = None) -> Shell:
    """Give the folder its module, and the broker to use (None: the default)."""
    fb.write("jobs.py", JOBS)
    if url:
        fb.env["FB_BROKER"] = url
    return fb
