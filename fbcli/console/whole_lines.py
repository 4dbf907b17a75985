"""Stands in for `sys.stdout` or `sys.stderr`, and passes on whole lines: to what draws around them,
or to another process."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

LONGEST_PART = 10_000
"""Characters of an unfinished line that are kept until it is finished."""


class WholeLines(io.TextIOBase):
    """What threads print is given to `show` line by line (without the last newline), never mixed up
    within one.

    After `release` it writes to `file`, which it stands in for: somebody may have kept it.
    """

    def __init__(self, file: TextIO, show: Callable[[str], object]) -> None:
        self._file = file
        self._show = show
        self._parts: dict[int, str] = {}
        """Unfinished lines, by thread: `print` writes a line and its end in two pieces."""
        self._released = False

    def write(self, text: str) -> int:
        if self._released:
            return self._file.write(text)
        thread = threading.get_ident()
        whole, newline, part = (self._parts.pop(thread, "") + text).rpartition("\n")
        if part:
            self._parts[thread] = part.rpartition("\r")[2][
                -LONGEST_PART:
            ]  # of a progress bar, only how it looks now
        if newline:
            self._show(whole)
        return len(text)

    def release(self) -> None:
        """Pass on what is unfinished, and write through from now on."""
        self._released = True
        for part in self._parts.values():
            self._show(part)
        self._parts.clear()

    def flush(self) -> None:
        """An unfinished line stays until it is finished."""
        if self._released:
            self._file.flush()

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


@contextlib.contextmanager
def line_by_line(show: Callable[[str], object]) -> Iterator[None]:
    """Give `show` what is printed within the block, to stdout and stderr, line by line."""
    before = sys.stdout, sys.stderr
    lines = [WholeLines(stream, show) for stream in before]
    sys.stdout, sys.stderr = lines
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in lines:
            stream.release()


@contextlib.contextmanager
def patient_stdout() -> Iterator[None]:
    """Print each line at once, and go on when nobody reads any more: a task must not fail because
    of `| head`."""
    real = sys.stdout

    def show(text: str) -> None:
        try:
            real.write(f"{text}\n")
            real.flush()
        except OSError:  # a closed pipe or terminal
            os.dup2(os.open(os.devnull, os.O_WRONLY), real.fileno())

    sys.stdout = lines = WholeLines(real, show)
    try:
        yield
    finally:
        sys.stdout = real
        lines.release()
