"""Calling a function for its value: through its queue (RPC), or here and now without any."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fbcli.booster import Booster, task_id_of
from fbcli.engine.failures import describe
from fbcli.errors import TaskFailed, TimedOut
from fbcli.message import decode, encode
from fbcli.monitoring.overview import obstacles
from fbcli.results import AsyncResult
from fbcli.values.durations import span


def call(
    booster: Booster[Any, Any], arguments: Mapping[str, Any], *, wait: float | None, **single: Any
) -> Any:
    """Push a call and return what it returned in whatever process ran it. `single`: as of
    `Booster.message`.

    Raises `TaskFailed` with the remote error, and `TimedOut` after `wait` seconds (None: never)
    that says what to check; the task goes on then.
    """
    # what cannot be waited for is not pushed: raises when there is no store
    booster.open_results().pauses()
    message = booster.queue.repeatable(booster.message(arguments, **{**single, "result": True}))
    booster.queue.publish((message,))
    pending = AsyncResult(task_id_of(message), booster.open_results)
    try:
        return pending.result(wait)
    except TimedOut:
        why = obstacles([booster.queue]) or [
            f"{booster.queue.name} has a consumer: it is busy, or the call takes longer."
        ]
        raise TimedOut(
            f"No result of task {pending.task_id} within {span(wait or 0, 3)}. {' '.join(why)}"
        ) from None


def run(booster: Booster[Any, Any], arguments: Mapping[str, Any]) -> Any:
    """Call the function in this process and return its value; `async def` is run, too.

    The arguments are taken through the wire format and back, so that the function gets what it
    would get from its queue. Raises `BadArguments`, `BadMessage`, and `TaskFailed` with the
    function's own error and the traceback of its own code.
    """
    signature = booster.signature
    sent, _ = decode(encode(signature.bind((), arguments), {}))
    args: list[Any] = []
    if booster.rows:
        kwargs: dict[str, Any] = {booster.rows: [sent]}
    else:
        args, kwargs = signature.positional(signature.convert(sent) if signature.converts else sent)
    try:
        return _awaited(booster.function, args, kwargs)
    except Exception as error:
        failure = describe(error)
        said = f": {failure.error}" if failure.error else ""
        raise TaskFailed(
            f"{booster.address.text} failed: {failure.error_type}{said}",
            error_type=failure.error_type,
            error=failure.error,
            traceback=failure.traceback,
        ) from error


def _awaited(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    import asyncio  # noqa: PLC0415  17 ms that a plain push does not spend

    async def run() -> Any:
        return await value

    value = function(*args, **kwargs)
    return asyncio.run(run()) if inspect.isawaitable(value) else value
