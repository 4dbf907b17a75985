"""Tables of board rows that adapt to their width: columns go by importance, nothing wraps. Imports
rich."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from fbcli.console.board import Row
from fbcli.console.output import visible

GAP = 2
LEAST_NAME = 12
"""Cells that the first column, the name, keeps on the narrowest terminal."""
LEAST = 5
"""Cells that every other column has: little numbers that grow shall not move their neighbours."""


class Column(NamedTuple):
    """One column. The first of a table is its name column: its cells alone may be shortened."""

    heading: str
    cell: Callable[[Row], str]
    rank: int
    """Where there is no room, the column with the highest goes first."""
    style: Callable[[Row], str] = lambda row: ""
    left: bool = False
    group: str = ""
    """A heading above that of neighbours; where only one of them is left, it has `alone` for its
    heading."""
    alone: str = ""
    wanted: Callable[[Row], object] = lambda row: True
    """Whether a row has anything to show here; a column that no row wants is left out."""


class Table:
    """Lays rows out within a width. Columns only ever get wider, so that nothing jumps."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._widths = {column.heading: max(LEAST, len(column.heading)) for column in columns}

    def lines(self, rows: Sequence[Row], total: Row | None, width: int) -> list[Text]:
        """Return headings, rows, each with its trouble below it, and the total; nothing where there
        are no rows.

        No line is wider than `width`.
        """
        every = [*rows, total] if total is not None else rows
        if not every:
            return []
        cells = {
            id(row): {column.heading: visible(column.cell(row)) for column in self._columns}
            for row in every
        }
        for column in self._columns:
            longest = max((cell_len(cells[id(row)][column.heading]) for row in every), default=0)
            self._widths[column.heading] = max(self._widths[column.heading], longest)
        shown, widths = self._fit(every, width)
        drawn = [self._groups(shown, widths), self._headings(shown, widths)]
        drawn = [line for line in drawn if line.plain.strip()]
        drawn.append(
            Text("─" * min(width, sum(widths.values()) + GAP * (len(shown) - 1)), style="dim")
        )
        for row in every:
            drawn.append(
                self._line(
                    [
                        (column, cells[id(row)][column.heading], column.style(row))
                        for column in shown
                    ],
                    widths,
                )
            )
            if (below := row.trouble or row.note) and row is not total:
                drawn.append(
                    cut(
                        Text(f"  {visible(below)}", style="red" if row.trouble else "yellow"), width
                    )
                )
        return [cut(line, width) for line in drawn]

    def _fit(self, rows: Sequence[Row], width: int) -> tuple[list[Column], Mapping[str, int]]:
        """Return the columns there is room for, and how wide each is."""
        name, *others = [
            column for column in self._columns if any(column.wanted(row) for row in rows)
        ]
        least = min(self._widths[name.heading], max(LEAST_NAME, width // 4))
        while (
            others and least + sum(self._widths[column.heading] + GAP for column in others) > width
        ):
            others.remove(max(others, key=lambda column: column.rank))
        room = width - sum(self._widths[column.heading] + GAP for column in others)
        widths = {column.heading: self._widths[column.heading] for column in others}
        return [name, *others], {name.heading: min(self._widths[name.heading], room), **widths}

    def _groups(self, shown: Sequence[Column], widths: Mapping[str, int]) -> Text:
        parts = []
        for group, members in groupby(shown, key=lambda column: column.group):
            columns = list(members)
            span = sum(widths[column.heading] for column in columns) + GAP * (len(columns) - 1)
            parts.append(
                (f" {group} ".center(span, "─") if group and len(columns) > 1 else "").ljust(span)
            )
        return Text((" " * GAP).join(parts).rstrip(), style="dim")

    def _headings(self, shown: Sequence[Column], widths: Mapping[str, int]) -> Text:
        crowd = [column.group for column in shown]
        named = [
            column.alone if column.alone and crowd.count(column.group) == 1 else column.heading
            for column in shown
        ]
        return self._line(
            [(column, name, "dim") for column, name in zip(shown, named, strict=True)], widths
        )

    def _line(self, cells: Sequence[tuple[Column, str, str]], widths: Mapping[str, int]) -> Text:
        line = Text()
        for column, cell, style in cells:
            width = widths[column.heading]
            if line:
                line.append(" " * GAP)
            if not column.left:
                line.append(" " * (width - cell_len(cell)))
                line.append(cell, style)
            else:
                line.append(shortened(cell, width), style)
        return line


def shortened(name: str, width: int) -> str:
    """Return a name padded to `width` cells; of one that is too long, the end: it says most."""
    if cell_len(name) <= width:
        return set_cell_size(name, width)
    while name and cell_len(name) > width - 1:
        name = name[1:]
    return set_cell_size("…" + name, width)


def cut(line: Text, width: int) -> Text:
    """Return a line that fits into `width` cells."""
    line.truncate(width, overflow="ellipsis")
    return line
