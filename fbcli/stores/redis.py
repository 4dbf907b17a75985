"""A store in Redis: one server, sentinels or a cluster, beside the queues of the same server.

Every key begins with `fb:`, and either expires or belongs to whoever removes it (`PERMANENT`). Whatever changes more
than one thing is a script, all keys of which are in one slot of a cluster, and goes by the server's clock.

    fb:pauses                        hash  queue -> when it ends ("" never)
    fb:result:<task_id>              list  of one: the result (a list, so that it can be waited for without polling)
    fb:results, fb:results:<queue>   zset  task_id -> when it was saved; the newest `INDEX_SIZE`
    fb:workers:{all}:body            hash  worker_id -> last beat and worker
    fb:workers:{all}:until           zset  worker_id -> until when it counts as alive
    fb:parked:{<scheme>:<queue>}:body   hash  parked_id -> message
    fb:parked:{<scheme>:<queue>}:due    zset  parked_id -> when to hand it out: its due time, then the end of its lease
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from fbcli.clock import SYSTEM, Clock
from fbcli.redis_client import connect, translating
from fbcli.stores.base import Parked, Result, Store, Worker

PERMANENT = ("fb:pauses", "fb:parked:")
"""Beginnings of the keys that may be without expiry: a pause without end, and messages that wait for their time."""

INDEX_SIZE = 10_000
"""How many of the newest results `results` can list, for each queue and for all. Others are found by their task id."""

BLOCK_SECONDS = 1.0
"""Longest single wait on the server: well below `ANSWER_TIMEOUT`, since an answer counts as late after that."""


_PAUSES, _RESULTS, _WORKERS = "fb:pauses", "fb:results", ("fb:workers:{all}:body", "fb:workers:{all}:until")

_decode_result = msgspec.json.Decoder(Result).decode
_decode_worker = msgspec.json.Decoder(Worker).decode
_decode_parked = msgspec.msgpack.Decoder(Parked).decode

_Call: TypeAlias = "tuple[str, Sequence[str], Sequence[Any]]"
"""A script, its keys and its arguments."""

# Note: Lua itself writes 14 digits of a number, redis.call 17. Times are left to redis.call, or formatted.
_NOW = """
local t = redis.call('TIME')
local now = t[1] + t[2] / 1e6
"""

_EXPIRE_PAUSES = """
local last = 0
for _, ends in ipairs(redis.call('HVALS', KEYS[1])) do
  last = math.max(last, ends == '' and math.huge or ends)
end
if last == math.huge then redis.call('PERSIST', KEYS[1])
elseif last > 0 then redis.call('PEXPIREAT', KEYS[1], math.ceil(last * 1000)) end
"""

# KEYS: the pauses; ARGV: queue, seconds ('' for ever)
_PAUSE = f"""{_NOW}
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] == '' and '' or now + ARGV[2])
{_EXPIRE_PAUSES}"""

# ARGV: queue -> 1 if it was paused
_RESUME = f"""{_NOW}
local ends = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
{_EXPIRE_PAUSES}
return ends and (ends == '' or tonumber(ends) > now) and 1 or 0"""

# -> queue, seconds left ('' for ever), …
_PAUSED = f"""{_NOW}
local paused, queue = {{}}, nil
for i, text in ipairs(redis.call('HGETALL', KEYS[1])) do
  if i % 2 == 1 then queue = text
  elseif text ~= '' and tonumber(text) <= now then redis.call('HDEL', KEYS[1], queue)
  else
    table.insert(paused, queue)
    table.insert(paused, text == '' and '' or string.format('%.6f', text - now))
  end
