"""Circuit breaker: when calls fail again and again, no work is taken for a while, and then one call
tries whether things are well again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from fbcli.controls.base import OPEN, Control, Gate, Opening, Place, Shut
from fbcli.task import FAILED, RETRY, SUCCEEDED, Task
from fbcli.values import kinds
from fbcli.values.declaration import option
from fbcli.values.durations import span
from fbcli.values.thresholds import Threshold

log = logging.getLogger("fbcli.consumer")

_TRIAL = Opening(1)


class BreakerControl(Control):
    """Its option."""

    breaker: Threshold | None = option(
        None,
        kinds.threshold(),
        "Rate",
        "Stop taking work after so many failures within a time, for that time: 5/60s.",
    )

    def gate(self, place: Place) -> Gate | None:
        return Breaker(self.breaker) if self.breaker else None


class Breaker(Gate):
    """`failures` attempts that failed within `seconds` open the circuit for as long. After that one
    task at a time is fetched, until there is an outcome: a success closes the circuit, a failure
    opens it anew.

    Only what the function was called for counts: not messages that could not be read, nor what was
    requeued, given back, dropped or cancelled, and not `DeadLetter`, which is the function's own
    verdict on a message.
    """

    name = "breaker"

    def __init__(self, threshold: Threshold) -> None:
        self._threshold = threshold
        self._failed: deque[float] = deque(maxlen=threshold.failures)
        """When the last attempts failed (monotonic seconds): so many as may not lie within the
        time."""
        self._until: float | None = None
        """Up to when the circuit is open (monotonic seconds), and on trial after; None: it is
        closed."""
        self._on_trial = False

    def fetchable(self, now: float) -> Opening:
        if self._until is None:
            return OPEN
        return Opening(0, self._until) if self.closed(now) else _TRIAL

    def closed(self, now: float) -> bool:
        if self._until is None:
            return False
        if now < self._until:
            return True
        if not self._on_trial:
            self._on_trial = True
            log.info("trying one call")
        return False

    def shut(self, now: float) -> Shut | None:
        until = self._until
        if until is None:
            return None
        next_step = f"tries a call in {span(until - now)}" if now < until else "trying one call"
        return Shut("tripped", f"too many calls failed; {next_step}")

    def learn(self, tasks: Sequence[Task], now: float) -> None:
        for task in tasks:
            state = task.state
            failures = task.retried + (state in (FAILED, RETRY) and failed_by_itself(task))
            if self._until is None:
                for _ in range(failures):
                    self._fail(now)
            elif self._on_trial:
                if state == SUCCEEDED:
                    self._close()
                elif failures:
                    self._open(now)

    def _fail(self, now: float) -> None:
        failed, (failures, seconds) = self._failed, self._threshold
        failed.append(now)
        if self._until is None and len(failed) == failures and now - failed[0] <= seconds:
            log.warning(
                "%d failed calls within %s: taking no work for as long", failures, span(seconds)
            )
            self._open(now)

    def _open(self, now: float) -> None:
        if self._on_trial:
            log.warning(
                "the call that was tried has failed: taking no work for %s",
                span(self._threshold.seconds),
            )
        self._until = now + self._threshold.seconds
        self._on_trial = False
        self._failed.clear()

    def _close(self) -> None:
        log.info("the call that was tried has succeeded: taking work as before")
        self._until = None
        self._on_trial = False


def failed_by_itself(task: Task) -> bool:
    """Whether the function's last attempt failed without wishing to."""
    return task.attempt > 0 and (task.failure is None or task.failure.error_type != "DeadLetter")
