"""A store in Redis: one server, sentinels or a cluster, beside the queues of the same server.

Every key begins with `fb:`, and either expires or belongs to whoever removes it (`PERMANENT`).
Whatever changes more than one thing is a script, all keys of which are in one slot of a cluster,
and goes by the server's clock.

    fb:pauses                        hash  queue -> when it ends ("" never)
    fb:result:<task_id>              list  of one: the result (a list, so that it can be waited for
                                           without polling)
    fb:recent, fb:recent:<queue>     list  task_id, newest first: an index; some of them may be gone
    fb:workers:{all}:body            hash  worker_id -> last beat and worker
    fb:workers:{all}:until           zset  worker_id -> until when it counts as alive
    fb:parked:{<scheme>:<queue>}:body   hash  parked_id -> message
    fb:parked:{<scheme>:<queue>}:due    zset  parked_id -> when to hand it out: its due time, then
                                              the end of its lease
    fb:parked:queues:<scheme>        set   queues where messages wait
    fb:limits                        hash  queue -> limits
    fb:cancels                       zset  task_id -> until when it is to be cancelled
    fb:tokens:<key>                  text  a grid: time of the last slot taken, and when that was
    fb:claims:…, fb:marks:…          see `fbcli.stores.redis.claims`
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import msgspec

from fbcli.clients.redis import connect, translating
from fbcli.clock import SYSTEM, Clock
from fbcli.stores.base import Claim, ConsumerRecord, Limits, News, Parked, Result, Store, Tokens
from fbcli.stores.redis import claims, scripts

PERMANENT = ("fb:pauses", "fb:limits", "fb:marks:", "fb:parked:")
"""Beginnings of the keys that may be without expiry: a pause without end, limits, marks for ever,
and messages that wait for their time."""

BLOCK_SECONDS = 1.0
"""Longest single wait on the server: well below `ANSWER_TIMEOUT`, since an answer counts as late
after that."""

_PAUSES, _LIMITS, _CANCELS, _RESULT, _RECENT = (
    "fb:pauses",
    "fb:limits",
    "fb:cancels",
    "fb:result:",
    "fb:recent",
)
_CONSUMERS = ("fb:consumers:{all}:body", "fb:consumers:{all}:until")

_encode_result = msgspec.json.Encoder().encode
_decode_limits = msgspec.json.Decoder(Limits).decode
_decode_result = msgspec.json.Decoder(Result).decode
_decode_record = msgspec.json.Decoder(ConsumerRecord).decode
_decode_parked = msgspec.msgpack.Decoder(Parked).decode

_Call: TypeAlias = "tuple[str, Sequence[str], Sequence[Any]]"
"""A script, its keys and its arguments."""


class RedisStore(Store):
    """`redis://`, `rediss://`, `redis+list://`, `redis+sentinel://`, `redis+cluster://`: see
    `fbcli.clients.redis`."""

    reach = "network"

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        super().__init__(url)
        self._clock = clock
        self._translating = translating(url)
        self._is_cluster = url.startswith("redis+cluster://")
        self._connecting = threading.Lock()
        self._connected: Any = None

    # pauses
    def pause(self, queue: str, seconds: float | None = None) -> None:
        self._run(scripts.PAUSE, [_PAUSES], [queue, "" if seconds is None else seconds])

    def resume(self, queue: str) -> bool:
        return bool(self._run(scripts.RESUME, [_PAUSES], [queue]))

    def pauses(self) -> Mapping[str, float | None]:
        return _pauses(self._run(scripts.PAUSED, [_PAUSES]))

    # limits
    def limit(self, queue: str, limits: Limits) -> None:
        with self._translating:
            self._client().hset(_LIMITS, queue, msgspec.json.encode(limits))

    def unlimit(self, queue: str) -> bool:
        with self._translating:
            return bool(self._client().hdel(_LIMITS, queue))

    def limits(self) -> Mapping[str, Limits]:
        return _limits(self._run(scripts.LIMITS, [_LIMITS]))

    # cancelled tasks
    def request_cancel(self, task_ids: Sequence[str], ttl: float) -> None:
        if task_ids:
            self._run(scripts.CANCEL, [_CANCELS], [ttl, *task_ids])

    def cancels(self) -> Collection[str]:
        return _cancels(self._run(scripts.CANCELS, [_CANCELS]))

    def end_cancels(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            with self._translating:
                self._client().zrem(_CANCELS, *task_ids)

    def news(self) -> News:
        pauses, limits, cancels = self._run_all(
            [
                (scripts.PAUSED, [_PAUSES], ()),
                (scripts.LIMITS, [_LIMITS], ()),
                (scripts.CANCELS, [_CANCELS], ()),
            ]
        )
        return News(_pauses(pauses), _limits(limits), _cancels(cancels))

    # shared rates
    def take_tokens(
        self, key: str, qps: float, count: int, *, ahead: float, slack: float
    ) -> Tokens:
        taken, wait = self._run(scripts.TAKE, [f"fb:tokens:{key}"], [qps, count, ahead, slack])
        return Tokens(taken, float(wait))

    # claims
    def claim(
        self, space: str, keys: Sequence[str], *, owner: str, lease: float, limit: int = 1
    ) -> list[Claim]:
        answers = self._run_in_parts(
            claims.CLAIM, claims.keys_of(space, owner), [owner, lease, limit], keys
        )
        return [_claim(answer) for part in answers for answer in part]

    def keep_claims(self, spaces: Sequence[str], owner: str, lease: float) -> None:
        self._run_all(
            [(claims.KEEP, claims.keys_of(space, owner), [owner, lease]) for space in spaces]
        )

    def free(self, space: str, keys: Sequence[str], *, owner: str) -> None:
        self._run_in_parts(claims.FREE, claims.keys_of(space, owner), [owner], keys)

    def drop_claims(self, spaces: Sequence[str], owner: str) -> None:
        self._run_all([(claims.DROP, claims.keys_of(space, owner), [owner]) for space in spaces])

    def mark(self, space: str, keys: Sequence[str], *, owner: str, ttl: float | None) -> None:
        self._run_in_parts(
            claims.MARK, claims.keys_of(space, owner), [owner, "" if ttl is None else ttl], keys
        )

    def unmark(self, space: str, keys: Sequence[str] | None = None) -> int:
        if keys is not None and not keys:
            return 0
        return int(self._run(claims.UNMARK, [claims.marks_of(space)], keys or ()))

    # results
    def save_results(self, results: Sequence[Result], ttl: float) -> None:
        keep = max(1, math.ceil(ttl * 1000))
        calls: list[_Call] = []
        for queue, batch in groupby(results, lambda result: result.queue):
            saved = {result.task_id: _encode_result(result) for result in batch}
            indexes = [_RECENT, _index_key(queue)]
            for task_ids in _parts([*saved], scripts.PUSHED_AT_ONCE):
                bodies = [saved[task_id] for task_id in task_ids]
                keys = [_RESULT + task_id for task_id in task_ids]
                if (
                    self._is_cluster
                ):  # each result in a slot of its own, and none in an index before it is there
                    self._run_all(
                        [
                            (scripts.PUT, [key], [keep, body])
                            for key, body in zip(keys, bodies, strict=True)
                        ]
                    )
                    calls += [(scripts.NOTE, [index], [keep, *task_ids]) for index in indexes]
                else:
                    calls.append(
                        (scripts.SAVE, [*indexes, *keys], [keep, len(_RESULT.encode()), *bodies])
                    )
        if len(calls) == 1:
            self._run(*calls[0])
        elif calls:
            self._run_all(calls)

    def result(self, task_id: str) -> Result | None:
        with self._translating:
            body = self._client().lindex(_RESULT + task_id, 0)
        return None if body is None else _decode_result(body)

    def results_of(self, task_ids: Sequence[str]) -> Mapping[str, Result]:
        found = zip(task_ids, self._bodies(task_ids), strict=True)
        return {task_id: _decode_result(body) for task_id, body in found if body is not None}

    def wait_result(self, task_id: str, timeout: float) -> Result | None:
        """Note: BLMOVE from a list of one to itself blocks until it is there and leaves it as it
        is, expiry and all."""
        key, deadline = _RESULT + task_id, self._clock.monotonic() + timeout
        while (left := deadline - self._clock.monotonic()) > 0:
            seconds = max(
                0.01, min(left, BLOCK_SECONDS)
            )  # one below 1 ms may be rounded to 0, which is for ever
            with self._translating:
                body = self._client().blmove(key, key, seconds, "LEFT", "LEFT")
            if body is not None:
                return _decode_result(body)
        return self.result(task_id)

    def results(self, queue: str | None = None, limit: int = 100) -> list[Result]:
        index = _RECENT if queue is None else _index_key(queue)
        found: dict[str, Result] = {}
        start, step = 0, limit
        while len(found) < limit:
            with self._translating:
                task_ids = [
                    entry.decode()
                    for entry in self._client().lrange(index, start, start + step - 1)
                ]
            for result in self.results_of(
                [task_id for task_id in task_ids if task_id not in found]
            ).values():
                if queue in (None, result.queue):
                    found[result.task_id] = result
            if len(task_ids) < step:
                break
            start, step = start + step, max(100, 2 * step)  # those that are gone may be many
        return list(found.values())[: max(0, limit)]

    # consumers
    def beat(self, records: Sequence[ConsumerRecord], ttl: float) -> None:
        if records:
            self._run(scripts.BEAT, _CONSUMERS, [ttl, *_flat(records)])

    def retire(self, consumer_ids: Sequence[str]) -> None:
        if consumer_ids:
            self._run(scripts.REMOVE, _CONSUMERS, consumer_ids)

    def consumers(self) -> list[ConsumerRecord]:
        records = []
        for entry in filter(None, self._run(scripts.ALIVE, _CONSUMERS)):
            beat, _, body = entry.partition(b" ")
            records.append(msgspec.structs.replace(_decode_record(body), beat=float(beat)))
        return sorted(records, key=lambda record: record.consumer_id)

    # delayed messages
    def park(self, messages: Sequence[Parked]) -> None:
        lines: dict[tuple[str, str], list[Any]] = {}
        for message in messages:
            line = lines.setdefault((message.queue, message.scheme), [])
            line += [message.parked_id, message.due, msgspec.msgpack.encode(message)]
        known: list[_Call] = [
            (scripts.KNOW, [_lines_key(scheme)], [queue]) for queue, scheme in lines
        ]
        self._run_all(
            known
            + [(scripts.PARK, _parked_keys(*line), arguments) for line, arguments in lines.items()]
        )

    def due(self, queue: str, scheme: str, limit: int, lease: float) -> list[Parked]:
        return self._messages(scripts.DUE, _parked_keys(queue, scheme), [max(0, limit), lease])

    def parked(self, queue: str, scheme: str, limit: int) -> list[Parked]:
        return (
            self._messages(scripts.SHOW, _parked_keys(queue, scheme), [limit]) if limit > 0 else []
        )

    def parked_count(self, queue: str, scheme: str) -> int:
        with self._translating:
            return int(self._client().zcard(_parked_keys(queue, scheme)[1]))

    def parked_queues(self, scheme: str) -> Collection[str]:
        with self._translating:
            names = [name.decode() for name in self._client().smembers(_lines_key(scheme))]
        with self._translating, self._client().pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.zcard(_parked_keys(name, scheme)[1])
            return [name for name, count in zip(names, pipeline.execute(), strict=True) if count]

    def unpark(self, queue: str, scheme: str, parked_ids: Sequence[str]) -> int:
        """Note: a message parked just now may make the queue known right before it is forgotten;
        then the next one does that again."""
        if not parked_ids:
            return 0
        keys = _parked_keys(queue, scheme)
        removed, left = self._run_all(
            [(scripts.REMOVE, keys, parked_ids), (scripts.COUNT, keys, ())]
        )
        if not left:
            with self._translating:
                self._client().srem(_lines_key(scheme), queue)
        return int(removed)

    def close(self) -> None:
        with self._connecting:
            if self._connected is not None:
                self._connected.close()
                self._connected = None

    # the server
    def _client(self) -> Any:
        """Connect at first use. The caller translates errors."""
        with self._connecting:
            if self._connected is None:
                self._connected = connect(self.url)
            return self._connected

    def _run(self, script: str, keys: Sequence[str], arguments: Sequence[Any] = ()) -> Any:
        with self._translating:
            return self._client().eval(script, len(keys), *keys, *arguments)

    def _run_in_parts(
        self, script: str, keys: Sequence[str], head: Sequence[Any], names: Sequence[str]
    ) -> list[Any]:
        """Run a script for so many names at a time as it can take, in one round trip; return the
        answers."""
        calls = [(script, keys, [*head, *part]) for part in _parts(names, claims.AT_ONCE)]
        return [self._run(*calls[0])] if len(calls) == 1 else self._run_all(calls)

    def _run_all(self, calls: Sequence[_Call]) -> list[Any]:
        """Run all in one round trip, and (but in a cluster) in one transaction; return their
        answers.

        Note: EVAL and not EVALSHA: these scripts are shorter than the data they carry, and a
        pipeline has no good moment to learn that a server does not know one.
        """
        with (
            self._translating,
            self._client().pipeline(transaction=not self._is_cluster) as pipeline,
        ):
            for script, keys, arguments in calls:
                pipeline.execute_command(
                    "EVAL", script, len(keys), *keys, *arguments
                )  # .eval: not in a cluster
            answers: list[Any] = pipeline.execute()
            return answers

    def _bodies(self, task_ids: Iterable[str]) -> list[bytes | None]:
        with self._translating, self._client().pipeline(transaction=False) as pipeline:
            for task_id in task_ids:
                pipeline.lindex(_RESULT + task_id, 0)
            bodies: list[bytes | None] = pipeline.execute()
            return bodies

    def _messages(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> list[Parked]:
        bodies = filter(
            None, self._run(script, keys, arguments)
        )  # None: evicted by a server that is out of memory
        return sorted(map(_decode_parked, bodies), key=lambda message: message.due)


def _parts(items: Sequence[str], most: int) -> list[Sequence[str]]:
    """Return `items` in parts of at most so many."""
    return [items[start : start + most] for start in range(0, len(items), most)]


def _pairs(answer: list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Return the pairs of a flat list."""
    return zip(answer[::2], answer[1::2], strict=True)


def _pauses(answer: list[bytes]) -> dict[str, float | None]:
    return {queue.decode(): float(left) if left else None for queue, left in _pairs(answer)}


def _limits(answer: list[bytes]) -> dict[str, Limits]:
    return {queue.decode(): _decode_limits(limits) for queue, limits in _pairs(answer)}


def _cancels(answer: list[bytes]) -> frozenset[str]:
    return frozenset(task_id.decode() for task_id in answer)


_GRANTED, _DONE = Claim("granted"), Claim("done")


def _claim(answer: int | bytes) -> Claim:
    if isinstance(answer, bytes):
        return Claim("busy", answer.decode())
    return _GRANTED if answer else _DONE


def _flat(records: Sequence[ConsumerRecord]) -> list[Any]:
    return [part for each in records for part in (each.consumer_id, msgspec.json.encode(each))]


def _index_key(queue: str) -> str:
    return f"{_RECENT}:{queue}"


def _lines_key(scheme: str) -> str:
    return f"fb:parked:queues:{scheme}"


def _parked_keys(queue: str, scheme: str) -> list[str]:
    line = f"fb:parked:{{{scheme}:{queue}}}"
    return [f"{line}:body", f"{line}:due"]
