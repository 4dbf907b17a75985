"""Retry: what follows a failed attempt."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fbcli.controls.base import Control
from fbcli.errors import DeadLetter, Requeue, Retry
from fbcli.task import FAILED, REQUEUED, RETRY
from fbcli.values import kinds
from fbcli.values.declaration import Declaration, option

HOLD_SLOT = 1.0
"""Seconds: a retry that waits longer goes back to the broker with a delay, so that it holds no
slot."""

OTHER_NAMES = {
    "EnvironmentError": "OSError",
    "IOError": "OSError",
    "WindowsError": "OSError",
    "select.error": "OSError",
    "socket.error": "OSError",
    "socket.timeout": "TimeoutError",
    "asyncio.TimeoutError": "TimeoutError",
    "concurrent.futures.TimeoutError": "TimeoutError",
    "Timeout": "TaskTimeout",
}
"""Names that an exception goes by in code and not by itself: those that Python keeps for old ones,
and the option `timeout`."""


RETRIES = kinds.whole()


class RetryControl(Control):
    """Its options; what comes of them is in each plan (`engine.plan`)."""

    retries: int = option(3, RETRIES, "Failure", "How often a failed call is tried again.")
    backoff: float = option(
        0.0,
        kinds.seconds(),
        "Failure",
        "Seconds before the first retry, doubled for each further one, with jitter; 0: at once.",
    )
    backoff_max: float = option(
        600.0,
        kinds.seconds(),
        "Failure",
        "Longest wait between retries (seconds); a larger backoff wins.",
    )
    retry_on: tuple[str, ...] | None = option(
        None,
        kinds.names(),
        "Failure",
        "Retry these exceptions (and their subclasses) only: ConnectionError,requests.Timeout;"
        " Timeout: a call that ran too long.",
    )


class RetryMessage(Declaration):
    """What a message may set for itself."""

    retries: int | None = option(None, RETRIES)


class Next(NamedTuple):
    """What follows: a `state` of `fbcli.task` and a wait in seconds. `here`: try again in this very
    slot."""

    state: int
    wait: float = 0.0
    here: bool = False


class RetryPolicy:
    """`retries` further attempts; before the n-th a wait of `backoff` · 2^(n-1), at most
    `backoff_max`, with jitter.

    The jitter takes the wait from the upper half of its range ("equal jitter"), so that tasks that
    failed together do not all come back together, and none comes back at once.

    `retry_on`: names of the exceptions that are worth another attempt, their subclasses included;
    None: all are. A call that ran longer than its `timeout` is a `TaskTimeout`. `Retry` is always
    honoured.
    """

    def __init__(
        self,
        retries: int,
        backoff: float,
        backoff_max: float,
        retry_on: Sequence[str] | None = None,
    ) -> None:
        self._retries = retries
        self._backoff = backoff
        self._backoff_max = max(backoff, backoff_max)
        self._names = (
            None
            if retry_on is None
            else frozenset(retry_on) | {OTHER_NAMES.get(name, name) for name in retry_on}
        )

    def after(self, error: BaseException, attempt: int) -> Next:
        """Judge the failure of the `attempt`-th attempt (from 1)."""
        if isinstance(error, Requeue):
            return Next(REQUEUED, max(0.0, error.after))
        if isinstance(error, DeadLetter) or attempt > self._retries or not self._worth(error):
            return Next(FAILED)
        wait = (
            error.after
            if isinstance(error, Retry) and error.after is not None
            else self.wait(attempt)
        )
        return Next(RETRY, max(0.0, wait), here=wait <= HOLD_SLOT)

    def wait(self, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th attempt."""
        if self._backoff <= 0:
            return 0.0
        whole: float = min(self._backoff_max, self._backoff * 2.0 ** min(attempt - 1, 60))
        return whole * (0.5 + random.random() / 2)

    def _worth(self, error: BaseException) -> bool:
        """Whether an error is one of those that are tried again."""
        names = self._names
        return (
            names is None
            or isinstance(error, Retry)
            or any(goes_by(full, names) for full in lineage_of(error))
        )


def lineage_of(error: BaseException) -> Sequence[str]:
    """Return the qualified names of an error's class and its bases; an error from another process
    carries them itself."""
    carried = getattr(error, "lineage", None)
    return (
        carried
        if isinstance(carried, tuple)
        else [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    )


def goes_by(full: str, names: Iterable[str]) -> bool:
    """Whether one of `names` means the class `full` ("requests.exceptions.Timeout"): by its own
    name ("Timeout"), the whole, or its own name after the beginning ("requests.Timeout": packages
    show their exceptions there) or the end ("exceptions.Timeout") of its place."""
    place, _, own = full.rpartition(".")
    for name in names:
        where, _, what = name.rpartition(".")
        if what == own and (
            not where or f"{place}.".startswith(f"{where}.") or f".{place}".endswith(f".{where}")
        ):
            return True
    return False
