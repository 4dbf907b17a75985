"""What a log record says, as text or plain data, whatever a caller put into it; and the task it
belongs to."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any

import msgspec

from fbcli.engine.current import running
from fbcli.errors import TaskCancelled, TaskTimeout
from fbcli.values.encoding import in_utf8, lenient_json, shown

_INTERRUPTS = (TaskTimeout, TaskCancelled)
"""Thrown into a call from outside, at any time: not the fault of what it is logging."""

_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_PICTURES = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421}
_STEERING = (*range(0x80, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))

ONE_LINE: dict[int, int] = _PICTURES | dict.fromkeys(_STEERING, 0xFFFD)
"""For `str.translate`: shows control characters, one for one, instead of obeying them. What others
wrote must neither steer a terminal nor look like a log line of its own."""

LINES = {code: shown for code, shown in ONE_LINE.items() if chr(code) not in "\n\t"}
"""The same for text of several lines."""


class Stamp(logging.Filter):
    """Notes in every record the id and queue of the task it was logged by; a record that says so
    itself keeps what it says.

    Note: this is for handlers. As a record factory it would make logging refuse every
    `extra={"task_id": …}`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        fields, task = record.__dict__, running.get()
        if task is None:
            fields.setdefault("task_id", "")
        elif fields.setdefault("task_id", task.task_id) == task.task_id:
            plan = task.plan
            fields.setdefault("queue", getattr(plan, "queue", None) or plan.options.queue or "")
        fields.setdefault("queue", "")
        return True


def stamped(record: logging.LogRecord) -> tuple[str, str]:
    """Return the task id and the queue of a record, each on one line; empty where there is none."""
    task_id, queue = record.__dict__.get("task_id"), record.__dict__.get("queue")
    return _word(task_id), _word(queue)


def _word(value: Any) -> str:
    return (
        ""
        if value is None
        else (value if type(value) is str else _shown(value)).translate(ONE_LINE)
    )


def message_of(record: logging.LogRecord) -> str:
    """Return its message; a log call whose arguments do not fit is shown with them, not lost."""
    try:
        return record.getMessage()
    except _INTERRUPTS:
        raise
    except Exception as error:  # noqa: BLE001  whatever the formatting of the user's values raises
        return (
            f"{_shown(record.msg)} % {_shown(record.args)} (cannot be formatted:"
            f" {type(error).__name__}: {error})"
        )


def _shown(value: Any) -> str:
    return shown(value, _INTERRUPTS)


def trace_of(record: logging.LogRecord) -> str:
    """Return its traceback and stack as text; empty where there is none."""
    if record.exc_info and not record.exc_text and record.exc_info[1] is not None:
        record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    return "\n".join(filter(None, (record.exc_text, record.stack_info)))


def lines_of(record: logging.LogRecord) -> list[str]:
    """Return message, traceback and stack as lines that are safe to show."""
    return [*safe_lines(plain_text(message_of(record)).rstrip("\n")), *trace_lines_of(record)]


def trace_lines_of(record: logging.LogRecord) -> list[str]:
    """Return traceback and stack as lines that are safe to show."""
    trace = trace_of(record)
    return safe_lines(plain_text(trace)) if trace else []


def safe_lines(text: str) -> list[str]:
    """Return the lines of a text, with control characters shown."""
    return text.replace("\r\n", "\n").translate(LINES).split("\n")


def plain_text(text: str) -> str:
    """Return text without colours, and fit for UTF-8."""
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    return in_utf8(text)


def plain_data(value: Any) -> Any:
    """Return a value as data that has a JSON form for certain; what has none becomes its `repr`."""
    if value is None or type(value) is bool:
        return value
    if type(value) is str:
        return in_utf8(value)
    return msgspec.json.decode(lenient_json(value, _INTERRUPTS))


_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "taskName",
    "task_id",
    "queue",
    "filed",
}


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller added by `extra`, as plain data."""
    return {
        plain_text(key): plain_data(value)
        for key, value in record.__dict__.items()
        if key not in _ORDINARY
    }
