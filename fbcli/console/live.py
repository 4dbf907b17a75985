"""The live table of `fb consume`, on a terminal: a row for each queue, below what is logged and
printed. Imports rich."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import TextIO

from rich.text import Text

from fbcli.clients.loading import mask
from fbcli.console.board import Board, Row
from fbcli.console.columns import LEAST_NAME, Column, Table, cut
from fbcli.console.footer import FooterConsole, above
from fbcli.console.output import visible
from fbcli.console.views import JsonView, LineView, Period, View, count, duration, rate

__all__ = ["JsonView", "LineView", "LiveView", "View"]

REFRESH = 0.25
"""Seconds between two drawings."""

HINT = "Ctrl-C stops: finishes what runs, again: now"
DRAINING = "Stopping: finishing what runs. Ctrl-C: now"

STATES = {"running": "green", "trouble": "bold red"} | dict.fromkeys(
    ("paused", "closed", "tripped", "draining"), "yellow"
)


def _milliseconds(value: float | None) -> str:
    return duration(None if value is None else value / 1000)


def _empty_in(row: Row) -> str:
    return "empty" if row.backlog == 0 else duration(row.empty_in)


def _quiet_zero(field: str, style: str) -> Column:
    return Column(
        field,
        lambda row: count(getattr(row, field)),
        2,
        lambda row: style if getattr(row, field) else "dim",
    )


NAME = Column(
    "queue", lambda row: row.queue or "all", 0, lambda row: "" if row.queue else "bold", left=True
)
DONE = Column("done", lambda row: count(row.done), 1, lambda row: "bold")
FAILED = _quiet_zero("failed", "red")
RETRIED = _quiet_zero("retried", "yellow")._replace(rank=9)
DROPPED = _quiet_zero("dropped", "yellow")._replace(rank=12, wanted=lambda row: row.dropped)
CANCELLED = _quiet_zero("cancelled", "yellow")._replace(rank=13, wanted=lambda row: row.cancelled)
UNFINISHED = Column(
    "given back",
    lambda row: count(row.unfinished),
    3,
    lambda row: "yellow",
    wanted=lambda row: row.unfinished,
)
MEAN = Column("mean", lambda row: _milliseconds(row.mean_ms), 8, group="duration")
P95 = Column("p95", lambda row: _milliseconds(row.p95_ms), 10, group="duration", alone="p95")

COLUMNS = (
    NAME,
    Column("state", lambda row: row.state, 5, lambda row: STATES.get(row.state, "dim"), left=True),
    DONE,
    FAILED,
    RETRIED,
    DROPPED,
    CANCELLED,
    Column("1 s", lambda row: rate(row.rate_1s), 11, group="per second", alone="per s"),
    Column("10 s", lambda row: rate(row.rate_10s), 3, group="per second", alone="per s"),
    Column("60 s", lambda row: rate(row.rate_60s), 13, group="per second", alone="per s"),
    MEAN,
    P95,
    Column("running", lambda row: f"{row.running:,}/{row.concurrency:,}", 7),
    Column("in flight", lambda row: count(row.in_flight), 14),
    Column("backlog", lambda row: count(row.backlog), 4),
    Column("delayed", lambda row: count(row.delayed), 15, wanted=lambda row: row.delayed),
    Column("empty in", _empty_in, 6),
)

FINAL = (
    NAME,
    DONE,
    FAILED,
    RETRIED,
    DROPPED,
    CANCELLED,
    UNFINISHED,
    Column("per second", lambda row: rate(row.rate), 4),
    MEAN,
    P95,
)


class LiveView:
    """A `View`. `console` is for `logs.configure`: what is logged, and what tasks print, appears
    above the table.

    Enter it before the functions are imported, where that can be: a library that keeps `sys.stderr`
    then keeps ours.
    """

    def __init__(
        self, address: str, broker: str, *, processes: int = 1, stream: TextIO | None = None
    ) -> None:
        """For the heading: `address`, what is consumed; `broker`, its URL, whose password is not
        shown; `processes`, as wanted.

        `stream` is the terminal, by default stderr.
        """
        self.console = FooterConsole(sys.stderr if stream is None else stream)
        self._address = visible(address)
        self._where = f"pid {os.getpid()} · {visible(mask(broker))}"
        self._processes = processes
        self._table = Table(COLUMNS)
        self._period = Period(REFRESH, at_once=True)
        self._drawn: object = None
        self._exit = ExitStack()

    def __enter__(self) -> LiveView:
        for name in ("stdout", "stderr"):
            file = getattr(sys, name)
            if file is not None and file.isatty():
                self._redirect(name, file)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.console.set_footer([])
        self._exit.close()

    def refresh(self, board: Board) -> None:
        if not self._period.over(board.elapsed):
            return
        lines = self.lines(board.rows(), board.totals(), board.elapsed)
        drawn = (lines, self.console.size)
        if drawn != self._drawn:
            self._drawn = drawn
            self.console.set_footer(lines)

    def final(self, board: Board) -> None:
        summary = board.summary()
        lines = Table(FINAL).lines(
            summary.rows, _if_many(summary.rows, summary.total), self.console.width
        )
        self.console.set_footer([])
        ended = Text(f"Ended after {duration(summary.elapsed)}.", style="bold")
        self.console.print(Text("\n").join([Text(), ended, Text(), *lines, Text()]))

    def lines(self, rows: list[Row], total: Row, elapsed: float) -> list[Text]:
        """Return the whole picture: heading, table, hint."""
        width, height = self.console.size
        heading = cut(Text(self._address, style="bold"), max(LEAST_NAME, width // 2))
        heading.append(
            f" · {duration(int(elapsed))}{self._count(total)} · {self._where}", style="not bold"
        )
        room = max(1, height - 8 - sum(bool(row.trouble or row.note) for row in rows))
        shown, hidden = rows[:room], rows[room:]
        table = self._table.lines(shown, _if_many(rows, total), width) or [
            Text("starting", style="dim")
        ]
        if hidden:
            table.append(Text(f"… and {len(hidden)} more queues, in the total", style="dim"))
        hint = cut(
            Text(DRAINING if any(row.state == "draining" for row in rows) else HINT, style="dim"),
            width,
        )
        return [Text(), cut(heading, width), *table, hint]

    def _count(self, total: Row) -> str:
        there, wanted = total.processes, self._processes
        if wanted == 1 and there <= 1:
            return ""
        return f" · {there} processes" if there >= wanted else f" · {there} of {wanted} processes"

    def _redirect(self, name: str, file: TextIO) -> None:
        """Put ours in the place of a standard stream, also where a logging handler has taken hold
        of it."""
        lines = above(file, self.console)
        setattr(sys, name, lines)
        self._exit.callback(lines.release)
        self._exit.callback(setattr, sys, name, file)
        for logger in (logging.getLogger(), *logging.Logger.manager.loggerDict.values()):
            for handler in getattr(logger, "handlers", []):
                if isinstance(handler, logging.StreamHandler) and handler.stream is file:
                    handler.setStream(lines)
                    self._exit.callback(handler.setStream, file)


def _if_many(rows: list[Row], total: Row) -> Row | None:
    return total if len(rows) > 1 else None
