"""Options compiled for running: done once for a function, and once for each combination of per-message options that occurs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from fbcli.arguments import Signature
from fbcli.controls.base import Admission, Around
from fbcli.controls.delay import Delay
from fbcli.controls.expiry import Expiry
from fbcli.controls.retry import RetryPolicy
from fbcli.controls.timeout import Deadlines, Timeout
from fbcli.options import Options
from fbcli.task import Task


class Plan:
    """What the hot path needs of a function and its options. Immutable."""

    __slots__ = ("admissions", "around", "function", "keeps", "options", "queue", "retry", "signature")

    def __init__(
        self,
        queue: str,
        function: Callable[..., Any],
        signature: Signature,
        options: Options,
        deadlines: Deadlines,
        *,
        keeps: bool,
        delayed: bool = False,
    ) -> None:
        self.queue = queue
        self.function = function
        """What is called (in a coroutine pool: what is awaited)."""
        self.signature = signature
        self.options = options
        self.keeps = keeps
        """Whether the result is saved."""
        self.retry = RetryPolicy(options.retries, options.backoff, options.backoff_max)
        admissions: list[Admission] = []
        if delayed:
            admissions.append(Delay())
        if options.expires is not None:
            admissions.append(Expiry(options.expires))
        self.admissions = tuple(admissions)
        arounds: list[Around] = []
        if options.timeout is not None:
            arounds.append(Timeout(options.timeout, deadlines))
        self.around = compose(arounds)
        """The onion of what is switched on; None: nothing is."""


def compose(arounds: list[Around]) -> Callable[[Task], AbstractContextManager[None]] | None:
    """Return one context manager factory that enters all of them, first item outermost."""
    if not arounds:
        return None
    if len(arounds) == 1:
        return arounds[0].around

    @contextmanager
    def onion(task: Task) -> Iterator[None]:
        with ExitStack() as stack:
            for layer in arounds:
                stack.enter_context(layer.around(task))
            yield

    return onion


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
