"""The command line of every peer's file: `python -m benchmarks.peers.NAME push URL COUNT`, `…
consume URL`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic


def play(push: Callable[[str, int], None], consume: Callable[[str], None]) -> None:
    """Do what the command line says.

    A push writes how long it took (seconds) into the file `BENCH_PUSHED`: some peers take over
    stdout. Consuming goes on until it is ended from outside.
    """
    action, url, *rest = sys.argv[1:]
    if action == "consume":
        consume(url)
        return
    count = int(rest[0])
    begun = monotonic()
    push(url, count)
    Path(os.environ["BENCH_PUSHED"]).write_text(json.dumps({"seconds": monotonic() - begun}))
