"""Results, and how tasks stand, as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fbcli.console.output import visible
from fbcli.results.status import TaskStatus
from fbcli.stores.base import Result
from fbcli.values.durations import span
from fbcli.values.encoding import json_text
from fbcli.values.moments import ago, local

COLUMNS = ("task_id", "queue", "state", "ended", "took", "attempts", "value")

LONGEST = 120
"""Characters of a value or error shown in a table; `fb show` and `--json` show all."""


def cells(result: Result, now: float) -> list[Any]:
    """Return a row of the table."""
    told = json_text(result.value) if result.state == "succeeded" else _error(result)
    return [
        result.task_id,
        result.queue,
        result.state,
        ago(result.finished, now) if result.finished else None,
        span(result.finished - result.started) if result.started else None,
        result.attempts,
        told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…",
    ]


def plain(result: Result) -> dict[str, Any]:
    """Return a result as `--json` prints it: all of its fields."""
    return {name: getattr(result, name) for name in result.__struct_fields__}


def status(each: TaskStatus, *, cancel_asked: bool) -> dict[str, Any]:
    """Return how a task stands as `--json` prints it."""
    found = {"task_id": each.task_id, "state": each.state, "cancel_asked": cancel_asked}
    if each.run is not None and each.result is None:
        found |= {"queue": each.run.queue, "worker": each.run.worker}
        if each.hold is not None:
            found["held"] = {name: getattr(each.hold, name) for name in ("by", "reason", "since")}
    return found if each.result is None else {**plain(each.result), **found}


def lines(each: TaskStatus, now: float, *, cancel_asked: bool) -> Iterator[str]:
    """Yield how a task stands in full, line by line, with control characters escaped."""
    facts: dict[str, Any] = {"task id": each.task_id, "state": each.state}
    result = each.result
    if result is not None:
        facts |= {"queue": result.queue, "worker": result.worker, "attempts": result.attempts}
        if result.started:
            facts["started"] = local(result.started)
        if result.finished:
            facts["ended"] = (
                f"{local(result.finished)} ({ago(result.finished, now)}, after {_took(result)})"
            )
        facts["value" if result.state == "succeeded" else "error"] = _told(result)
    elif each.run is not None:
        run = each.run
        facts |= {"queue": run.queue, "worker": run.worker, "address": run.address}
        if each.hold is not None:
            since = ago(each.hold.since, now)
            facts["held by"] = f"{each.hold.by}, since {since}: {each.hold.reason}"
    if cancel_asked:
        facts["cancel"] = "asked for"
    for name, value in facts.items():
        if value not in ("", None):
            yield f"{name:<8}  {visible(value)}"
    if result is not None and result.traceback:
        yield "traceback"
        yield from (f"  {visible(line.expandtabs())}" for line in result.traceback.splitlines())


def _told(result: Result) -> str:
    return json_text(result.value) if result.state == "succeeded" else _error(result)


def _error(result: Result) -> str:
    if result.state != "failed":
        return result.error
    return f"{result.error_type}: {result.error}" if result.error else result.error_type


def _took(result: Result) -> str:
    return span(result.finished - result.started)
