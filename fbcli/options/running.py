"""Options of how calls run side by side, and of the consumer around them."""

from __future__ import annotations

from typing import Literal, get_args

from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option

Mode = Literal["auto", "threads", "asyncio", "gevent", "eventlet", "process", "solo"]

MOST_AT_ONCE = 100_000


class RunningOptions(Declaration):
    """The pool, its processes, and what they hold."""

    mode: Mode = option(
        "auto",
        kinds.choice(*get_args(Mode)),
        "Running",
        "How calls run side by side; auto: asyncio for 'async def', else threads.",
    )
    concurrency: int | Literal["auto"] | None = option(
        None,
        kinds.whole_or("auto", 1, MOST_AT_ONCE),
        "Running",
        "Most calls at once in a process; by default 16 threads, 100 coroutines, a child process"
        " for each core; auto: it finds its own level.",
    )
    share_pool: bool = option(
        False,
        kinds.switch(),
        "Running",
        "Share one pool of that many slots with the other functions of the process.",
    )
    processes: int = option(
        1,
        kinds.whole(1, 1000),
        "Running",
        "How many processes; each has its own concurrency, and rate unless --qps-scope cluster.",
    )
    prefetch: int | None = option(
        None,
        kinds.whole(1, MOST_AT_ONCE),
        "Running",
        "Most messages held at once; by default about half a second of work.",
    )
    drain: float = option(
        25.0,
        kinds.seconds(),
        "Running",
        "On a stop, how long running calls may take to finish (seconds).",
    )
    heartbeat: float = option(
        5.0,
        kinds.seconds(0.1),
        "Running",
        "Seconds between heartbeats; a dead consumer's tasks are back within three.",
    )
    max_memory: int | None = option(
        None,
        kinds.size(),
        "Running",
        "A process that holds more than this (500MB) drains and is replaced; with modes process,"
        " gevent and eventlet: the child.",
    )
    tasks_per_child: int | None = option(
        None,
        kinds.whole(1, 1_000_000_000),
        "Running",
        "With mode process: a child is replaced after so many calls.",
    )
    watchdog: float = option(
        60.0,
        kinds.seconds(),
        "Running",
        "Exit when nothing can be fetched for so long though the queue is not empty (seconds); 0:"
        " never.",
    )
    batch: int | None = option(
        None,
        kinds.whole(1, 10_000),
        "Running",
        "Call the function with a list of the arguments of up to so many messages.",
    )
    batch_wait: float = option(
        0.5, kinds.seconds(), "Running", "How long a batch waits to become full (seconds)."
    )
