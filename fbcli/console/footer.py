"""A terminal with lines that stay at the bottom, while everything else that is printed scrolls by above them.

Rich's own `Live` mixes up the prints of several threads, lets them get between its measuring and its drawing, ends the calling
thread on a broken pipe, and loses its place when the window gets narrower.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType, Segment, Segments
from rich.text import Text

LONGEST_PART = 10_000
"""Characters of an unfinished line that are kept until it is finished."""


class FooterConsole(Console):
    """What is printed goes above the footer. Safe for threads, and for a signal handler that prints while its thread does."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._turn = threading.RLock()
        self._waiting: list[tuple[tuple[Any, ...], dict[str, Any]]] | None = None
        """What came in while this very thread was printing; None: it is not."""
        self._footer: list[Segment] = []
        self._footer_widths: list[int] = []
        self._drawn: list[int] = []
        """The widths of the lines that are on the screen now."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print above the footer. Takes what rich's own takes."""
        with self._turn:
            if self._waiting is not None:
                self._waiting.append((objects, options))
                return
            self._waiting = [(objects, options)]
            try:
                for one, its_options in self._waiting:
                    self._draw(one, its_options)
            except OSError:
                self.on_broken_pipe()
            finally:
                self._waiting = None

    def set_footer(self, lines: Sequence[Text]) -> None:
        """Draw these lines at the bottom, in the place of those before. None: take them away. Each must fit into the width."""
        with self._turn:
            if bool(lines) != bool(self._footer):
                self.show_cursor(not lines)
            text = Text("\n", end="").join(lines)
            self._footer = list(self.render(text, self.options.update(no_wrap=True, overflow="crop"))) if lines else []
            self._footer_widths = [line.cell_len for line in lines]
            self.print(Text(end=""), end="")

    def on_broken_pipe(self) -> None:
        """The terminal is gone: be silent from now on. (Rich would end the calling thread.)"""
        self.quiet = True
        with self:  # drops what could not be written
            pass

    def _draw(self, objects: tuple[Any, ...], options: dict[str, Any]) -> None:
        with self:  # one write for all of it
            if self._drawn:
                up = [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * (self._rows_drawn() - 1)
                self.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up))
            super().print(*objects, **options)
            if self._footer:
                super().print(Segments(self._footer), end="")
        self._drawn = self._footer_widths

    def _rows_drawn(self) -> int:
        """Return how many rows the footer takes on the screen; a terminal that got narrower has broken its lines."""
        width = max(1, self.width)
        return sum(max(1, -(-drawn // width)) for drawn in self._drawn)


class Above(io.TextIOBase):
    """Stands in for `sys.stdout` or `sys.stderr`: whole lines are printed above the footer.

    After `release` it writes through, for whoever has kept it.
    """

    def __init__(self, file: TextIO, console: FooterConsole) -> None:
        self._file = file
        self._console = console
        self._parts: dict[int, str] = {}
        """Unfinished lines, by thread: `print` writes a line and its end in two pieces."""
        self._released = False

    def write(self, text: str) -> int:
        if self._released:
            return self._file.write(text)
        thread = threading.get_ident()
        whole, newline, part = (self._parts.pop(thread, "") + text).rpartition("\n")
        if part:
            self._parts[thread] = part.rpartition("\r")[2][-LONGEST_PART:]  # of a progress bar, only how it looks now
        if newline:
            self._show(whole)
        return len(text)

    def release(self) -> None:
        """Show what is unfinished, and write through from now on."""
        self._released = True
        for part in self._parts.values():
            self._show(part)
        self._parts.clear()

    def _show(self, lines: str) -> None:
        text = Text.from_ansi(lines) if "\x1b" in lines else Text(lines)
        text.plain = text.plain.replace("\x1b", "␛")
        self._console.print(text)

    def flush(self) -> None:
        """An unfinished line stays until it is finished."""

    def isatty(self) -> bool:
        return self._file.isatty()

    def fileno(self) -> int:
        return self._file.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._file.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._file.errors

    def __getattr__(self, name: str) -> Any:
        """What else a program may ask of its stdout (`buffer`, `reconfigure`, `name`)."""
        return getattr(self._file, name)
