"""The command line of every peer's file: `python -m benchmarks.peers.NAME push URL COUNT`, `… consume URL`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import monotonic


def play(push: Callable[[str, int], None], consume: Callable[[str], None], warm: Callable[[str], None] | None = None) -> None:
    """Do what the command line says. A push tells how long it took (seconds); consuming goes on until it is ended from outside."""
    action, url, *rest = sys.argv[1:]
    if action == "consume":
        consume(url)
        return
    count = int(rest[0])
    if warm is not None:
        warm(url)
    begun = monotonic()
    push(url, count)
    print(json.dumps({"seconds": monotonic() - begun}), flush=True)
