"""Times that consumed functions note in a file (`benchmarks.tasks.mark`), read from outside."""

from __future__ import annotations

import time
from pathlib import Path


def fresh(path: Path) -> Path:
    """Return an empty file there."""
    path.write_bytes(b"")
    return path


def times(marks: Path) -> list[float]:
    """Return them in order (Unix seconds)."""
    return sorted(map(float, marks.read_text().split()))


def wait_for(marks: Path, count: int, seconds: float = 30.0) -> list[float]:
    """Return them as soon as there are so many."""
    deadline = time.monotonic() + seconds
    while len(noted := times(marks)) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {len(noted)} of {count} starts in {seconds:g} s")
        time.sleep(0.01)
    return noted
