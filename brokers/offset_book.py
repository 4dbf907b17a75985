"""What a consumer of a log has settled, where the server knows but one offset of each partition:
Kafka's committed offset, Pulsar's cumulative acknowledgement. Reads and writes nothing itself.

Tasks end in any order, and only up to the lowest that has not ended can be committed. What is
settled above that travels in the metadata of the commit, as far as there is room, so that whoever
has the partition next does not run it again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from .offset_metadata import MOST_METADATA, Run, decode, encode

P = TypeVar("P", bound=Hashable)
"""What a partition is called; with Kafka its topic and number."""

Handle = tuple[P, int, int]
"""A message in hand: its partition, the epoch in which it was read, its offset."""


@dataclass(frozen=True)
class Commit(Generic[P]):
    """What the server is to be told of a partition."""

    partition: P
    epoch: int
    offset: int
    """The next to be read: all below it is settled."""
    metadata: str
    """What is settled above it; ASCII."""
    settled: int | None
    """The highest that was read and is settled with all below it; None: there is none yet."""


class OffsetBook(Generic[P]):
    """All partitions of one consumer. Thread-safe.

    What was read belongs to an epoch. Another one begins when the partition is assigned again, and
    when the log is read again from further back: what is delivered again by that, and was in hand
    before, is settled too late.
    """

    def __init__(self, most_metadata: int = MOST_METADATA) -> None:
        self._most_metadata = most_metadata
        self._lock = threading.Lock()
        self._epochs = 0
        self._assigned: dict[P, _Assignment] = {}

    def assign(self, partition: P, offset: int | None, metadata: str = "") -> None:
        """Begin with a partition at the offset that was committed, with what was committed beside
        it; None: the group has no offset, and the server decides where to begin."""
        with self._lock:
            self._assigned[partition] = _Assignment(self._new_epoch(), offset, metadata)

    def drop(self, partitions: Iterable[P]) -> None:
        """These were taken away. What the server shall still learn of them, `due` tells before; of
        those that were lost it would refuse it."""
        with self._lock:
            for partition in partitions:
                self._assigned.pop(partition, None)

    def read(self, partition: P, offsets: Sequence[int]) -> list[Handle[P] | None]:
        """Note what was read, in that order. Return a handle for each that is to be delivered; None
        for those that were settled before the partition was assigned, and for all of a partition
        that is not.

        Offsets that are passed over count as settled: the log may lack them (compacted, or not of
        messages). One that is not above the last one means that the log was read again from there
        (cut off by its server, or sought by hand): all from there on is delivered again.
        """
        with self._lock:
            assignment = self._assigned.get(partition)
            if assignment is None:
                return [None] * len(offsets)
            if assignment.add_all(offsets):
                return [(partition, assignment.epoch, offset) for offset in offsets]
            handles: list[Handle[P] | None] = []
            for offset in offsets:
                if offset <= assignment.last:
                    assignment.rewind(offset, self._new_epoch())
                wanted = assignment.add(offset)
                handles.append((partition, assignment.epoch, offset) if wanted else None)
            return handles

    def settle(self, handles: Iterable[Handle[P]]) -> list[Handle[P]]:
        """Note what is settled, in any order, and as often as one likes; return what comes too
        late, being of an epoch that is over."""
        late: list[Handle[P]] = []
        settled: dict[P, list[int]] = {}
        with self._lock:
            for handle in handles:
                partition, epoch, offset = handle
                assignment = self._assigned.get(partition)
                if assignment is None or not assignment.has(epoch, offset):
                    late.append(handle)
                else:
                    settled.setdefault(partition, []).append(offset)
            for partition, offsets in settled.items():
                self._assigned[partition].settle(offsets)
        return late

    def due(self, partitions: Iterable[P] | None = None) -> list[Commit[P]]:
        """Return what the server does not know yet, of these partitions (None: of all). The same
        again until it is `confirmed`, or something newer takes its place."""
        commits = []
        with self._lock:
            for partition in list(self._assigned) if partitions is None else partitions:
                assignment = self._assigned.get(partition)
                state = None if assignment is None else assignment.state(self._most_metadata)
                if assignment is not None and state is not None and state != assignment.told:
                    commits.append(
                        Commit(partition, assignment.epoch, *state, assignment.all_settled)
                    )
        return commits

    def confirmed(self, commits: Iterable[Commit[P]]) -> None:
        """The server knows these now."""
        with self._lock:
            for commit in commits:
                assignment = self._assigned.get(commit.partition)
                if assignment is not None and assignment.epoch == commit.epoch:
                    assignment.told = (commit.offset, commit.metadata)

    def span(self, partition: P) -> int:
        """Count what was read from the lowest message on that is not settled, with the settled ones
        above it: how much the slowest task holds up. 0 for one that is not assigned."""
        with self._lock:
            assignment = self._assigned.get(partition)
            return 0 if assignment is None else len(assignment.held)

    def _new_epoch(self) -> int:
        self._epochs += 1
        return self._epochs


class _Assignment:
    """One epoch of one partition. Used holding the book's lock."""

    __slots__ = (
        *("_ahead", "_changed", "_earlier", "_next", "_open", "_state"),
        *("all_settled", "epoch", "held", "last", "told"),
    )

    def __init__(self, epoch: int, offset: int | None, metadata: str) -> None:
        self.epoch = epoch
        self._earlier: dict[int, int] = {}
        """Epochs before a `rewind`, and below which offset they still hold."""
        self.told = None if offset is None else (offset, metadata)
        """Offset and metadata that the server knows."""
        self.last = -1 if offset is None else offset - 1
        """The highest that was read."""
        self.held: deque[int] = deque()
        """What was read, from the lowest that is not settled on."""
        self._open: set[int] = set()
        """What of that is not settled."""
        self.all_settled: int | None = None
        """The highest that was read and is settled with all below it."""
        self._next = offset
        """What to commit when nothing is held."""
        self._ahead = [] if offset is None else decode(metadata, offset)
        """What is settled of that which was not read yet."""
        self._state = self.told
        self._changed = False

    def has(self, epoch: int, offset: int) -> bool:
        """Whether this is not over for a message that was read in that epoch."""
        return epoch == self.epoch or offset < self._earlier.get(epoch, 0)

    def rewind(self, offset: int, epoch: int) -> None:
        """The log is read again from here: what was in hand from here on is forgotten."""
        while self.held and self.held[-1] >= offset:
            self._open.discard(self.held.pop())
        earlier = {**self._earlier, self.epoch: offset} if self.held else {}
        self._earlier = {each: min(below, offset) for each, below in earlier.items()}
        self.epoch = epoch
        self.last = offset - 1
        self._next = offset
        self._ahead = []
        if self.all_settled is not None and self.all_settled >= offset:
            self.all_settled = None
        self._changed = True

    def add_all(self, offsets: Sequence[int]) -> bool:
        """Add these as one, if they rise and nothing of them can have been settled before; else
        return False."""
        if self._ahead or not all(a < b for a, b in pairwise((self.last, *offsets))):
            return False
        if offsets:
            self.held.extend(offsets)
            self._open.update(offsets)
            self.last = offsets[-1]
            self._changed = True
        return True

    def add(self, offset: int) -> bool:
        """Add one above the last; return whether it is not settled."""
        self.last = offset
        self._changed = True
        while self._ahead and self._ahead[0][1] <= offset:
            del self._ahead[0]
        self.held.append(offset)
        if self._ahead and self._ahead[0][0] <= offset:
            self._advance()
            return False
        self._open.add(offset)
        return True

    def settle(self, offsets: Iterable[int]) -> None:
        self._open.difference_update(offsets)
        self._changed = True
        self._advance()

    def _advance(self) -> None:
        held, still_open = self.held, self._open
        while held and held[0] not in still_open:
            self.all_settled = held.popleft()
            self._next = self.all_settled + 1

    def state(self, most_metadata: int) -> tuple[int, str] | None:
        """Return offset and metadata as they are now; None: nobody knows the offset yet."""
        if self._changed:
            self._changed = False
            offset = self.held[0] if self.held else self._next
            if offset is not None:
                if not self.held and self._ahead and self._ahead[0][0] <= offset:
                    offset = max(offset, self._ahead[0][1])
                self._state = offset, encode(self._runs(offset), offset, most_metadata)
        return self._state

    def _runs(self, above: int) -> Iterator[Run]:
        """Yield what is settled above the offset to commit, rising. What lies between two settled
        ones that were read one after the other, the log lacks: it belongs to the run."""
        start = end = above
        for offset in self.held:
            if offset in self._open:
                if start < end:
                    yield start, end
                start = end = offset + 1
            else:
                start, end = (start if start < end else offset), offset + 1
        for first, beyond in self._ahead:
            first = max(first, above)
            if start < end and first > end:
                yield start, end
                start = end = first
            if first < beyond:
                start, end = (start if start < end else first), beyond
        if start < end:
            yield start, end
