"""So that a storm of failures stays readable, and cheap: of the lines about single tasks a second
sees only so many."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from fbcli.clock import SYSTEM, Clock

LINES_PER_SECOND = 20

Later = Callable[[float, Callable[[], None]], None]
"""Calls something so many seconds later, in any thread."""


class Budget(logging.Filter):
    """A filter of one logger. Of each level, `limit` records in a second pass; the rest is counted,
    and told in one line by the next record or, when none comes, when the second is over.

    It works before any handler, so it holds for files too: a rotating file that is flooded forgets
    everything else. A record with a queue and no task is about many tasks, and always passes. What
    a child process has left out (`more`) is added to what is left out here. Seconds begin when the
    monotonic clock says so, which is at the same time in all processes.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        limit: int = LINES_PER_SECOND,
        clock: Clock = SYSTEM,
        later: Later | None = None,
    ) -> None:
        super().__init__()
        self._logger = logger
        self._limit = limit
        self._clock = clock
        self._later = later or _in_a_thread
        self._lock = threading.RLock()
        self._second = 0
        self._passed: Counter[int] = Counter()
        self._left_out: Counter[int] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        fields = record.__dict__
        more = fields.get("more")
        if more is None and fields.get("queue") and not fields.get("task_id"):
            return True
        with self._lock:
            now = self._clock.monotonic()
            ended: Counter[int] = Counter()
            if int(now) != self._second:
                ended, self._second = self._take(), int(now)
                self._passed.clear()
            passes = type(more) is not int and self._passed[record.levelno] < self._limit
            if passes:
                self._passed[record.levelno] += 1
            else:
                first = not self._left_out
                self._left_out[record.levelno] += more if type(more) is int else 1
                if first:
                    with contextlib.suppress(
                        RuntimeError
                    ):  # the interpreter is ending: no more threads
                        self._later(1.0 - now % 1.0, self.flush)
        self._tell(ended)
        return passes

    def flush(self) -> None:
        """Tell now what was left out."""
        with self._lock:
            ended = self._take()
        self._tell(ended)

    def _take(self) -> Counter[int]:
        taken, self._left_out = self._left_out, Counter()
        return taken

    def _tell(self, left_out: Counter[int]) -> None:
        for level, count in sorted(left_out.items()):
            extra: dict[str, Any] = {"task_id": "", "queue": "", "more": count}
            text = f"… and {count:,} more in the last second"
            record = self._logger.makeRecord(
                self._logger.name, level, "", 0, text, (), None, extra=extra
            )
            self._logger.callHandlers(record)  # past this filter


def _in_a_thread(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
