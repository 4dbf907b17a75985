"""What is written together: by itself, or by the round trip that settles. Each write may be
repeated: nobody knows of one whose answer was lost whether it was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from fbcli.stores.records import Result

_encode = msgspec.json.Encoder().encode


class Save(NamedTuple):
    """Results of tasks of one queue, kept for `ttl` seconds. A later one of the same task
    replaces the earlier, also of the same batch."""

    queue: str
    ttl: float
    task_ids: Sequence[str]
    bodies: Sequence[bytes]
    """UTF-8 text."""


class Mark(NamedTuple):
    """Keys are done, for `ttl` seconds or (None) for ever, and their claims are given back
    as by `Free`. A later mark replaces the earlier; a key need not have been claimed."""

    space: str
    owner: str
    keys: Sequence[str]
    tokens: Sequence[str]
    ttl: float | None


class Free(NamedTuple):
    """Claims are given back, each by its token; what is not there (any more) is
    nothing."""

    space: str
    owner: str
    keys: Sequence[str]
    tokens: Sequence[str]


Write = Save | Mark | Free


class Writes:
    """Results, marks and claims given back, to be written together: by `Store.write`, or by the
    round trip that settles (`Store.prepared`)."""

    __slots__ = ("all",)

    def __init__(self) -> None:
        self.all: list[Write] = []

    def __bool__(self) -> bool:
        return bool(self.all)

    def save_results(self, results: Sequence[Result], ttl: float) -> Writes:
        """Save a batch for `ttl` seconds. A later result of the same task replaces the earlier."""
        by_queue: dict[str, list[Result]] = {}
        for result in results:
            by_queue.setdefault(result.queue, []).append(result)
        for queue, batch in by_queue.items():
            task_ids = [result.task_id for result in batch]
            self.all.append(Save(queue, ttl, task_ids, list(map(_encode, batch))))
        return self

    def free(self, space: str, keys: Sequence[str], tokens: Sequence[str], *, owner: str) -> Writes:
        """Give claims of `owner` back, each by its token; of one that is not there, nothing."""
        if keys:
            self.all.append(Free(space, owner, keys, tokens))
        return self

    def mark(
        self,
        space: str,
        keys: Sequence[str],
        tokens: Sequence[str],
        *,
        owner: str,
        ttl: float | None,
    ) -> Writes:
        """Mark keys as done, for `ttl` seconds or (None) for ever, and give the claims of `owner`
        on them back. A later mark replaces the earlier; nobody need have claimed the key."""
        if keys:
            self.all.append(Mark(space, owner, keys, tokens, ttl))
        return self
