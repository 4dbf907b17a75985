"""Another process that keeps leases, driven step by step."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fbcli.lease import Beat

KEEPER = """
import pickle, sys
beats = pickle.load(sys.stdin.buffer)
keeper = beats[0].keeper()
for line in sys.stdin.buffer:
    keeper.extend(beats)
    print(*sys.modules, flush=True)
keeper.close()
"""


@contextmanager
def beating(beats: Sequence[Beat]) -> Iterator[Callable[[], set[str]]]:
    """Start a process that knows nothing but these beats, all of one place. Yields what makes it
    extend the leases once; that returns the names of the modules that it has imported for it."""
    with subprocess.Popen(
        [sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pickle.dumps(list(beats)))
        told, asked = process.stdout, process.stdin

        def extend() -> set[str]:
            asked.write(b"\n")
            asked.flush()
            answer = told.readline().decode()
            assert answer, "the process has ended"
            return set(answer.split())

        try:
            yield extend
        finally:
            asked.close()
            process.wait()
