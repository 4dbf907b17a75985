"""What is drawn with rich, on a terminal only. Imported when something is drawn: rich takes 50
ms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text


def console(stream: TextIO) -> Console:
    """Return rich's console on `stream`; it honours NO_COLOR by itself, and takes no text for
    markup."""
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def table(
    stream: TextIO, headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> None:
    """Draw a table."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading, right in zip(headings, numeric, strict=True):
        drawn.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    console(stream).print(drawn)


class RateColumn(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="progress.data.speed")


@contextmanager
def progress(stream: TextIO, label: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """Draw a progress bar that goes away when it ends; yields what advances it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console(stream), transient=True, redirect_stdout=False
    ) as drawn:
        task = drawn.add_task(label, total=total)
        yield lambda amount: drawn.advance(task, amount)