end
return paused"""

# KEYS: of the results; ARGV: ttl in ms, result, …
_SAVE = """
for i, key in ipairs(KEYS) do
  redis.call('DEL', key)
  redis.call('RPUSH', key, ARGV[i + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end"""

# KEYS: an index; ARGV: ttl in ms, size, task_id, … Each is newer than all before, whatever the clock says.
_INDEX = f"""{_NOW}
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
local start = math.max(now, newest or 0)
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], start + i / 1e6, ARGV[i]) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end"""

# KEYS: an index; ARGV: task_id, when it was saved, … A task whose result was saved anew since then stays.
_UNINDEX = """
for i = 1, #ARGV, 2 do
  local saved = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if saved and tonumber(saved) == tonumber(ARGV[i + 1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
end"""

# KEYS: bodies, until; ARGV: worker_id, ttl in seconds, worker
_BEAT = f"""{_NOW}
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.6f ', now) .. ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
for _, key in ipairs(KEYS) do redis.call('PEXPIREAT', key, math.ceil((last or 0) * 1000)) end"""

# KEYS: bodies, until -> beat and worker, …
_ALIVE = f"""{_NOW}
local bodies = {{}}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now, '+inf')) do
  table.insert(bodies, redis.call('HGET', KEYS[1], id))
end
return bodies"""

# KEYS: bodies, times; ARGV: id, … -> how many were there
_REMOVE = """
local removed = 0
for _, id in ipairs(ARGV) do
  removed = removed + redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return removed"""

# KEYS: bodies, due; ARGV: parked_id, due, message, …
_PARK = """
for i = 1, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
end"""

# KEYS: bodies, due; ARGV: limit, lease in seconds -> messages. Those of one lease keep their order.
_DUE = f"""{_NOW}
local bodies = {{}}
for i, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  table.insert(bodies, redis.call('HGET', KEYS[1], id))
  redis.call('ZADD', KEYS[2], now + ARGV[2] + i / 1e6, id)
