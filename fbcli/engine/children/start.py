"""Pools whose calls run in child processes, for tasks: what is asked of a child, and what its
answers mean.

Modes `process` (a call at a time in each of several children), `gevent` and `eventlet` (many side
by side in one child).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from fbcli import errors
from fbcli.address.address import Address
from fbcli.controls.base import NEVER
from fbcli.controls.timeout import deadline_of
from fbcli.engine.batch import Batch, batch_life
from fbcli.engine.callables import is_async
from fbcli.engine.children.main import in_child
from fbcli.engine.children.wire import ChildOutput, ChildSetup, RaisedError, RemoteCall
from fbcli.engine.lifecycle import cut_off, life
from fbcli.engine.plan import Plan
from fbcli.errors import (
    BadSetting,
    DeadLetter,
    FbError,
    MissingLibrary,
    RemoteError,
    Requeue,
    Retry,
    TaskCancelled,
    TaskTimeout,
    UsageError,
)
from fbcli.options.model import Options
from fbcli.platform import system
from fbcli.pools.base import Done
from fbcli.pools.children.group import Start
from fbcli.pools.children.pool import ChildPool
from fbcli.pools.children.steps import Steps
from fbcli.pools.children.wire import Refusal
from fbcli.processes.command import python_command
from fbcli.task import Run
from fbcli.values.durations import span

CHILD_MODES = frozenset({"process", "gevent", "eventlet"})
"""The modes whose calls run in child processes."""

MOST_OPTIONS = 1000
"""How many plans' options are kept encoded."""

OnMessage = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class ChildSpec:
    """What the children of one pool need to know."""

    mode: str
    queue: str
    address: str
    function: Callable[..., Any]
    options: Options
    root: Path = field(default_factory=Path.cwd)
    """The folder that addresses of files are relative to."""
    folder: str = field(default_factory=os.getcwd)
    """Where the children work."""
    output: ChildOutput | None = None
    """Where what is logged and printed in children goes."""


def child_pool(
    spec: ChildSpec,
    size: int,
    done: Done[Run],
    *,
    on_failure: Callable[[FbError], None],
    on_message: OnMessage = lambda message: None,
) -> ChildPool[Run]:
    """Return the pool of a function.

    `on_failure` is called, from a thread of the pool, when no child can ever work; `on_message`
    with what children say by `output`. Raises `BadSetting` for a function that cannot be called
    that way, `MissingLibrary`.
    """
    refuse_unfit(spec)
    options = spec.options
    setting = ChildSetup(
        parent=os.getpid(),
        path=list(sys.path),
        argv=list(sys.argv),
        root=str(spec.root),
        addresses=[spec.address],
        max_memory=options.max_memory,
        output=spec.output,
    )
    shared = spec.mode != "process"
    start = Start(
        command=python_command("fbcli.engine.children.main:main", spec.mode, f"fb:{spec.queue}"),
        spec=setting,
        folder=spec.folder,
        shared=shared,
        tasks_per_child=None if shared else options.tasks_per_child,
    )

    def heard(message: dict[str, Any]) -> None:
        if "extend" in message:
            _extend(pool, *message["extend"])
        else:
            on_message(message)

    def refused(refusal: Refusal) -> None:
        on_failure(getattr(errors, refusal.kind, FbError)(refusal.text))

    pool: ChildPool[Run] = ChildPool(
        size,
        done,
        TaskTranslator(),
        start,
        on_refusal=refused,
        on_message=heard,
        name=f"fb-{spec.queue}",
    )
    return pool


def refuse_unfit(spec: ChildSpec) -> None:
    """Raise `BadSetting`, `MissingLibrary` or `Unsupported` when calls of this function cannot be
    made in child processes."""
    system.check_children()
    mode, address = spec.mode, spec.address
    if in_child():
        raise BadSetting(
            f"{address} is consumed where it is imported, by each process again: guard that by `if"
            ' __name__ == "__main__":`.'
        )
    if mode != "process":
        if importlib.util.find_spec(mode) is None:
            raise MissingLibrary(
                f"This needs the library {mode!r}, which is not installed: pip install"
                f" 'fbcli[{mode}]'"
            )
        if is_async(spec.function):
            raise BadSetting(
                f"{address} is an `async def`, which needs --mode asyncio, threads or process, not"
                f" {mode}."
            )
    try:
        parsed = Address.parse(address, spec.root)
    except UsageError as error:
        raise BadSetting(
            f"With mode {mode}, child processes import the function, and cannot: {error}"
        ) from None
    module = None if parsed.is_file else sys.modules.get(parsed.module)
    if module is not None and not _is_there(spec.function, module, parsed.name):
        raise BadSetting(
            f"With mode {mode}, child processes import the function, and cannot: {address} is not"
            f" where {spec.function!r} is found. Write it with `def` at the top level of a module."
        )


