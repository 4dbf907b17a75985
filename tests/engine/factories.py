"""What tests of the engine's parts are made of: a clock that the test turns, messages, plans, and
tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fbcli.arguments.signature import Signature
from fbcli.broker import Delivery
from fbcli.controls.base import Admission
from fbcli.engine.plan import Plan
from fbcli.options.model import Options
from fbcli.task import Task


@dataclass
class Clock:
    """Both clocks in one."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def work(x: Any = None) -> Any:
    """The function of plans that need none of their own."""
    return x


def options(**given: Any) -> Options:
    return Options.make(given, source=lambda name: "the test")


def plan(
    function: Callable[..., Any] = work,
    *,
    rows: str = "",
    keeps: bool = False,
    admissions: Sequence[Admission] = (),
    **given: Any,
) -> Plan:
    """Return the plan of a function of the queue `q`; `given` are its options."""
    signature = Signature.of(function)
    called = signature.open if rows else signature
    return Plan(
        "q",
        "here:work",
        function,
        called,
        options(**given),
        rows=rows,
        keeps=keeps,
        admissions=admissions,
    )


def message(task_id: str, x: Any = None, **extra: Any) -> bytes:
    return msgspec.json.encode({"x": x, "extra": {"task_id": task_id, **extra}})


def deliveries(*task_ids: str, **extra: Any) -> list[Delivery]:
    """Return a message for each task; its argument `x` is the task's id."""
    return [Delivery(message(task_id, task_id, **extra), None) for task_id in task_ids]


def tasks(plan: Plan, *task_ids: str) -> list[Task]:
    return [
        Task(Delivery(message(task_id), None), task_id, {"x": task_id}, {}, plan)
        for task_id in task_ids
    ]


def ids(tasks: Sequence[Task]) -> list[str]:
    return [task.task_id for task in tasks]
