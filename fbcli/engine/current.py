"""Which task runs here: in this thread or coroutine."""

from __future__ import annotations

from contextvars import ContextVar

from fbcli.task import Task

running: ContextVar[Task | None] = ContextVar("fbcli_task", default=None)
