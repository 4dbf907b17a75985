"""Importing fbcli writes nothing, prints nothing, patches nothing, configures no logging, and loads
no client library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fbcli

PROBE = """
import builtins, json, logging, os, sys, threading
before = set(sys.modules)
was = print, sys.stdout, sys.stderr, sys.excepthook, threading.Thread.start
import fbcli
from fbcli import *
print(json.dumps({
    "modules": sorted(set(sys.modules) - before),
    "handlers": len(logging.getLogger().handlers) + len(logging.getLogger("fbcli").handlers),
    "patched": was != (print, sys.stdout, sys.stderr, sys.excepthook, threading.Thread.start),
    "threads": threading.active_count(),
    "files": os.listdir("."),
}))
"""


def test_importing_has_no_side_effects(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)
    roots = {name.split(".")[0] for name in found["modules"]}
    assert not roots & {"redis", "rich", "typer", "click", "asyncio", "sqlite3", "hiredis"}
    assert (found["handlers"], found["patched"], found["threads"], found["files"]) == (
        0,
        False,
        1,
        [],
    )


def test_every_public_name_is_there() -> None:
    assert all(getattr(fbcli, name) is not None for name in fbcli.__all__)
    assert "boost" in dir(fbcli)
