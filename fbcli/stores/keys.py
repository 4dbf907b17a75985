"""When two calls are the same, and under which names the store remembers them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from fbcli.values.encoding import stable_json

PUSHER = "push"
"""Owner of the claims of all unique messages: whoever pushes is gone when they end."""

LONGEST_KEY = 48
"""Bytes of JSON that are a key as they are."""


def key_of(arguments: Mapping[str, Any], names: Sequence[str] | None = None) -> str:
    """Return a short text that is the same for equal arguments (of these names; None: all), in
    whatever order they come: for those that are the same on the wire.

    It is their JSON, or where that is long its hash. Short keys lie in their own order, those of
    like calls side by side: a store on a disk has less to write.
    """
    chosen = arguments if names is None else {name: arguments.get(name) for name in names}
    text = stable_json(chosen)
    if len(text) <= LONGEST_KEY:
        return text.decode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def dedupe_space(queue: str) -> str:
    """Return where calls of a queue that run, or have succeeded, are remembered."""
    return f"dedupe:{queue}"


def unique_space(queue: str) -> str:
    """Return where messages of a queue that were pushed as unique are known until they have
    ended."""
    return f"unique:{queue}"


def per_key_space(queue: str, argument: str) -> str:
    """Return where the running calls of a queue are counted by an argument's value."""
    return f"per_key:{queue}:{argument}"
