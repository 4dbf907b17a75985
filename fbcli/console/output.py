"""What commands print: data on stdout (text, tables, or JSON lines), everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import msgspec

from fbcli.errors import Refused


class Output:
    """The console of one command. `json`: an object a line on stdout, and nothing else there."""

    def __init__(self, *, json: bool = False, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.json = json
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr

    def object(self, value: Any) -> None:
        """Print a value as one line of JSON on stdout."""
        self.stdout.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")
        self.stdout.flush()

    def text(self, line: str) -> None:
        """Print a line of data on stdout."""
        self.stdout.write(line + "\n")
        self.stdout.flush()

    def say(self, line: str) -> None:
        """Tell the person something: on stderr."""
        self.stderr.write(line + "\n")
        self.stderr.flush()

    @property
    def live(self) -> bool:
        """Whether stderr is a terminal that can be redrawn."""
        return self.stderr.isatty() and os.environ.get("TERM") != "dumb"
