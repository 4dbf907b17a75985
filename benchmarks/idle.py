"""What a consumer costs that has nothing to do: memory and processor of `fb consume`, read from
/proc (Linux)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.draining import TRIVIAL
from benchmarks.figures import FLOOR, OURS, Benchmark, Figure, Missing, Target
from benchmarks.place import Place, end, fb_command

SETTLE = 3.0
"""Seconds until a consumer that was just started counts as idle."""
SECONDS = 10.0


def watched(place: Place, process: subprocess.Popen[bytes]) -> Mapping[str, float]:
    """Return megabytes and percent of a core, over some seconds; then end it."""
    proc = Path(f"/proc/{process.pid}")
    if not proc.exists():
        raise Missing("there is no /proc here: Linux only")
    try:
        time.sleep(SETTLE)
        seconds, before = place.scaled(int(SECONDS), 3), _ticks(proc)
        time.sleep(seconds)
        used = (_ticks(proc) - before) / os.sysconf("SC_CLK_TCK")
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}")
        rollup = (proc / "smaps_rollup").read_text()
        return {
            "cpu": used / seconds * 100,
            "rss": _megabytes(rollup, "Rss"),
            "pss": _megabytes(rollup, "Pss"),
        }
    finally:
        end(process)


def _ticks(proc: Path) -> int:
    """User and system time, of all its threads (proc(5): fields 14 and 15; the name before them may
    hold blanks)."""
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _megabytes(rollup: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def consumer(place: Place, kind: str) -> Mapping[str, float]:
    url = place.fresh(kind)
    with (place.folder / "idle.log").open("wb") as log:
        words = (fb_command(), "consume", TRIVIAL, "--broker", url, "--store", url)
        return watched(place, place.start(*words, stdin=subprocess.DEVNULL, stdout=log, stderr=log))


def interpreter(place: Place, imports: str) -> Mapping[str, float]:
    return watched(
        place, place.start(sys.executable, "-c", f"{imports}; import time; time.sleep(60)")
    )


BENCHMARKS = [
    Benchmark(
        f"idle.{kind}",
        f"`fb consume`, no terminal, empty queue, watched for {SECONDS:g} s, {SETTLE:g} s after its"
        f" start. floor: an interpreter that has imported {imports} and sleeps.",
        {
            FLOOR: partial(interpreter, imports=f"import {imports}"),
            OURS: partial(consumer, kind=kind),
        },
        (
            Figure("rss", "resident memory", "MB", {OURS: Target(high=45)}, min),
            Figure("pss", "its share of it (PSS)", "MB", best=min),
            Figure("cpu", "processor", "% of a core", {OURS: Target(high=1)}, min),
        ),
        rounds=2,
    )
    for kind, imports in (("redis", "redis, msgspec, typer"), ("sqlite", "sqlite3, msgspec, typer"))
]
