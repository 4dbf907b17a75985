"""Many messages into one queue: from files, pipes or templates, in batches. What is bad is told
with its place.

Knows records and messages, nothing of the console.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fbcli.broker import Outgoing
from fbcli.errors import PartlyPublished, Unavailable, UsageError

if TYPE_CHECKING:
    from fbcli.arguments.records import Record

BATCH = 500
"""Messages published at once."""


class Feed:
    """Turns records into messages and publishes them in batches; knows how far it came when it ends
    early."""

    def __init__(
        self,
        make: Callable[[Mapping[str, Any]], Outgoing],
        publish: Callable[[Sequence[Outgoing]], None],
        *,
        skip: Callable[[UsageError], None] | None = None,
        done: str = "pushed",
    ) -> None:
        """`make` returns the message of a record's arguments. `skip` is told of each bad record,
        which is then left out; None: the first bad one ends it. `done` is the word for what
        `publish` does."""
        self.pushed = 0
        self.skipped = 0
        self._make = make
        self._publish = publish
        self._skip = skip
        self._done = done
        self._batch: list[Outgoing] = []

    def run(self, records: Iterable[Record]) -> None:
        """Publish all records. Those before a bad one are published. Raises `UsageError` for it,
        and what publishing raises; both say how many were pushed."""
        batch = self._batch
        for place, arguments, fault in records:
            try:
                if fault is not None:
                    raise fault
                batch.append(self._make(arguments))
            except UsageError as error:
                self._refuse(error if fault is not None else type(error)(f"{place}: {error}"))
            if len(batch) >= BATCH:
                self.flush()
        self.flush()

    def flush(self) -> None:
        """Publish what is collected."""
        if not self._batch:
            return
        batch = self._batch.copy()
        self._batch.clear()
        try:
            self._publish(batch)
        except Unavailable as error:
            if isinstance(error, PartlyPublished):
                self.pushed += len(error.accepted)
                batch = batch[len(error.accepted) :]
            doubt = f"; of the next {len(batch):,} some may have been" if len(batch) > 1 else ""
            raise Unavailable(f"{self._ended(error)}{doubt}.") from error
        self.pushed += len(batch)

    def _refuse(self, error: UsageError) -> None:
        if self._skip is not None:
            self.skipped += 1
            self._skip(error)
            return
        self.flush()
        raise type(error)(f"{self._ended(error)}.") from None

    def _ended(self, error: Exception) -> str:
        messages = "message was" if self.pushed == 1 else "messages were"
        return f"{str(error).rstrip('.')}. {self.pushed:,} {messages} {self._done} before that"
