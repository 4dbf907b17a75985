"""How a process of this interpreter that runs a part of fbcli is started: the one way, for
supervised consumers, children of pools, and what a trial starts.

Not `python -m`: that puts the working folder first on the path, where a user's `queue.py` or
`email.py` would take the place of Python's.
"""

from __future__ import annotations

import os
import sys

_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
"""Where the package fbcli is."""

_BOOT = (
    "import sys; folder, entry = sys.argv[1:3]; del sys.argv[1:3];"
    " sys.path[:] = [*filter(None, sys.path), folder]; module, name = entry.split(':');"
    " getattr(__import__(module, fromlist=[name]), name)()"
)
"""Note: nothing is imported before the path is right but what is built in."""


def python_command(entry: str, *words: str) -> list[str]:
    """Return the command of a process that calls `entry`, a `module:function` of fbcli, with
    `words` as its arguments."""
    return [sys.executable, "-c", _BOOT, _FOLDER, entry, *words]
