"""One line on stderr that tells how far something has come: redrawn at a terminal, else said anew
now and then."""

from __future__ import annotations

import shutil
from types import TracebackType

from fbcli.clock import SYSTEM, Clock
from fbcli.console.output import Output, visible

PERIOD = 30.0
"""Seconds between two lines where nothing can be redrawn."""

REDRAW = 0.1


class Status:
    """Use as a context; the redrawn line is gone when it ends."""

    def __init__(self, out: Output, clock: Clock = SYSTEM) -> None:
        self._out = out
        self._clock = clock
        self._said = clock.monotonic() if not out.live else float("-inf")
        self._drawn = False

    def show(self, line: str) -> None:
        """Tell it; cheap when repeated."""
        now = self._clock.monotonic()
        if now - self._said < (REDRAW if self._out.live else PERIOD):
            return
        self._said = now
        if self._out.live:
            width = shutil.get_terminal_size().columns - 1
            self._out.stderr.write(f"\r\x1b[K{visible(line)[:width]}")
            self._out.stderr.flush()
            self._drawn = True
        else:
            self._out.say(visible(line))

    def __enter__(self) -> Status:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._drawn:
            self._out.stderr.write("\r\x1b[K")
            self._out.stderr.flush()
