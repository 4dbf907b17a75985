"""Which pool a function runs in, by its mode; and the pools that several functions of a process
share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from fbcli.engine.batch import arun_batch, run_batch
from fbcli.engine.children.start import CHILD_MODES, ChildSpec, child_pool, refuse_unfit
from fbcli.engine.children.wire import ChildOutput
from fbcli.engine.lifecycle import arun, run
from fbcli.engine.work import Work
from fbcli.errors import BadSetting, FbError
from fbcli.options.model import Options
from fbcli.pools.base import Done, Execute, Pool
from fbcli.pools.coroutines import AExecute, CoroutinePool
from fbcli.pools.shared import SharedPool
from fbcli.pools.threads import ThreadPool
from fbcli.task import Run

THREADS = 16
COROUTINES = 100
AUTO_START = 4
"""Calls at once from which a concurrency that finds its own level begins."""

NOUNS = {
    "asyncio": "coroutines",
    "gevent": "greenlets",
    "eventlet": "greenlets",
    "process": "child processes",
}

OnFailure = Callable[[FbError], None]


def slots_of(mode: str, options: Options) -> int:
    """Return how many calls run at once to begin with."""
    if mode == "solo":
        return 1
    if isinstance(options.concurrency, int):
        return options.concurrency
    if mode == "process":
        return os.cpu_count() or 1
    if options.concurrency == "auto":
        return AUTO_START
    return COROUTINES if mode in ("asyncio", "gevent", "eventlet") else THREADS


def described(mode: str, options: Options) -> str:
    """Return how calls run, for a person."""
    slots = slots_of(mode, options)
    if options.concurrency == "auto":
        return f"as many {NOUNS.get(mode, 'threads')} as prove useful"
    if mode == "process" and slots == 1:
        return "one child process"
    return "one call at a time" if slots == 1 else f"up to {slots} {NOUNS.get(mode, 'threads')}"


class Pools:
    """The pools of one process: each consumer has its own, but those that share have one for each
    mode.

    `output` and `on_message`: what becomes of what is logged and printed in child processes; by
    default it goes where they print. They work in the folder that is the current one when this is
    made: before functions are loaded, since their modules may change it.
    """

    def __init__(
        self,
        output: ChildOutput | None = None,
        on_message: Callable[[dict[str, Any]], None] = lambda message: None,
    ) -> None:
        self._output = output
        self._on_message = on_message
        self.folder = os.getcwd()
        self._shared: dict[str, SharedPool[Run]] = {}
        self._failures: list[OnFailure] = []

    def check(self, work: Work) -> None:
        """Raise `BadSetting` or `MissingLibrary` when the function cannot run as its options
        say."""
        if work.options.share_pool and work.options.batch is not None:
            raise BadSetting("A function that consumes in batches cannot share its pool.")
        if work.mode in CHILD_MODES:
            refuse_unfit(self._child_spec(work))

    def make(self, work: Work, size: int, done: Done[Run], on_failure: OnFailure) -> Pool[Run]:
        """Return the pool, or the share in one, of a consumer that passed `check`. `on_failure` is
        told when no call can ever be made in it."""
        if not work.options.share_pool:
            return self._own(work, f"fb-{work.queue}", size, done, on_failure)
        self._failures.append(on_failure)
        if work.mode not in self._shared:
            self._shared[work.mode] = SharedPool(
                lambda size, done: self._own(work, "fb-shared", size, done, self._fail_all),
                owner_of=_owner_of,
            )
        return self._shared[work.mode].share((work.queue, work.address), size, done)

    def _own(
        self, work: Work, name: str, size: int, done: Done[Run], on_failure: OnFailure
    ) -> Pool[Run]:
        mode, batches = work.mode, work.options.batch is not None
        if mode in CHILD_MODES:
            return child_pool(
                self._child_spec(work),
                size,
                done,
                on_failure=on_failure,
                on_message=self._on_message,
            )
        if mode == "asyncio":
            # what such a consumer submits is all batches, or all tasks
            awaited = cast("AExecute[Run]", arun_batch if batches else arun)
            return CoroutinePool(size, awaited, done, name=name)
        called = cast("Execute[Run]", run_batch if batches else run)
        return ThreadPool(size, called, done, name=name)

    def _child_spec(self, work: Work) -> ChildSpec:
        return ChildSpec(
            work.mode,
            work.queue,
            work.address,
            work.function,
            work.options,
            work.root,
            self.folder,
            self._output,
        )

    def _fail_all(self, error: FbError) -> None:
        for on_failure in self._failures:
            on_failure(error)


def _owner_of(task: Run) -> tuple[str, str]:
    """Return whose share a task belongs to: two functions may consume one queue."""
    return task.plan.queue, task.plan.address
