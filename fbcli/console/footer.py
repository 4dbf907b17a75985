"""A terminal with lines that stay at the bottom, while everything else that is printed scrolls by
above them.

Rich's own `Live` mixes up the prints of several threads, lets them get between its measuring and
its drawing, ends the calling thread on a broken pipe, and loses its place when the window gets
narrower.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType, Segment, Segments
from rich.text import Text

from fbcli.console.whole_lines import WholeLines


class FooterConsole(Console):
    """What is printed goes above the footer. Safe for threads, and for a signal handler that prints
    while its thread does."""

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
        """Draw these lines at the bottom, in the place of those before; no lines: take those away.
        Each must fit into the width."""
        with self._turn:
            text = Text("\n", end="").join(lines)
            self._footer = (
                list(self.render(text, self.options.update(no_wrap=True, overflow="crop")))
                if lines
                else []
            )
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
                up = [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * (
                    self._rows_drawn() - 1
                )
                self.control(
                    Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up)
                )
            super().print(*objects, **options)
            if self._footer:
                super().print(Segments(self._footer), end="")
            if bool(self._footer) != bool(self._drawn):
                self.show_cursor(not self._footer)
        self._drawn = self._footer_widths

    def _rows_drawn(self) -> int:
        """Return how many rows the footer takes on the screen; a terminal that got narrower has
        broken its lines."""
        width = max(1, self.width)
        return sum(max(1, -(-drawn // width)) for drawn in self._drawn)


def above(file: TextIO, console: FooterConsole) -> WholeLines:
    """Return what takes the place of `file`, a standard stream, so that whatever writes there
    writes above the footer."""

    def show(lines: str) -> None:
        text = Text.from_ansi(lines) if "\x1b" in lines else Text(lines)
        text.plain = text.plain.replace("\x1b", "␛")
        console.print(text)

    return WholeLines(file, show)
