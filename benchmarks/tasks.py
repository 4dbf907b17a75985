"""The functions that the benchmarks push and consume. Nothing of fbcli in here: it is a user's
module."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from time import monotonic

starts: list[float] = []
ends: list[float] = []
delays: list[float] = []


def trivial(x: int, y: int = 2) -> int:
    """Cost nothing, so that what is measured is the cost of everything else."""
    return x + y


async def atrivial(x: int, y: int = 2) -> int:
    return x + y


def rows(rows: list[dict[str, int]]) -> None:
    """The trivial call for a whole batch."""
    for row in rows:
        trivial(**row)


def nap(seconds: float) -> None:
    starts.append(monotonic())
    time.sleep(seconds)
    ends.append(monotonic())


async def anap(seconds: float) -> None:
    starts.append(monotonic())
    await asyncio.sleep(seconds)
    ends.append(monotonic())


def tick(number: int) -> None:
    """Note when it started."""
    starts.append(monotonic())


def due(at: float) -> None:
    """Note how late it started, by the wall clock."""
    delays.append(time.time() - at)


def mark(path: str) -> None:
    """Append the time of its start; one write to a file opened for appending is atomic."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{time.time():.6f}\n".encode())
    os.close(descriptor)


def rest(path: str) -> None:
    """Note the time of its start, and wait to be interrupted."""
    mark(path)
    for _ in range(6000):
        time.sleep(0.01)


def stamp(sent: float, out: str | None = None) -> None:
    """Note how long after `sent` it started (monotonic seconds, the same for all processes of a
    host); write all to `out`."""
    delays.append(monotonic() - sent)
    if out is not None:
        Path(out + ".part").write_text(json.dumps(delays))
        os.rename(out + ".part", out)
        delays.clear()
