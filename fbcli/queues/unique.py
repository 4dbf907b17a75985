"""Messages of which no two alike are in a queue at once: claimed in the store before they are
published, freed when they have ended.

A message carries its key as `extra.unique`; whoever consumes it gives the claim back
(`fbcli.controls.dedupe.Unique`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fbcli.broker import Outgoing
from fbcli.errors import PartlyPublished
from fbcli.message import decode
from fbcli.queues.queue import Queue
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
    keys = [str(decode(message.body)[1]["unique"]) for message in messages]
    answers = store.claim(space, keys, owner=PUSHER, lease=HELD)
    granted = [answer.state == "granted" for answer in answers]
    fresh = [message for message, own in zip(messages, granted, strict=True) if own]
    if fresh:
        try:
            queue.publish(fresh)
        except BaseException as error:
            got_in = set(error.accepted) if isinstance(error, PartlyPublished) else set()
            claimed = [key for key, own in zip(keys, granted, strict=True) if own]
            store.free(
                space,
                [key for place, key in enumerate(claimed) if place not in got_in],
                owner=PUSHER,
            )
            raise
    return Sorted(
        fresh, [message for message, own in zip(messages, granted, strict=True) if not own]
    )