def _is_there(function: Callable[..., Any], module: Any, name: str) -> bool:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return (
        function in (found, getattr(found, "function", None))
        or getattr(found, "__wrapped__", None) is function
    )


def _extend(pool: ChildPool[Run], task_id: str, seconds: float) -> None:
    """Let a running task time out so many seconds later."""
    for task in pool.running():
        deadline = deadline_of(task)
        if task.task_id == task_id and deadline is not None:
            deadline.extend(seconds)


class TaskTranslator:
    """What a child pool is told of tasks and batches."""

    def __init__(self) -> None:
        self._options: dict[int, tuple[Plan, msgspec.Raw]] = {}
        self._encode = msgspec.json.Encoder().encode
        self._report = msgspec.json.Decoder(RaisedError).decode

    def steps(self, task: Run) -> Steps:
        return batch_life(task) if isinstance(task, Batch) else life(task.task)

    def guarded(self, task: Run) -> bool:
        return task.plan.timeout is not None

    def request(self, task: Run, *, begun: bool) -> bytes:
        plan: Plan = task.plan
        whole = isinstance(task, Batch) and task.whole and len(task.tasks) > 1
        carriers = task.tasks if whole else [task.task]
        deadline = deadline_of(task) if begun else None
        first = carriers[0]
        return self._encode(
            RemoteCall(
                address=plan.address,
                queue=plan.queue,
                task_id=task.task_id,
                attempt=first.attempt if begun and not whole else first.attempt + 1,
                deliveries=first.delivery.deliveries,
                deadline=None if deadline is None or deadline.due == NEVER else deadline.unix(),
                keeps=plan.keeps,
                options=self._options_of(plan),
                bodies=[msgspec.Raw(carrier.delivery.body) for carrier in carriers],
                rows=plan.rows,
            )
        )

    def _options_of(self, plan: Plan) -> msgspec.Raw:
        known = self._options.get(id(plan))
        if known is not None:
            return known[1]
        if len(self._options) >= MOST_OPTIONS:
            self._options.clear()
        text = plan.options.model_dump_json(exclude_defaults=True)
        self._options[id(plan)] = known = plan, msgspec.Raw(text.encode())
        return known[1]

    def value(self, task: Run, value: msgspec.Raw) -> Any:
        if isinstance(task, Batch) and bytes(memoryview(value)[:1]) == b"[":
            return msgspec.json.decode(value, type=list[msgspec.Raw])
        return value

    def error(self, task: Run, error: msgspec.Raw) -> BaseException:
        report = self._report(error)
        timeout = task.plan.options.timeout
        if (
            report.meant == "TaskTimeout" and not report.text and timeout is not None
        ):  # the child knows of no seconds
            report.text = f"ran longer than its timeout of {span(timeout, 3)}"
            report.traceback += f": {report.text}"
        remote = RemoteError(
            report.text,
            error_type=report.error_type,
            lineage=report.lineage,
            traceback=report.traceback,
        )
        meant = _meant(report)
        if meant is None:
            return remote
        meant.__cause__ = remote
        return meant

    def cut_off(self, task: Run, error: BaseException) -> None:
        if isinstance(task, Batch):
            task.cut_off(error)
        else:
            cut_off(task.task, error)

    def ran(self, task: Run, seconds: float) -> None:
        task.seconds = seconds
        for each in task.tasks:
            each.seconds = seconds / len(task.tasks)


def _meant(report: RaisedError) -> BaseException | None:
    """Return the error that the engine knows it by."""
    if report.meant == "Retry":
        return Retry(report.text, after=report.after)
    if report.meant == "Requeue":
        return Requeue(report.text, after=report.after or 0.0)
    kinds = {"DeadLetter": DeadLetter, "TaskTimeout": TaskTimeout, "TaskCancelled": TaskCancelled}
    return kinds[report.meant](*filter(None, [report.text])) if report.meant else None
