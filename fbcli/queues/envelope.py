"""A message opened for a person: whatever the bytes are, it has a name, arguments and `extra`.
Knows the wire format only."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec

from fbcli.errors import BadMessage
from fbcli.message import decode, replace_extra

LARGEST = 1e15
"""No time or count of a message is larger."""


class Envelope:
    """One message. Opening it never fails: bytes that are no message are shown as the argument
    `raw`."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    @cached_property
    def fault(self) -> str:
        """Why the bytes are no message; empty when they are one."""
        try:
            decode(self.body)
        except BadMessage as error:
            return str(error)
        return ""

    @cached_property
    def _parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return decode(replace_extra(self.body, {}) if self.fault else self.body)

    @property
    def arguments(self) -> dict[str, Any]:
        """The function's arguments."""
        return self._parts[0]

    @property
    def extra(self) -> dict[str, Any]:
        """What travels beside the arguments."""
        return self._parts[1]

    @cached_property
    def task_id(self) -> str:
        """Its task id. A message of another language may have none: then a name made of its bytes,
        the same each time."""
        task_id = self.extra.get("task_id")
        if not task_id:
            import hashlib  # noqa: PLC0415  3 ms that few messages need

            return f"body-{hashlib.sha256(self.body).hexdigest()[:12]}"
        return str(task_id)

    @property
    def published(self) -> float | None:
        """Unix time of its publishing; None: it does not say."""
        return number(self.extra.get("publish_time"))

    @property
    def json(self) -> msgspec.Raw:
        """The whole message as JSON on one line, numbers as they were written."""
        return msgspec.Raw(
            msgspec.json.format(
                replace_extra(self.body, {}) if self.fault else self.body, indent=-1
            )
        )


def number(value: object) -> float | None:
    """Return a number of the wire as one; None for anything else that somebody wrote there."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        return None
    return float(value)
