"""Logging of the `fb` commands: `configure` sets it up, and nothing else does; importing fbcli
configures nothing.

The root logger gets the handlers, so that what a task logs by its own `logging.getLogger(__name__)`
carries its id and queue.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from fbcli.errors import UsageError, did_you_mean
from fbcli.logs.budget import Budget
from fbcli.logs.careful import Careful, LineHandler
from fbcli.logs.channel import ChannelHandler, replay
from fbcli.logs.formats import JsonFormatter, PlainFormatter
from fbcli.logs.records import Stamp

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ChannelHandler", "configure", "configure_channel", "replay"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FILE_SIZE = 50_000_000
"""Bytes of a log file before it is rotated."""
BACKUPS = 5


def configure(
    *,
    level: str = "INFO",
    json: bool = False,
    file: Path | None = None,
    file_size: int = FILE_SIZE,
    backups: int = BACKUPS,
    stream: TextIO | None = None,
    console: Console | None = None,
) -> None:
    """Log to `console`, or to `stream` (by default stderr), and to a rotating `file` as well. A
    second call replaces the first.

    A terminal gets coloured lines, everything else plain ones; `json` makes an object a line of
    both. Below level DEBUG of the lines about single tasks only 20 a second are shown (`Budget`).
    Raises `UsageError` for a level or file that cannot be used.
    """
    handlers = [_shown(json, sys.stderr if stream is None else stream, console)]
    _install(handlers, level, file, json, file_size, backups)


def configure_channel(
    handler: ChannelHandler,
    *,
    level: str = "INFO",
    file: Path | None = None,
    json: bool = False,
    file_size: int = FILE_SIZE,
    backups: int = BACKUPS,
) -> None:
    """`configure` for a child process, whose records the parent shows by `replay`. Given a `file`
    it writes that by itself."""
    handler.filed = file is not None
    _install([handler], level, file, json, file_size, backups)


def _install(
    handlers: list[Careful], level: str, file: Path | None, json: bool, file_size: int, backups: int
) -> None:
    number = _number(level)
    if file is not None:
        from fbcli.logs.files import FileHandler  # noqa: PLC0415  a client library: only where there is a file

        filed = FileHandler(file, file_size, backups)
        filed.setFormatter(JsonFormatter() if json else PlainFormatter())
        handlers = [*handlers, filed]
    root, tasks = logging.getLogger(), logging.getLogger("fbcli.task")
    for budget in [one for one in tasks.filters if isinstance(one, Budget)]:
        tasks.removeFilter(budget)
        atexit.unregister(budget.flush)
        budget.flush()
    for before in [handler for handler in root.handlers if isinstance(handler, Careful)]:
        root.removeHandler(before)
        before.close()
    for handler in handlers:
        handler.addFilter(Stamp())
        root.addHandler(handler)
    root.setLevel(number)
    if number > logging.DEBUG:
        budget = Budget(tasks)
        tasks.addFilter(budget)
        atexit.register(budget.flush)
    warnings.showwarning = _log_warning


def _shown(json: bool, stream: TextIO, console: Console | None) -> Careful:
    """Return the handler for whoever looks on."""
    if console is None and not (stream.isatty() and os.environ.get("TERM") != "dumb"):
        handler: Careful = LineHandler(stream)
        handler.setFormatter(JsonFormatter() if json else PlainFormatter())
        return handler
    from fbcli.logs.terminal import TerminalConsole, TerminalHandler  # noqa: PLC0415  rich, which only a terminal needs

    handler = TerminalHandler(TerminalConsole(stream) if console is None else console)
    if json or (console is not None and not console.is_terminal):
        handler.setFormatter(JsonFormatter() if json else PlainFormatter())
    return handler


def _number(level: str) -> int:
    if level.upper() not in LEVELS:
        hint = did_you_mean(level.upper(), LEVELS)
        raise UsageError(f"{level!r} is no log level; there are {', '.join(LEVELS)}.{hint}")
    return int(logging.getLevelName(level.upper()))


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """`warnings.showwarning`: log a warning with the place that it is about."""
    if file is not None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))
        return
    logger = logging.getLogger("py.warnings")
    if logger.isEnabledFor(logging.WARNING):
        text = f"{category.__name__}: {message}"
        logger.handle(
            logger.makeRecord(logger.name, logging.WARNING, filename, lineno, text, (), None)
        )
