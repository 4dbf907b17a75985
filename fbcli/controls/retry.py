"""Retry: what follows a failed attempt."""

from __future__ import annotations

import random
from typing import NamedTuple

from fbcli.errors import DeadLetter, Requeue, Retry
from fbcli.task import FAILED, REQUEUED, RETRY

HOLD_SLOT = 1.0
"""Seconds: a retry that waits longer goes back to the broker with a delay, so that it holds no slot."""


class Next(NamedTuple):
    """What follows: a `state` of `fbcli.task` and a wait in seconds. `here`: try again in this very slot."""

    state: int
    wait: float = 0.0
    here: bool = False


class RetryPolicy:
    """`retries` further attempts; before the n-th a wait of `backoff` · 2^(n-1), at most `backoff_max`, with jitter.

    The jitter takes the wait from the upper half of its range ("equal jitter"), so that tasks that failed together do not all
    come back together, and none comes back at once.
    """

    def __init__(self, retries: int, backoff: float, backoff_max: float) -> None:
        self._retries = retries
        self._backoff = backoff
        self._backoff_max = max(backoff, backoff_max)

    def after(self, error: BaseException, attempt: int) -> Next:
        """Judge the failure of the `attempt`-th attempt (from 1)."""
        if isinstance(error, Requeue):
            return Next(REQUEUED, max(0.0, error.after))
        if isinstance(error, DeadLetter) or attempt > self._retries:
            return Next(FAILED)
        wait = error.after if isinstance(error, Retry) and error.after is not None else self.wait(attempt)
        return Next(RETRY, max(0.0, wait), here=wait <= HOLD_SLOT)

    def wait(self, attempt: int) -> float:
        """Seconds to wait after the `attempt`-th attempt."""
        if self._backoff <= 0:
            return 0.0
        whole: float = min(self._backoff_max, self._backoff * 2.0 ** min(attempt - 1, 60))
        return whole * (0.5 + random.random() / 2)
