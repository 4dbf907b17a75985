"""A measuring process: calls one function and writes what it returns, as JSON, into a file.

    python -m benchmarks.child OUT module:function '{"argument": 1}'

The function's first argument is `go`: it calls it when it is ready to be measured; that returns
when all its siblings are, too.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

Go = Callable[[], None]


def go() -> None:
    """Say that this process is ready, and wait until all are."""
    print("ready", flush=True)
    sys.stdin.readline()


def main() -> None:
    out, target, arguments = sys.argv[1:]
    module, _, name = target.partition(":")
    returned = getattr(importlib.import_module(module), name)(go, **json.loads(arguments))
    Path(out).write_text(json.dumps(returned))


if __name__ == "__main__":
    main()
