"""Log lines on a terminal: coloured by level, each with a link to its line of code. Imported only
where there is one."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.style import Style
from rich.text import Text

from fbcli.logs.careful import Careful
from fbcli.logs.formats import place
from fbcli.logs.records import LINES, ONE_LINE, lines_of, message_of, stamped, trace_lines_of

SHORT_ID = 12
"""So many characters of a task id are shown: the last ones, which are random."""

WIDE = 80
"""On a terminal with fewer columns the place in the code is left out where it does not fit."""

DIM = Style(dim=True)
LEVELS = (
    (
        logging.CRITICAL,
        Style(color="white", bgcolor="red", bold=True),
        Style(color="red", bold=True),
    ),
    (logging.ERROR, Style(color="red", bold=True), Style(color="red")),
    (logging.WARNING, Style(color="yellow", bold=True), Style(color="yellow")),
    (logging.INFO, Style(color="green"), Style()),
    (logging.NOTSET, Style(color="blue"), DIM),
)
"""From a level on: how its name and how its message look."""


class TerminalConsole(Console):
    """A console for logging alone."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def on_broken_pipe(self) -> None:
        """Be silent. (Rich would end the calling thread.)"""
        self.quiet = True


class TerminalHandler(Careful):
    """Prints records with rich, above whatever is live there. With a formatter of its own it prints
    just what that makes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def createLock(self) -> None:
        """None: consoles lock for themselves. Two locks would be a deadlock for a signal handler
        that logs while its thread draws."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        text = Text(self.format(record)) if self.formatter is not None else self.draw(record)
        self._console.print(text, soft_wrap=True, highlight=False)

    def draw(self, record: logging.LogRecord) -> Text:
        """Return a record as it is shown."""
        level_style, style = next(
            (name, text) for level, name, text in LEVELS if record.levelno >= level
        )
        task_id, queue = stamped(record)
        message, *rest = _lines(record)
        message.style = style
        line = Text.assemble(
            (datetime.fromtimestamp(record.created).strftime("%H:%M:%S"), DIM),
            " ",
            (f"{record.levelname:<8}", level_style),
            " ",
            (queue or ("" if task_id else str(record.name).translate(ONE_LINE)), "cyan"),
            (" " if queue and task_id else ""),
            (task_id[-SHORT_ID:], DIM),
            "  ",
            message,
        )
        where = (
            "" if str(record.name).startswith("fbcli.") else place(record)
        )  # whoever looks on is no developer of fbcli
        room = self._console.width - line.cell_len - len(where)
        if where and (room >= 2 or self._console.width >= WIDE):
            line.append(" " * max(room, 2))
            line.append(
                where,
                Style(
                    dim=True, link=f"{Path(record.pathname).absolute().as_uri()}#{record.lineno}"
                ),
            )
        return Text("\n    ").join([line, *rest])


def _lines(record: logging.LogRecord) -> list[Text]:
    """Return a record's lines; the colours that the user gave the message stay, other escape
    sequences do nothing."""
    message = message_of(record)
    if "\x1b" not in message:
        return [Text(line) for line in lines_of(record)]
    text = Text.from_ansi(message.rstrip("\n"))
    text.plain = text.plain.translate(LINES)
    return [*text.split("\n", allow_blank=True), *map(Text, trace_lines_of(record))]
