"""Stores: state shared by all processes of a context, beside the broker. The verbs of the domain,
written once above the primitives of a backend (`fbcli.stores.facets`).

Times are Unix seconds of the store's own clock where it has one. Every verb raises `Unavailable`
when the store cannot be reached, and tries to connect anew at the next call. Thread-safe.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fbcli.stores.facets import BUSY, DONE, GRANTED, Backend, Notice, Tokens, Waiting
from fbcli.stores.records import (
    ConsumerRecord,
    Counts,
    Limits,
    Parked,
    Result,
    ResultState,
    Scope,
)
from fbcli.stores.writes import Writes

if TYPE_CHECKING:
    from fbcli.broker import Broker

__all__ = [
    "BUSY",
    "DONE",
    "GRANTED",
    "ConsumerRecord",
    "Counts",
    "Limits",
    "News",
    "Parked",
    "Result",
    "ResultState",
    "Scope",
    "Store",
    "Tokens",
    "Writes",
]

PAUSES, LIMITS, CANCELS, CONSUMERS = "pauses", "limits", "cancels", "consumers"
COUNTS = "counts"
KINDS = (PAUSES, LIMITS, CANCELS, CONSUMERS, COUNTS)
"""Kinds of notices."""

_encode = msgspec.json.Encoder().encode
_decode_limits = msgspec.json.Decoder(Limits).decode
_decode_result = msgspec.json.Decoder(Result).decode
_decode_record = msgspec.json.Decoder(ConsumerRecord).decode
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, bytes]).decode


class News(NamedTuple):
    """All that a consumer asks the store about once a second."""

    pauses: Mapping[str, float | None]
    limits: Mapping[str, Limits]
    cancels: Collection[str]


class Store:
    """State shared beside the broker. Constructing one does not connect."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.url = backend.url
        self.reach = backend.reach
        """Who can share it: `process`, `host` or `network`."""

    # pauses
    def pause(self, queue: str, seconds: float | None = None) -> None:
        """Stop all consumers of `queue` from taking more, for `seconds` or (None) until
        `resume`."""
        self.backend.notices.put(PAUSES, {queue: b""}, seconds)

    def resume(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        return self.backend.notices.remove(PAUSES, [queue]) > 0

    def pauses(self) -> Mapping[str, float | None]:
        """Return the paused queues, each with the seconds left (None: until resumed). Ended pauses
        are not among them."""
        return _pauses(*self.backend.notices.read([PAUSES]))

    # limits of live consumers
    def limit(self, queue: str, limits: Limits) -> None:
        """Have the consumers of `queue` keep to `limits` until `unlimit`; replaces the earlier ones
        of the queue."""
        self.backend.notices.put(LIMITS, {queue: _encode(limits)}, None)

    def unlimit(self, queue: str) -> bool:
        """Let the consumers of `queue` go back to what they were started with; False when nothing
        was set."""
        return self.backend.notices.remove(LIMITS, [queue]) > 0

    def limits(self) -> Mapping[str, Limits]:
        """Return the queues with limits."""
        return _limits(*self.backend.notices.read([LIMITS]))

    # cancelled tasks
    def request_cancel(self, task_ids: Sequence[str], ttl: float) -> None:
        """Ask that these tasks neither start nor go on; forgotten after `ttl` seconds."""
        if task_ids:
            self.backend.notices.put(CANCELS, dict.fromkeys(task_ids, b""), ttl)

    def cancels(self) -> Collection[str]:
        """Return the ids of the tasks to be cancelled."""
        return frozenset(*self.backend.notices.read([CANCELS]))

    def end_cancels(self, task_ids: Sequence[str]) -> None:
        """Forget the requests for these tasks: they have been cancelled, or have ended."""
        if task_ids:
            self.backend.notices.remove(CANCELS, task_ids)

    def news(self) -> News:
        """Return what may have changed, in one round trip."""
        pauses, limits, cancels = self.backend.notices.read([PAUSES, LIMITS, CANCELS])
        return News(_pauses(pauses), _limits(limits), frozenset(cancels))

    # consumers
    def beat(self, records: Sequence[ConsumerRecord], ttl: float) -> None:
        """Say that these consumers live; each is forgotten after `ttl` seconds without another
        beat."""
        if records:
            bodies = {record.consumer_id: _encode(record) for record in records}
            self.backend.notices.put(CONSUMERS, bodies, ttl)

    def retire(self, consumer_ids: Sequence[str]) -> None:
        """Forget consumers now."""
        if consumer_ids:
            self.backend.notices.remove(CONSUMERS, consumer_ids)

    def consumers(self) -> list[ConsumerRecord]:
        """Return the consumers alive, by id."""
        (found,) = self.backend.notices.read([CONSUMERS])
        return [
            msgspec.structs.replace(_decode_record(notice.body), beat=notice.at)
            for _, notice in sorted(found.items())
        ]

    # one rate shared by many
    def take_tokens(
        self, key: str, qps: float, count: int, *, ahead: float, slack: float
    ) -> Tokens:
        """Take up to `count` of the next free slots of the grid `key`, on which `qps` slots a
        second lie evenly.

        A slot that is free and not taken within `slack` seconds after its time is lost; the next
        one is due at once then. One later than `ahead` seconds from now is not handed out. The grid
        goes by the store's clock, and is the same for all who use the key; when `qps` changes, it
        goes on from the last slot taken. Forgotten when it has long been idle.
        """
        return self.backend.rates.take(key, qps, count, ahead=ahead, slack=slack)

    # claims on keys: who works on what, and what is done
    def claim(
        self,
        space: str,
        keys: Sequence[str],
        tokens: Sequence[str],
        *,
        owner: str,
        lease: float,
        limit: int = 1,
        repeat: bool = True,
    ) -> Sequence[int]:
        """Claim each key for one call, in order: `GRANTED` while fewer than `limit` claims of all
        owners are on it, `BUSY` when not, `DONE` when it is marked. A call is known by its token,
        which is its own among those of `owner`: asked again, it is granted what it has (without
        `repeat`, it is busy like any other). All claims of an owner in a space live until `lease`
        seconds after its last `claim` or `keep_claims` there."""
        if not keys:
            return b""
        return self.backend.claims.claim(
            space, keys, tokens, owner=owner, lease=lease, limit=limit, repeat=repeat
        )

    def keep_claims(self, spaces: Sequence[str], owner: str, lease: float) -> None:
        """Let all claims of `owner` in these spaces live for `lease` more seconds. What has ended
        stays so."""
        self.keep_all_claims([(space, owner) for space in spaces], lease)

    def keep_all_claims(self, held: Sequence[tuple[str, str]], lease: float) -> None:
        """As `keep_claims`, for several owners in one round trip: pairs of a space and an owner."""
        if held:
            self.backend.claims.keep(held, lease)

    def drop_claims(self, spaces: Sequence[str], owner: str) -> None:
        """Give all claims of `owner` in these spaces back."""
        if spaces:
            self.backend.claims.drop(spaces, owner)

    def unmark(self, space: str, keys: Sequence[str] | None = None) -> int:
        """Forget marks (None: all of the space); return how many there were."""
        return self.backend.claims.unmark(space, keys) if keys or keys is None else 0

    # results
    def save_results(self, results: Sequence[Result], ttl: float) -> None:
        """As `Writes.save_results`, at once; confirmed when it returns."""
        self.write(Writes().save_results(results, ttl))

    def result(self, task_id: str) -> Result | None:
        """Return a task's result, or None when there is none (yet, or any more)."""
        return self.results_of([task_id]).get(task_id)

    def results_of(self, task_ids: Sequence[str]) -> Mapping[str, Result]:
        """Return the results that are there, by task id, in one round trip."""
        if not task_ids:
            return {}
        found = self.backend.results.get(task_ids)
        return {task_id: _decode_result(body) for task_id, body in found.items()}

    def wait_result(self, task_id: str, timeout: float) -> Result | None:
        """Return a task's result as soon as it is there; None after `timeout` seconds."""
        body = self.backend.results.wait(task_id, timeout)
        return None if body is None else _decode_result(body)

    def results(self, queue: str | None = None, limit: int = 100) -> list[Result]:
        """Return the newest results, newest first, of one queue or (None) of all."""
        found = self.backend.results.newest(queue, limit) if limit > 0 else []
        return [_decode_result(body) for body in found]

    # delayed messages of brokers that cannot delay
    def park(self, messages: Sequence[Parked]) -> None:
        """Keep messages until they are due; confirmed when it returns."""
        lines: dict[str, list[Waiting]] = {}
        for message in messages:
            waiting = Waiting(
                message.parked_id, message.due, _pack((message.priority, message.body))
            )
            lines.setdefault(_line(message.queue, message.scheme), []).append(waiting)
        for line, waits in lines.items():
            self.backend.parked.park(line, waits)

    def due(self, queue: str, scheme: str, limit: int, lease: float) -> list[Parked]:
        """Hand out up to `limit` messages whose time has come, soonest first. Each is handed to
        nobody else for `lease` seconds; whoever has published it says `unpark`."""
        if limit <= 0:
            return []
        return _parked(queue, scheme, self.backend.parked.due(_line(queue, scheme), limit, lease))

    def parked(self, queue: str, scheme: str, limit: int) -> list[Parked]:
        """Return up to `limit` waiting messages, soonest first, taking none."""
        if limit <= 0:
            return []
        return _parked(queue, scheme, self.backend.parked.waiting(_line(queue, scheme), limit))

    def parked_count(self, queue: str, scheme: str) -> int:
        """Count the waiting messages of one queue."""
        return self.backend.parked.count(_line(queue, scheme))

    def parked_queues(self, scheme: str) -> Collection[str]:
        """Return the queues that hold waiting messages."""
        start = _line("", scheme)
        lines = self.backend.parked.lines()
        return [line.removeprefix(start) for line in lines if line.startswith(start)]

    def unpark(self, queue: str, scheme: str, parked_ids: Sequence[str]) -> int:
        """Remove messages (published, or cancelled); return how many were there."""
        return self.backend.parked.unpark(_line(queue, scheme), parked_ids) if parked_ids else 0

    # counters
    def count(self, changes: Mapping[str, int], ttl: float) -> list[int]:
        """Add to counters by name, and return what each is then. One that is not there is 0; each
        is forgotten `ttl` seconds after its last change.

        Note: read, then written, in two steps: for counters that one process at a time changes.
        """
        (found,) = self.backend.notices.read([COUNTS])
        counts = {
            name: (int(found[name].body) if name in found else 0) + change
            for name, change in changes.items()
        }
        if counts:
            bodies = {name: b"%d" % count for name, count in counts.items()}
            self.backend.notices.put(COUNTS, bodies, ttl)
        return list(counts.values())

    def forget_counts(self, names: Collection[str]) -> None:
        """Forget these counters."""
        if names:
            self.backend.notices.remove(COUNTS, names)

    # all of it
    def write(self, writes: Writes) -> None:
        """Carry out writes in as few round trips as can be; confirmed when it returns."""
        if writes:
            self.backend.write(writes.all)

    def shares(self, broker: Broker) -> bool:
        """Whether the store lies where `broker` does, so that what is `prepared` can be written by
        the round trip that settles (`Inbox.settle(…, also=…)`)."""
        return self.backend.shares(broker)

    def prepared(self, writes: Writes) -> Any:
        """Return writes as an inbox of a broker that is shared takes them along; None: there are
        none."""
        return self.backend.prepared(writes.all) if writes else None

    def sweep(self, spaces: Sequence[str], most: int = 1000) -> bool:
        """Remove some of what has ended: results, notices, claims, and marks (of `spaces` at
        least). True when there may be more."""
        return self.backend.sweep(KINDS, spaces, most) >= most

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self.backend.close()


def _pauses(notices: Mapping[str, Notice]) -> dict[str, float | None]:
    return {queue: notice.left for queue, notice in notices.items()}


def _limits(notices: Mapping[str, Notice]) -> dict[str, Limits]:
    return {queue: _decode_limits(notice.body) for queue, notice in notices.items()}


def _line(queue: str, scheme: str) -> str:
    return f"{scheme}:{queue}"


def _parked(queue: str, scheme: str, waiting: Sequence[Waiting]) -> list[Parked]:
    return [
        Parked(each.name, queue, scheme, each.due, body, priority)
        for each in waiting
        for priority, body in [_unpack(each.body)]
    ]
