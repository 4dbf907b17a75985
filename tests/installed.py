"""The program as it is installed beside this Python, and the environment of a machine that has no
settings of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The tree."""

BIN = Path(sys.executable).parent

FB = BIN / "fb"

PATIENCE = 30.0
"""Seconds after which a command that does not end has failed its test."""


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment without what belongs to fb, to Python, to the test run or to a
    terminal; `home` is the user's folder, and `fb` is on the PATH."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FB_", "XDG_", "PYTEST", "PYTHON"))
        and name not in ("TERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    return {**env, "HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **more}
