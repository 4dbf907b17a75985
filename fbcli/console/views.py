"""What `fb consume` shows of its board: the protocol of views, and those that need no terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

import msgspec

from fbcli.console.board import Board, Row
from fbcli.values.durations import span

log = logging.getLogger("fbcli.stats")

LINE_PERIOD = 10.0
JSON_PERIOD = 1.0
"""Seconds between two reports."""

UNKNOWN = "—"


class View(Protocol):
    """A context within which the board is shown. `refresh` may be called as often as one likes; it
    knows its own period."""

    def __enter__(self) -> View: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def refresh(self, board: Board) -> None:
        """Show how it stands."""

    def final(self, board: Board) -> None:
        """Show what it came to. The last call."""


class Period:
    """Says when it is time again, by the board's clock."""

    def __init__(self, seconds: float, *, at_once: bool) -> None:
        self._seconds = seconds
        self._next = 0.0 if at_once else seconds

    def over(self, now: float) -> bool:
        """Whether it is; then the next period begins."""
        if now < self._next:
            return False
        self._next = max(self._next + self._seconds, now + self._seconds / 2)
        return True


class LineView:
    """For logs: every ten seconds a line for each queue of which something has changed, and one at
    the end."""

    def __init__(self) -> None:
        self._period = Period(LINE_PERIOD, at_once=False)
        self._told: dict[str, str] = {}

    def __enter__(self) -> LineView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def refresh(self, board: Board) -> None:
        if not self._period.over(board.elapsed):
            return
        for row in board.rows():
            line = status_line(row)
            if self._told.get(row.queue) != line:
                self._told[row.queue] = line
                log.info("%s", line, extra={"stats": msgspec.to_builtins(row)})

    def final(self, board: Board) -> None:
        summary = board.summary()
        for row in summary.rows:
            log.info(
                "%s", final_line(row, summary.elapsed), extra={"stats": msgspec.to_builtins(row)}
            )


class JsonView:
    """For programs: every second an object for each queue, `{"event": "stats", "queue": …}`, and at
    the end one `{"event": "summary", "elapsed": …, "rows": […], "total": {…}}`. `write` takes one
    object."""

    def __init__(self, write: Callable[[dict[str, Any]], object]) -> None:
        self._write = write
        self._period = Period(JSON_PERIOD, at_once=True)

    def __enter__(self) -> JsonView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def refresh(self, board: Board) -> None:
        if self._period.over(board.elapsed):
            for row in board.rows():
                self._write({"event": "stats", **msgspec.to_builtins(row)})

    def final(self, board: Board) -> None:
        self._write({"event": "summary", **msgspec.to_builtins(board.summary())})


def status_line(row: Row) -> str:
    """Return `mymod.task: 12,345 done (1,234/s), 3 failed, 40 in flight, backlog 9,000, empty in 7
    s`."""
    parts = [f"{count(row.done)} done ({rate(row.rate_10s or 0)}/s)"]
    parts += _unless_none(
        row, failed="failed", retried="retried", dropped="dropped", cancelled="cancelled"
    )
    parts.append(f"{count(row.in_flight)} in flight")
    if row.backlog is not None:
        parts.append(f"backlog {count(row.backlog)}")
    parts += _unless_none(row, delayed="delayed")
    if row.empty_in:
        parts.append(f"empty in {duration(row.empty_in)}")
    if row.state != "running":
        parts.append(": ".join(filter(None, [row.state, row.trouble or row.note])))
    return f"{row.queue}: {', '.join(parts)}"


def final_line(row: Row, elapsed: float) -> str:
    """Return `mymod.task: 12,345 done in 2 min 5 s (98.8/s), 3 failed`."""
    parts = [f"{count(row.done)} done in {duration(elapsed)} ({rate(row.rate)}/s)"]
    parts += _unless_none(
        row, failed="failed", retried="retried", dropped="dropped", cancelled="cancelled"
    )
    parts += _unless_none(row, unfinished="given back unfinished")
    return f"{row.queue}: {', '.join(parts)}"


def _unless_none(row: Row, **names: str) -> list[str]:
    return [
        f"{count(getattr(row, field))} {name}"
        for field, name in names.items()
        if getattr(row, field)
    ]


def count(value: int | None) -> str:
    """Return `12,345`."""
    return UNKNOWN if value is None else f"{value:,}"


def rate(value: float | None) -> str:
    """Return a number a second, with as many digits as mean something: `1,234`, `98.8`, `5`,
    `0.02`."""
    if value is None:
        return UNKNOWN
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 0.95 else 2}f}".rstrip("0").rstrip(".")


def duration(seconds: float | None) -> str:
    """Return seconds as a person reads them."""
    return UNKNOWN if seconds is None else span(seconds)
