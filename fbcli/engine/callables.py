"""A function in the form that a pool calls: by keywords, and awaitable or not as the pool is."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

from fbcli.arguments.signature import Signature
from fbcli.pools.coroutines import in_threads


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        type(function).__call__
    )


def plain_call(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """Return what a thread calls; an `async def` is run to its end in an event loop of that
    thread."""
    return _by_keywords(_in_own_loop(function) if is_async(function) else function, signature)


def awaitable_call(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """Return what a coroutine awaits; a plain function goes to a thread of the loop."""
    return _by_keywords(function if is_async(function) else in_threads(function), signature)


def _by_keywords(function: Callable[..., Any], signature: Signature) -> Callable[..., Any]:
    """Return a callable by keywords, also for a function with positional-only parameters."""
    if signature.keywords_only:
        return function

    def call(**arguments: Any) -> Any:
        args, kwargs = signature.positional(arguments)
        return function(*args, **kwargs)

    return call


def _in_own_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a plain function that runs an `async def` to its end in an event loop of the calling
    thread."""
    local = threading.local()

    def call(*args: Any, **kwargs: Any) -> Any:
        if not hasattr(local, "loop"):
            local.loop = _ThreadLoop()
        return local.loop.run(function(*args, **kwargs))

    return call


class _ThreadLoop:
    """An event loop that is closed when its thread ends (and with it what the thread keeps)."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.run = self._loop.run_until_complete

    def __del__(self) -> None:
        self._loop.close()
