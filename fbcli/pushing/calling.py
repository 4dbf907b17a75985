"""Calling a function for its value: through its queue (RPC), or here and now without any."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from fbcli.booster import Booster, task_id_of
from fbcli.errors import TaskFailed, TimedOut
from fbcli.message import decode, encode
from fbcli.queues.lookup import obstacles
from fbcli.results import AsyncResult

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_ASYNCIO = os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep


def call(
    booster: Booster[Any, Any], arguments: Mapping[str, Any], *, wait: float | None, **single: Any
) -> Any:
    """Push a call and return what it returned in whatever process ran it. `single`: as of
    `Booster.message`.

    Raises `TaskFailed` with the remote error, and `TimedOut` after `wait` seconds (None: never)
    that says what to check; the task goes on then.
    """
    # what cannot be waited for is not pushed: raises when there is no store
    booster.settings.open_store().pauses()
    message = booster.message(arguments, **{**single, "result": True})
    booster.queue.publish((message,))
    pending = AsyncResult(task_id_of(message), booster.settings.open_store)
    try:
        return pending.result(wait)
    except TimedOut:
        why = obstacles([booster.queue]) or [
            f"{booster.queue.name} has a consumer: it is busy, or the call takes longer."
        ]
        raise TimedOut(
            f"No result of task {pending.task_id} within {wait:g} s. {' '.join(why)}"
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
        name = type(error).__qualname__
        raise TaskFailed(
            f"{booster.address.text} failed: {name}: {error}"
            if str(error)
            else f"{booster.address.text} failed: {name}",
            error_type=name,
            error=str(error),
            traceback=_own_traceback(error),
        ) from error


def _awaited(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    import asyncio  # noqa: PLC0415  17 ms that a plain push does not spend

    async def run() -> Any:
        return await value

    value = function(*args, **kwargs)
    return asyncio.run(run()) if inspect.isawaitable(value) else value


def _own_traceback(error: Exception) -> str:
    """Return the traceback from the first frame that belongs neither to fbcli nor to the event
    loop."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith((_OWN, _ASYNCIO)):
        frames = frames.tb_next
    return "".join(
        traceback.format_exception(type(error), error, frames or error.__traceback__)
    ).rstrip()
