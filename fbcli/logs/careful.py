"""Handlers that never harm the code that logs."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from typing import Any, TextIO

from fbcli.errors import TaskTimeout

MOST_WAITING = 10
"""Records that are logged while one is being written (by an argument's `__str__`, by a signal)
wait; so many at most."""


class Careful(logging.Handler):
    """No error of logging reaches the caller; it is told on stderr, once a kind. What a timeout
    raises in a thread that happens to be in here passes: it is meant for the task.

    While a thread writes a record, others that it logs are kept until that is done, so nothing is
    entered twice.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._here = threading.local()
        self._told: set[str] = set()

    def handle(self, record: logging.LogRecord) -> bool:
        waiting: list[logging.LogRecord] | None = getattr(self._here, "waiting", None)
        if waiting is not None:
            if len(waiting) <= MOST_WAITING:
                waiting.append(record)
            return True
        waiting = self._here.waiting = [record]
        try:
            for following in waiting:
                self._attempt(following)
        finally:
            self._here.waiting = None
        return True

    def _attempt(self, record: logging.LogRecord) -> None:
        try:
            if self.filter(record):
                with (
                    self.lock or contextlib.nullcontext()
                ):  # `with`: nothing can be raised between taking the lock and `try`
                    self.emit(record)
        except TaskTimeout:
            raise
        except Exception:  # noqa: BLE001  a full disk, a closed stream, the end of the stack
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once a kind why a record is lost. Called while the error is being handled."""
        error = sys.exc_info()[1]
        if isinstance(error, TaskTimeout):
            raise error
        kind = type(error).__name__
        if kind not in self._told and sys.stderr is not None:
            self._told.add(kind)
            with contextlib.suppress(Exception):
                sys.stderr.write(
                    f"fb: a log record of {record.filename}:{record.lineno} is lost: {kind}:"
                    f" {error}\n"
                )
                sys.stderr.flush()


class LineHandler(Careful):
    """Writes records to a stream, each at once and in one piece."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        self._stream.write(self.format(record) + "\n")
        self._stream.flush()
