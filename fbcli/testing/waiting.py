"""How a test waits: for a condition, never for some seconds."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    """Return as soon as `condition` holds; raise `TimeoutError` naming `what` after `timeout`
    seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} seconds for {what}")
        time.sleep(0.005)
