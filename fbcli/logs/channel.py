"""Log records on their way from a child process to its parent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from fbcli.logs.careful import Careful
from fbcli.logs.records import message_of, plain_data, trace_of

_LEFT_BEHIND = frozenset({"msg", "args", "exc_info", "exc_text", "message", "asctime"})


class ChannelHandler(Careful):
    """Hands each record to `send` as a plain dict that has a JSON form; the message and the
    traceback in it are text."""

    def __init__(self, send: Callable[[dict[str, Any]], object]) -> None:
        super().__init__()
        self._send = send
        self.filed = False
        """Whether this process writes the log file by itself, so that the parent need not."""

    def emit(self, record: logging.LogRecord) -> None:
        said = {
            str(key): plain_data(value)
            for key, value in record.__dict__.items()
            if key not in _LEFT_BEHIND
        }
        said["msg"] = plain_data(message_of(record))
        said["exc_text"] = plain_data(trace_of(record))
        said["stack_info"] = None  # is in the text above
        said["filed"] = self.filed
        self._send(said)


def replay(said: Mapping[str, Any]) -> None:
    """Log in this process what a `ChannelHandler` has sent from another: with its own time,
    process, place, task and queue."""
    record = logging.makeLogRecord({**said, "args": (), "exc_info": None})
    logger = logging.getLogger(str(record.name))
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
