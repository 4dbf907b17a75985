"""The live table of `fb consume`, on a terminal: a row for each queue, below what is logged and printed. Imports rich."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, TextIO

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from fbcli.connection import mask
from fbcli.console.board import Board, Row
from fbcli.console.footer import Above, FooterConsole
from fbcli.console.output import visible
from fbcli.console.views import Period, count, duration, rate

REFRESH = 0.25
"""Seconds between two drawings."""

GAP = 2
LEAST_NAME = 12
"""Columns that a queue's name keeps on the narrowest terminal."""

HINT = "Ctrl-C stops: finishes what runs, again: now"
DRAINING = "stopping: finishing what runs · Ctrl-C again: now"

STATE_STYLES = {
    "running": "green",
    "starting": "dim",
    "paused": "yellow",
    "draining": "yellow",
    "trouble": "bold red",
    "stopped": "dim",
}


class Column(NamedTuple):
    """One column of a table. `rank`: those with the highest go first where there is no room."""

    rank: int
    group: str
    heading: str
    cell: Callable[[Row], str]
    style: Callable[[Row], str] = lambda row: ""
    left: bool = False
    wanted: Callable[[Row], object] = lambda row: True
    """Whether a row has anything to show here; a column that no row wants is left out."""


def milliseconds(value: float | None) -> str:
    """Return milliseconds as a duration."""
    return duration(None if value is None else value / 1000)


def empty_in(row: Row) -> str:
    """Return the time until a queue is empty; nothing where it is."""
    return "" if row.backlog == 0 else duration(row.empty_in)


NAME = Column(0, "", "queue", lambda row: row.queue or "all", lambda row: "" if row.queue else "bold", left=True)
FAILED = Column(2, "", "failed", lambda row: count(row.failed), lambda row: "red" if row.failed else "dim")
RETRIED = Column(9, "", "retried", lambda row: count(row.retried), lambda row: "yellow" if row.retried else "dim")
DROPPED = Column(12, "", "dropped", lambda row: count(row.dropped), lambda row: "yellow", wanted=lambda row: row.dropped)
MEAN = Column(8, "duration", "mean", lambda row: milliseconds(row.mean_ms))
P95 = Column(10, "duration", "p95", lambda row: milliseconds(row.p95_ms))

COLUMNS = (
    NAME,
    Column(5, "", "state", lambda row: row.state, lambda row: STATE_STYLES.get(row.state, ""), left=True),
    Column(1, "", "done", lambda row: count(row.done), lambda row: "bold"),
    FAILED,
    RETRIED,
    DROPPED,
    Column(11, "per second", "1 s", lambda row: rate(row.rate_1s)),
    Column(3, "per second", "10 s", lambda row: rate(row.rate_10s)),
    Column(13, "per second", "60 s", lambda row: rate(row.rate_60s)),
    MEAN,
    P95,
    Column(7, "", "running", lambda row: f"{row.running:,}/{row.concurrency:,}"),
    Column(14, "", "in flight", lambda row: count(row.in_flight)),
    Column(4, "", "backlog", lambda row: count(row.backlog)),
    Column(15, "", "delayed", lambda row: count(row.delayed), wanted=lambda row: row.delayed),
    Column(6, "", "empty in", empty_in),
)

FINAL = (
    NAME,
    Column(1, "", "done", lambda row: count(row.done), lambda row: "bold"),
    FAILED,
    RETRIED,
    DROPPED,
    Column(4, "", "given back", lambda row: count(row.unfinished), lambda row: "yellow", wanted=lambda row: row.unfinished),
    Column(3, "", "per second", lambda row: rate(row.rate)),
    MEAN,
    P95,
)


class Table:
    """Lays rows out within a width. Columns never get narrower again, so that nothing jumps."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._widths = {column: len(column.heading) for column in columns}

    def lines(self, rows: Sequence[Row], total: Row | None, width: int) -> list[Text]:
        """Return headings, rows, and the total; the trouble of a row below it. No line is wider than `width`."""
        every = [*rows, total] if total is not None else list(rows)
        for column in self._columns:
            self._widths[column] = max([self._widths[column], *(cell_len(visible(column.cell(row))) for row in every)])
        shown = self._fitting(every, width)
        drawn = [self._groups(shown, width), self._line(shown, [(column.heading, "dim") for column in shown], width)]
        drawn = [line for line in drawn if line.plain.strip()]
        drawn.append(Text("─" * min(width, drawn[-1].cell_len), style="dim"))
        for row in rows:
            drawn.append(self._row(shown, row, width))
            if row.trouble:
                drawn.append(cut(Text(f"  {visible(row.trouble)}", style="red"), width))
        if total is not None:
            drawn.append(self._row(shown, total, width))
        return drawn

    def _fitting(self, rows: Sequence[Row], width: int) -> list[tuple[Column]] | list[Column]:
        """Return the columns that there is room for, most important first to stay."""
        shown = [column for column in self._columns if any(column.wanted(row) for row in rows)]
        name = min(self._widths[NAME], max(LEAST_NAME, width // 3))
        while len(shown) > 1 and name + sum(self._widths[column] + GAP for column in shown if column is not NAME) > width:
            shown.remove(max(shown, key=lambda column: column.rank))
        return shown
