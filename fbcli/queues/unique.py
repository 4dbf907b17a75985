"""Messages of which no two alike are in a queue at once: claimed in the store before they are
published, freed when they have ended.

A message carries its key as `extra.unique`; whoever consumes it gives the claim, whose token is the
task's id, back (`fbcli.controls.dedupe.Unique`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fbcli.broker import Outgoing
from fbcli.errors import PartlyPublished
from fbcli.message import decode
from fbcli.queues.queue import Queue
from fbcli.stores.base import GRANTED, Writes
from fbcli.stores.keys import PUSHER, unique_space

HELD = 7 * 86400.0
"""Seconds after the last unique push to a queue for which messages that nobody consumes refuse
their like."""


class Sorted(NamedTuple):
    """Messages, and those whose like is there already."""

    fresh: list[Outgoing]
    repeated: list[Outgoing]


def publish_unique(queue: Queue, messages: Sequence[Outgoing]) -> Sorted:
    """Publish those of a batch whose like is neither queued nor running (nor, where calls are
    deduped, done).

    The claims of those that did not get in are given back. Raises `Unavailable`.
    """
    store, space = queue.open_store(), unique_space(queue.name)
    extras = [decode(message.body)[1] for message in messages]
    keys = [str(extra["unique"]) for extra in extras]
    tokens = [str(extra["task_id"]) for extra in extras]
    answers = store.claim(space, keys, tokens, owner=PUSHER, lease=HELD, repeat=False)
    granted = [place for place, answer in enumerate(answers) if answer == GRANTED]
    fresh = [messages[place] for place in granted]
    if fresh:
        try:
            queue.publish(fresh)
        except BaseException as error:
            got_in = set(error.accepted) if isinstance(error, PartlyPublished) else set()
            left = [place for number, place in enumerate(granted) if number not in got_in]
            claims = [keys[place] for place in left], [tokens[place] for place in left]
            store.write(Writes().free(space, *claims, owner=PUSHER))
            raise
    repeated = [messages[place] for place, answer in enumerate(answers) if answer != GRANTED]
    return Sorted(fresh, repeated)