end
return bodies"""

# KEYS: bodies, due; ARGV: limit -> messages
_SHOW = """
local bodies = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  table.insert(bodies, redis.call('HGET', KEYS[1], id))
end
return bodies"""


class RedisStore(Store):
    """`redis://`, `rediss://`, `redis+list://`, `redis+sentinel://`, `redis+cluster://`: see `fbcli.redis_client`."""

    def __init__(self, url: str, clock: Clock = SYSTEM) -> None:
        super().__init__(url)
        self._clock = clock
        self._translating = translating(url)
        self._is_cluster = url.startswith("redis+cluster://")
        self._connecting = threading.Lock()
        self._connected: Any = None

    # pauses
    def pause(self, queue: str, seconds: float | None = None) -> None:
        self._run(_PAUSE, [_PAUSES], [queue, "" if seconds is None else seconds])

    def resume(self, queue: str) -> bool:
        return bool(self._run(_RESUME, [_PAUSES], [queue]))

    def pauses(self) -> Mapping[str, float | None]:
        paused = self._run(_PAUSED, [_PAUSES])
        return {queue.decode(): float(left) if left else None for queue, left in zip(*[iter(paused)] * 2, strict=True)}

    # results
    def save_results(self, results: Sequence[Result], ttl: float) -> None:
        if not results:
            return
        keep = max(1, math.ceil(ttl * 1000))
        bodies = {_result_key(result.task_id): msgspec.json.encode(result) for result in results}
        indexes: dict[str, list[str]] = {_RESULTS: []}
        for result in results:
            indexes[_RESULTS].append(result.task_id)
            indexes.setdefault(_index_key(result.queue), []).append(result.task_id)
        index_calls: list[_Call] = [(_INDEX, [key], [keep, INDEX_SIZE, *ids]) for key, ids in indexes.items()]
        if self._is_cluster:  # each result in a slot of its own, and none in an index before it is there
            self._run_all([(_SAVE, [key], [keep, body]) for key, body in bodies.items()])
            self._run_all(index_calls)
        else:
            self._run_all([(_SAVE, [*bodies], [keep, *bodies.values()]), *index_calls])

    def result(self, task_id: str) -> Result | None:
        with self._translating:
            body = self._client().lindex(_result_key(task_id), 0)
        return None if body is None else _decode_result(body)

    def wait_result(self, task_id: str, timeout: float) -> Result | None:
        """Note: BLMOVE from a list of one to itself blocks until it is there and leaves it as it is, expiry and all."""
        key, deadline = _result_key(task_id), self._clock.monotonic() + timeout
        while (left := deadline - self._clock.monotonic()) > 0:
            seconds = max(0.01, min(left, BLOCK_SECONDS))  # one below 1 ms may be rounded to 0, which is for ever
            with self._translating:
                body = self._client().blmove(key, key, seconds, "LEFT", "LEFT")
            if body is not None:
                return _decode_result(body)
        return self.result(task_id)

    def results(self, queue: str | None = None, limit: int = 100) -> list[Result]:
        index = _RESULTS if queue is None else _index_key(queue)
        found: dict[str, Result] = {}
        gone: list[Any] = []
        start = 0
        while len(found) < limit:
            step = max(limit - len(found), 100)
            with self._translating:
                entries = self._client().zrange(index, start, start + step - 1, desc=True, withscores=True)
            for (task_id, saved), body in zip(entries, self._bodies(entry[0] for entry in entries), strict=True):
                result = None if body is None else _decode_result(body)
                if result is None or queue not in (None, result.queue):
                    gone += [task_id, saved]
                else:
                    found[result.task_id] = result
            start += len(entries)
            if len(entries) < step:
                break
        if gone:
            self._run(_UNINDEX, [index], gone)
        return list(found.values())[: max(0, limit)]

    # workers
    def beat(self, worker: Worker, ttl: float) -> None:
        self._run(_BEAT, _WORKERS, [worker.worker_id, ttl, msgspec.json.encode(worker)])

    def retire(self, worker_id: str) -> None:
        self._run(_REMOVE, _WORKERS, [worker_id])

    def workers(self) -> list[Worker]:
        workers = []
        for entry in filter(None, self._run(_ALIVE, _WORKERS)):
            beat, _, body = entry.partition(b" ")
            workers.append(msgspec.structs.replace(_decode_worker(body), beat=float(beat)))
        return sorted(workers, key=lambda worker: worker.worker_id)

    # delayed messages
    def park(self, messages: Sequence[Parked]) -> None:
        lines: dict[tuple[str, str], list[Any]] = {}
        for message in messages:
            line = lines.setdefault((message.queue, message.scheme), [])
            line += [message.parked_id, message.due, msgspec.msgpack.encode(message)]
        self._run_all([(_PARK, _parked_keys(*line), arguments) for line, arguments in lines.items()])

    def due(self, queue: str, scheme: str, limit: int, lease: float) -> list[Parked]:
        return self._messages(_DUE, _parked_keys(queue, scheme), [max(0, limit), lease])

    def parked(self, queue: str, scheme: str, limit: int) -> list[Parked]:
        return self._messages(_SHOW, _parked_keys(queue, scheme), [limit]) if limit > 0 else []

    def parked_count(self, queue: str, scheme: str) -> int:
        with self._translating:
            return int(self._client().zcard(_parked_keys(queue, scheme)[1]))

    def unpark(self, queue: str, scheme: str, parked_ids: Sequence[str]) -> int:
        return int(self._run(_REMOVE, _parked_keys(queue, scheme), parked_ids)) if parked_ids else 0

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

    def _run_all(self, calls: Sequence[_Call]) -> None:
        """Run all in one round trip, and (but in a cluster) in one transaction.

        Note: EVAL and not EVALSHA: these scripts are shorter than the data they carry, and a pipeline has no good
        moment to learn that a server does not know one.
        """
        with self._translating, self._client().pipeline(transaction=not self._is_cluster) as pipeline:
            for script, keys, arguments in calls:
                pipeline.execute_command("EVAL", script, len(keys), *keys, *arguments)  # .eval: not in a cluster
            pipeline.execute()

    def _bodies(self, task_ids: Iterable[bytes]) -> list[bytes | None]:
        with self._translating, self._client().pipeline(transaction=False) as pipeline:
            for task_id in task_ids:
                pipeline.lindex(_result_key(task_id.decode()), 0)
            bodies: list[bytes | None] = pipeline.execute()
            return bodies

    def _messages(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> list[Parked]:
        bodies = filter(None, self._run(script, keys, arguments))  # None: evicted by a server that is out of memory
        return sorted(map(_decode_parked, bodies), key=lambda message: message.due)


def _result_key(task_id: str) -> str:
    return f"fb:result:{task_id}"


def _index_key(queue: str) -> str:
    return f"{_RESULTS}:{queue}"


def _parked_keys(queue: str, scheme: str) -> list[str]:
    line = f"fb:parked:{{{scheme}:{queue}}}"
    return [f"{line}:body", f"{line}:due"]
