"""Dead letters of a queue: what failed for good, kept in `<queue>.dead` with its details
(`extra.dead`), until somebody replays, edits or clears it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from fbcli.broker import DEAD_SUFFIX, EVERYTHING, Delivery, Outgoing
from fbcli.errors import TaskNotFound
from fbcli.message import check_limits, decode, encode, replace_extra
from fbcli.queues.envelope import Envelope, number
from fbcli.queues.queue import Done, Queue, missing

COMPARED = 1000
"""A task id that has no letter is compared with those of so many of the newest, for a hint."""


class Letter(Envelope):
    """One dead letter."""

    @property
    def details(self) -> dict[str, Any]:
        """Why it is here: reason, error_type, traceback, attempts, deliveries, queue, host, time.
        Any may be missing."""
        details = self.extra.get("dead")
        return details if isinstance(details, dict) else {}

    @property
    def died(self) -> float | None:
        """Unix time of its death."""
        return number(self.details.get("time"))

    @property
    def attempts(self) -> int | None:
        """How often it was tried."""
        attempts = number(self.details.get("attempts"))
        return None if attempts is None else int(attempts)

    @property
    def reason(self) -> str:
        """The first line of the reason."""
        return self.detail("reason").partition("\n")[0]

    def detail(self, key: str) -> str:
        """Return what the details say under `key`, as text."""
        value = self.details.get(key)
        return "" if value is None else str(value)

    def revived(self, now: float) -> bytes:
        """Return the body as good as new: published `now`, with no details, no past attempts, no
        delay.

        What never was a message goes back as it came, where its bytes are still known.
        """
        raw = self.arguments.get("raw")
        if len(self.arguments) == 1 and isinstance(raw, str) and self.details:
            original = Envelope(raw.encode())
            if original.fault and original.fault == self.detail("reason"):
                return original.body
        changes = {"dead": None, "attempts": None, "delay_until": None, "publish_time": now}
        return self.body if self.fault else replace_extra(self.body, changes)


class DeadLetters:
    """The dead letters of one queue."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self._line = queue.dead

    @classmethod
    def of(cls, queue: Queue) -> DeadLetters:
        """The dead letters of `queue`; its own name and that of its dead letters (`orders.dead`)
        lead to the same."""
        if queue.name.endswith(DEAD_SUFFIX):
            queue = Queue(
                queue.name.removesuffix(DEAD_SUFFIX), queue.broker, queue.open_store, queue.clock
            )
        return cls(queue)

    def count(self, task_ids: Collection[str] | None = None) -> int | None:
        """Count them, or those of some tasks; None: the broker cannot tell. Raises `TaskNotFound`
        when no such task has one."""
        if task_ids is not None:
            known = deque[str](maxlen=COMPARED)
            found = 0
            for letter in self.browse():
                known.append(letter.task_id)
                found += letter.task_id in task_ids
            if not found:
                raise self._missing(task_ids, known)
            return found
        size = self._line.size()
        return None if size is None else size.ready

    def held(self) -> int:
        """Count those that another `fb dead` has in hand, or one that was killed less than a lease
        ago."""
        size = self._line.size()
        if size is None or not size.in_flight:
            return 0
        self._line.reclaim()
        size = self._line.size()
        return (size and size.in_flight) or 0

    def letters(self, n: int) -> list[Letter]:
        """Return up to `n`, the oldest first."""
        return [Letter(envelope.body) for envelope in self._line.peek(n)]

    def browse(self) -> Iterator[Letter]:
        """Yield all, the oldest first; only some of them are in memory at a time."""
        for envelope in self._line.browse():
            yield Letter(envelope.body)

    def find(self, task_id: str) -> Letter:
        """Return the letter of a task. Raises `TaskNotFound`."""
        known = deque[str](maxlen=COMPARED)
        for letter in self.browse():
            if letter.task_id == task_id:
                return letter
            known.append(letter.task_id)
        raise self._missing([task_id], known)

    def _missing(self, task_ids: Collection[str], known: Iterable[str] = ()) -> TaskNotFound:
        name = self.queue.name
        return missing(task_ids, known, f"{name} has no dead letter", f"fb dead ls {name}")

    def replay(
        self,
        task_ids: Collection[str] | None,
        limit: int = EVERYTHING,
        progress: Callable[[int], None] = lambda count: None,
    ) -> Done:
        """Move letters back to the queue, as good as new. `task_ids` None: all that are there now.

        Each batch is published before it is removed here: killed in between, a letter may be
        replayed twice, but is never lost. `progress` is told the size of each batch.
        """
        there = self.count()
        if there is not None:
            limit = min(
                limit, there
            )  # a consumer may bury them again meanwhile; those are for the next time

        def publish(chosen: list[Delivery]) -> None:
            now = self.queue.clock.now()
            self.queue.publish(
                [
                    self._outgoing(Letter(delivery.body).revived(now), delivery)
                    for delivery in chosen
                ]
            )
            progress(len(chosen))

        return self._take(task_ids, publish, limit)

    def rewrite(self, letter: Letter, body: bytes, *, replay: bool) -> Letter:
        """Put `body` in the place of a letter, or (`replay`) into the queue, as good as new; return
        what is there now.

        Raises `TaskNotFound` when the letter is gone meanwhile.
        """

        new = Letter(Letter(body).revived(self.queue.clock.now()) if replay else body)

        def publish(chosen: list[Delivery]) -> None:
            if replay:
                self.queue.publish([self._outgoing(new.body, chosen[0])])
            else:
                self._line.publish([Outgoing(new.body, chosen[0].priority)])

        if not self._line.take(lambda candidate: candidate == letter.body, publish, limit=1):
            raise self._missing([letter.task_id])
        return new

    def clear(self, task_ids: Collection[str] | None) -> Done:
        """Remove letters for good. `task_ids` None: all."""
        if task_ids is None:
            return Done(self._line.clear())
        return self._take(task_ids, lambda chosen: None)

    def _take(
        self,
        task_ids: Collection[str] | None,
        handle: Callable[[list[Delivery]], None],
        limit: int = EVERYTHING,
    ) -> Done:
        if task_ids is None:
            return Done(self._line.take(lambda body: True, handle, limit))
        found: set[str] = set()

        def handle_and_note(chosen: list[Delivery]) -> None:
            handle(chosen)
            found.update(Envelope(delivery.body).task_id for delivery in chosen)

        taken = self._line.take(
            lambda body: Envelope(body).task_id in task_ids, handle_and_note, limit
        )
        if not taken:
            raise self._missing(task_ids)
        return Done.of(taken, task_ids, found)

    def _outgoing(self, body: bytes, delivery: Delivery) -> Outgoing:
        """Return a revived message with the priority that it asks for."""
        priority = Envelope(body).extra.get("priority", delivery.priority)
        fits = (
            self.queue.broker.capabilities.priority and type(priority) is int and 0 <= priority <= 9
        )
        return Outgoing(body, priority if fits else 0)


def changed(letter: Letter, arguments: Mapping[str, Any], removed: Collection[str]) -> bytes:
    """Return the body of `letter` with some arguments set and some removed. Raises `BadMessage`."""
    merged = {
        name: value
        for name, value in {**letter.arguments, **arguments}.items()
        if name not in removed
    }
    return encode(merged, letter.extra)


def editable(letter: Letter) -> bytes:
    """Return what a person edits, as indented JSON: the message without its details."""
    return msgspec.json.format(replace_extra(letter.body, {"dead": None}), indent=2)


def edited(letter: Letter, text: bytes) -> bytes:
    """Return the body that a person has made of `editable(letter)`, with its details again. Raises
    `BadMessage`."""
    decode(text)
    check_limits(text)
    return replace_extra(text, {"dead": letter.details or None})
