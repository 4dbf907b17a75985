"""Options compiled for running: done once for a function, and once for each combination of
per-message options that occurs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fbcli.arguments.signature import Signature
from fbcli.controls.base import Admission
from fbcli.controls.retry import RetryPolicy
from fbcli.options.model import Options


class Plan:
    """What the hot path needs of a function and its options. Immutable."""

    __slots__ = (
        "address",
        "admissions",
        "closers",
        "function",
        "keeps",
        "options",
        "queue",
        "retry",
        "rows",
        "signature",
        "timeout",
    )

    def __init__(
        self,
        queue: str,
        address: str,
        function: Callable[..., Any],
        signature: Signature,
        options: Options,
        *,
        rows: str = "",
        keeps: bool = False,
        admissions: Sequence[Admission] = (),
    ) -> None:
        self.queue = queue
        self.address = address
        self.function = function
        """What is called (in a coroutine pool: what is awaited)."""
        self.signature = signature
        """What a message's arguments must fit."""
        self.rows = rows
        """With batches: the parameter that takes the list of messages."""
        self.options = options
        self.timeout = options.timeout
        """Seconds that an attempt may take; None: as long as it likes."""
        self.keeps = keeps
        """Whether the result is saved."""
        self.retry = RetryPolicy(
            options.retries, options.backoff, options.backoff_max, options.retry_on
        )
        self.admissions = tuple(admissions)
        self.closers = tuple(
            control for control in admissions if type(control).close is not Admission.close
        )
        """Those of them that have something to give back."""
