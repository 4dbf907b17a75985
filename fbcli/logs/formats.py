"""The two forms of a log line where there is no terminal: plain text, and JSON."""

from __future__ import annotations

import logging
from datetime import datetime, timezone
from typing import Any

import msgspec

from fbcli.logs.records import (
    ONE_LINE,
    extras,
    lines_of,
    message_of,
    plain_data,
    plain_text,
    stamped,
    trace_of,
)


def place(record: logging.LogRecord) -> str:
    """Return `file.py:12`; empty for what was logged by nobody's line."""
    return f"{str(record.filename).translate(ONE_LINE)}:{record.lineno}" if record.lineno else ""


def place_of_user(record: logging.LogRecord) -> str:
    """Return the place of a line that is not fbcli's own: ours mean nothing to a reader."""
    return "" if record.name.partition(".")[0] == "fbcli" else place(record)


class PlainFormatter(logging.Formatter):
    """`2026-11-21 03:12:00.123 INFO mymod.task 0198…: text (file.py:12)`, in local time.

    Named is the queue, or the logger where there is no task. Further lines are indented: only a
    record begins at the margin.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        task_id, queue = stamped(record)
        who = " ".join(filter(None, (queue or str(record.name).translate(ONE_LINE), task_id)))
        first, *rest = lines_of(record)
        where = place_of_user(record)
        head = f"{moment} {record.levelname} {who}: {first}" + (f" ({where})" if where else "")
        return "\n    ".join([plain_text(head), *rest])


class JsonFormatter(logging.Formatter):
    """One JSON object: time (ISO 8601, UTC), level, logger, message, task_id, queue, file, line,
    process, thread, exc (text), and what the caller added by `extra`. Keys without a value are left
    out; an added one that is taken gets a `_` behind it."""

    def format(self, record: logging.LogRecord) -> str:
        task_id, queue = stamped(record)
        moment = datetime.fromtimestamp(record.created, timezone.utc).isoformat(
            timespec="microseconds"
        )
        said: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": plain_text(message_of(record)),
            "task_id": task_id,
            "queue": queue,
            "file": record.pathname if record.lineno else None,
            "line": record.lineno or None,
            "process": record.process,
            "thread": record.threadName,
            "exc": trace_of(record),
        }
        line = {key: plain_data(value) for key, value in said.items() if value not in (None, "")}
        line.update(
            (f"{key}_" if key in said else key, value) for key, value in extras(record).items()
        )
        return msgspec.json.encode(line).decode()
