"""What commands print: data on stdout (text, tables, or JSON lines), everything else on stderr.

Rich is imported only where something is drawn on a terminal (`console/drawing.py`): it takes 50 ms.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, TextIO

from fbcli.clients.loading import mask
from fbcli.errors import Refused
from fbcli.values.encoding import json_text

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Output:
    """The console of one command. `json`: an object a line on stdout, and nothing else there."""

    def __init__(
        self,
        *,
        json: bool = False,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.json = json
        self.stdin = (
            stdin or sys.stdin or io.StringIO()
        )  # Python has None for a stream that was closed before: `fb … >&-`
        self.stdout = stdout or sys.stdout or io.StringIO()
        self._stderr = stderr

    @property
    def stderr(self) -> TextIO:
        """Note: not kept, since a progress bar puts itself before `sys.stderr`, so that lines do
        not tear it."""
        return self._stderr or sys.stderr or io.StringIO()

    # data

    def object(self, value: Any) -> None:
        """Print a value as one line of JSON on stdout."""
        text = json_text(value)
        self.stdout.write(_CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n")
        self.stdout.flush()

    def value(self, value: Any) -> None:
        """Print what a function returned: text as it is (with `--json` quoted), all else as JSON;
        None only with `--json`."""
        if isinstance(value, str) and not self.json:
            self.text(value)
        elif value is not None or self.json:
            self.object(value)

    def text(self, line: str) -> None:
        """Print a line of data on stdout."""
        self.stdout.write(line + "\n")
        self.stdout.flush()

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: Sequence[str] = ()
    ) -> None:
        """Print rows on stdout: with `--json` an object a row, on a terminal a table, else aligned
        text that is never cut.

        `columns` are the keys of the objects; as headings their underscores are shown as spaces.
        Cells are plain values (None: `-`; numbers are aligned to the right); text from messages is
        safe, control characters are shown, not obeyed. `empty` goes to `self.empty` when there are
        no rows.
        """
        rows = [list(row) for row in rows]
        if self.json:
            for row in rows:
                self.object(dict(zip(columns, row, strict=True)))
        elif not rows:
            if empty:
                self.empty(*empty)
        else:
            headings = [column.replace("_", " ") for column in columns]
            numeric = [_is_column_of_numbers(cells) for cells in zip(*rows, strict=True)]
            if _draws(self.stdout):
                shown = [
                    [f"{_short(cell):,}" if _is_number(cell) else visible(cell) for cell in row]
                    for row in rows
                ]
                _drawing().table(self.stdout, headings, shown, numeric)
            else:
                self.text(
                    aligned([headings, *([visible(cell) for cell in row] for row in rows)], numeric)
                )

    # to the person

    def say(self, line: str) -> None:
        """Tell the person something: on stderr."""
        self.stderr.write(line + "\n")
        self.stderr.flush()

    def empty(self, sentence: str, *commands: str) -> None:
        """Say on stderr that there is nothing to show, and which commands to type next. Silent with
        `--json`."""
        if not self.json:
            self.say("\n".join([sentence, *(f"  {command}" for command in commands)]))

    def confirm(
        self,
        question: str,
        *,
        yes: bool = False,
        dry_run: bool = False,
        no_input: bool = False,
        command: str | None = None,
    ) -> bool:
        """Return whether to do it: asks on stderr, at a terminal only.

        `yes` answers it. With `dry_run` it says that nothing was done and returns False. Raises
        `Refused` when the person declines, or cannot be asked; then it names `command`, which is
        this command line by default, with `-y`.
        """
        if dry_run:
            self.say("Nothing was done (--dry-run).")
            return False
        if yes:
            return True
        if no_input or not (self.stdin.isatty() and self.stderr.isatty()):
            raise Refused(
                f"{question.rstrip(' ?')}: this needs your confirmation. Do it by:"
                f" {command or command_line()} -y"
            )
        self.stderr.write(f"{question} [y/N] ")
        self.stderr.flush()
        if self.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused("Nothing was done.")
        return True

    def progress(
        self, label: str, total: float | None = None
    ) -> contextlib.AbstractContextManager[Callable[[float], None]]:
        """Return a context whose value advances a progress bar on stderr by an amount; without a
        terminal nothing is shown.

        `total` is None when it is not known. The bar shows count, rate and the time left, and is
        gone when it ends.
        """
        if not self.live:
            return contextlib.nullcontext(lambda amount: None)
        progress: contextlib.AbstractContextManager[Callable[[float], None]] = _drawing().progress(
            self.stderr, label, total
        )
        return progress

    @property
    def live(self) -> bool:
        """Whether stderr is a terminal that can be redrawn."""
        return _draws(self.stderr)


def visible(cell: Any) -> str:
    """Return a cell as text, with control characters escaped: what others wrote must not steer the
    terminal."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return str(_short(cell))
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(cell))


def aligned(rows: Sequence[Sequence[str]], numeric: Sequence[bool], gap: int = 2) -> str:
    """Return lines of columns `gap` spaces apart, numbers to the right; nothing is cut, and no line
    ends in spaces."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return "\n".join(
        (" " * gap)
        .join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        .rstrip()
        for row in rows
    )


def command_line() -> str:
    """Return the command that was typed, fit to be shown."""
    return shlex.join(["fb", *map(mask, sys.argv[1:])])


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _is_column_of_numbers(cells: Sequence[Any]) -> bool:
    given = [cell for cell in cells if cell is not None]
    return bool(given) and all(map(_is_number, given))


def _short(number: float) -> float:
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _draws(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _drawing() -> ModuleType:
    from fbcli.console import drawing  # noqa: PLC0415  rich, which most runs do not need

    return drawing
