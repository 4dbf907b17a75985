"""The function that all peers run, and how it is measured: from the first call to the last, by the
worker's own clock.

Imports nothing but the standard library: it runs in the peers' interpreter too.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from time import monotonic

_calls = itertools.count(1)
_count = int(os.environ.get("BENCH_COUNT", "0"))
_out = os.environ.get("BENCH_OUT", "")
_first = 0.0


def add(x: int, y: int = 2) -> int:
    """Return the sum; the last call of all writes how long they took (seconds)."""
    global _first
    number = next(_calls)
    if number == 1:
        _first = monotonic()
    elif number == _count:
        Path(_out + ".part").write_text(json.dumps({"seconds": monotonic() - _first}))
        os.rename(_out + ".part", _out)
    return x + y
