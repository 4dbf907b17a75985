"""The child process of a pool: what it does before it can be asked for anything.

With greenlets that is to patch the standard library before anything else is imported. So this
module imports nothing but what every Python process has imported anyway, and finds the rest by its
name.
"""

from __future__ import annotations

import importlib
import sys
import warnings

_LOOPS = {
    "process": "fbcli.engine.children.sequential",
    "gevent": "fbcli.engine.children.greenlets",
    "eventlet": "fbcli.engine.children.greenlets",
}


_in_child = False


def in_child() -> bool:
    """Whether this process is such a child: consumers have no place in it."""
    return _in_child


def main() -> None:
    """Work until the parent says that there will be no more, or is gone. On the command line: a
    mode, the queue (for who reads `ps`), and the token of the pipe of tickets."""
    global _in_child
    _in_child = True
    mode, tickets = sys.argv[1], sys.argv[3]
    if mode == "gevent":
        importlib.import_module("gevent.monkey").patch_all()
    elif mode == "eventlet":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its authors advise against it, in every process again
            importlib.import_module("eventlet").monkey_patch()
    importlib.import_module(_LOOPS[mode]).work(mode, tickets)
