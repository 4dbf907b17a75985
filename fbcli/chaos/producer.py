"""A producer of a trial, killed at any moment. Its argument is the queue.

It reads batches of tasks from its input, a JSON list a line, and publishes each as any program
would. It writes down before that it tries, and behind that the broker has confirmed. The end of its
input ends it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from fbcli.booster import Booster
from fbcli.broker import Outgoing
from fbcli.chaos import tasks
from fbcli.chaos.ledger import PUSHES, note, now
from fbcli.clock import Backoff
from fbcli.errors import Unavailable
from fbcli.settings import load

MOST_TRIES = 1000


def main() -> None:
    """Publish what comes. Raises `Unavailable` when the broker stays away."""
    booster: Booster[Any, Any] = Booster(tasks.work, settings=load(), flags={"queue": sys.argv[1]})
    for line in sys.stdin:
        batch = msgspec.json.decode(line, type=list[dict[str, Any]])
        _publish(
            booster,
            [booster.message(arguments) for arguments in batch],
            ",".join(str(each["number"]) for each in batch),
        )


def _publish(booster: Booster[Any, Any], messages: Sequence[Outgoing], numbers: str) -> None:
    """Publish a batch until the broker has confirmed it. A try that failed may have arrived all the
    same."""
    backoff = Backoff(0.05, 1.0)
    for left in reversed(range(MOST_TRIES)):
        note(PUSHES, "try", numbers, now())
        try:
            booster.queue.publish(messages)
        except Unavailable:
            if not left:
                raise
            time.sleep(backoff.failed())
        else:
            note(PUSHES, "sure", numbers, now())
            return
