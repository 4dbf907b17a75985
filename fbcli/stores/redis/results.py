"""Results in Redis.

    fb:results:{:<bucket>}       hash   task id -> when it ends, and the result: of tasks that were
                                        pushed within the same quarter of a second, by their ids
                                        (those of other ids: one in each)
    fb:waited:{:<bucket>}        zset   ids of tasks that somebody waits for -> until when
    fb:result:{:<bucket>}:<id>   list   of one: what a waiter blocks on; only of those waited for
    fb:recent                    list   ids of the tasks whose results were saved last, newest first
    fb:recent:<queue>            list   the same of one queue

A bucket expires with the last of its results. One command writes all of a batch that belong to it:
half of what a key for each of them costs, in time and in memory. (The colon: a tag must not be
empty.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from fbcli.clients.lua import Call, LuaScript, Step, packed
from fbcli.clock import Clock
from fbcli.stores.facets import ResultFacet
from fbcli.stores.redis.server import AT_ONCE, IN_PARTS, NOW, RedisServer
from fbcli.stores.writes import Save

RESULTS, WAITED, RESULT, RECENT = "fb:results:", "fb:waited:", "fb:result:", "fb:recent"

INDEX_SIZE = 10_000
"""How many of the newest results can be listed, for each queue and for all. Others are found by
their task id."""

BLOCK_SECONDS = 1.0
"""Longest single wait on the server: well below `ANSWER_TIMEOUT`, since an answer counts as late
after that."""

AWAKE_SECONDS = 10
"""How long what a waiter blocks on stays: longer than a block."""

CROWDED, SHED = 50_000, 100
"""From so many results in one bucket on, a save looks at so many of them, at random, and removes
what has ended: ids that somebody has made up may all belong to one."""

# `part`: task ids and results in turn. What somebody waits for is put where it is waited for.
_PUT = f"""{NOW}{IN_PARTS}
local function put(bucket, part, ttl)
  local results, waited = '{RESULTS}{{:' .. bucket .. '}}', '{WAITED}{{:' .. bucket .. '}}'
  local ends = string.format('%.3f ', now + ttl / 1000)
  if redis.call('EXISTS', waited) == 1 then
    for i = 1, #part, 2 do
      if redis.call('ZSCORE', waited, part[i]) then
        local key = '{RESULT}{{:' .. bucket .. '}}:' .. part[i]
        if redis.call('RPUSH', key, '') > 1 then redis.call('LPOP', key) end
        redis.call('EXPIRE', key, {AWAKE_SECONDS})
      end
    end
  end
  for i = 2, #part, 2 do part[i] = ends .. part[i] end
  in_parts(part, {AT_ONCE}, function(...) redis.call('HSET', results, ...) end)
  if redis.call('PTTL', results) < tonumber(ttl) then redis.call('PEXPIRE', results, ttl) end
  if redis.call('HLEN', results) > {CROWDED} then
    for _, name in ipairs(redis.call('HRANDFIELD', results, {SHED})) do
      local ended = string.match(redis.call('HGET', results, name), '^%S+')
      if tonumber(ended) <= now then redis.call('HDEL', results, name) end
    end
  end
end
"""

_NOTE = f"""{IN_PARTS}
local function note(index, task_ids, ttl)
  in_parts(task_ids, {AT_ONCE}, function(...) redis.call('LPUSH', index, ...) end)
  redis.call('LTRIM', index, 0, {INDEX_SIZE - 1})
  if redis.call('PTTL', index) < tonumber(ttl) then redis.call('PEXPIRE', index, ttl) end
end
"""

# KEYS: indexes (of all, of the queue); ARGV: ttl in ms, packed task ids, packed buckets and parts
SAVE = f"""{_PUT}{_NOTE}
for _, each in ipairs(cmsgpack.unpack(ARGV[3])) do put(each[1], each[2], ARGV[1]) end
local task_ids = cmsgpack.unpack(ARGV[2])
note(KEYS[1], task_ids, ARGV[1])
note(KEYS[2], task_ids, ARGV[1])"""

# KEYS: of a bucket; ARGV: ttl in ms, packed bucket and part. For a cluster, where its indexes are
# elsewhere.
PUT = LuaScript(f"""{_PUT}
local bucket, part = unpack(cmsgpack.unpack(ARGV[2]))
put(bucket, part, ARGV[1])""")

# KEYS: an index; ARGV: ttl in ms, packed task ids
NOTE = LuaScript(f"{_NOTE}note(KEYS[1], cmsgpack.unpack(ARGV[2]), ARGV[1])")

_GET = f"""{NOW}
local function get(results, ...)
  local found = redis.call('HMGET', results, ...)
  for i, text in ipairs(found) do
    if text then
      local ends, start = string.match(text, '^(%S+) ()')
      found[i] = tonumber(ends) > now and string.sub(text, start)
    end
  end
  return found
end
"""

# KEYS: a bucket; ARGV: task ids -> what there is of each
GET = LuaScript(f"{_GET}return get(KEYS[1], unpack(ARGV))")

# KEYS: a bucket, its waited; ARGV: task id, seconds -> the result; nothing: then a save will tell
LOOK = LuaScript(f"""{_GET}
local found = get(KEYS[1], ARGV[1])[1]
if found then return found end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], math.ceil(ARGV[2]) + 1)
return false""")


def save_step(write: Save) -> Step:
    indexes = [RECENT, index_of(write.queue)]
    parts = list(_parts(write).items())
    return Step(SAVE, indexes, [_milliseconds(write), packed(*write.task_ids), packed(*parts)])


def save_calls(write: Save) -> tuple[list[Call], list[Call]]:
    """Return what a cluster does first and then: each bucket in a slot of its own, and none of its
    results in an index before it is there."""
    ttl = _milliseconds(write)
    puts = [
        Call(PUT, [_results(bucket)], [ttl, packed(bucket, part)])
        for bucket, part in _parts(write).items()
    ]
    indexes = (RECENT, index_of(write.queue))
    return puts, [Call(NOTE, [index], [ttl, packed(*write.task_ids)]) for index in indexes]


class RedisResults(ResultFacet):
    def __init__(self, server: RedisServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        buckets: dict[str, list[str]] = {}
        for task_id in dict.fromkeys(task_ids):
            buckets.setdefault(bucket_of(task_id), []).append(task_id)
        found: dict[str, bytes] = {}
        calls = [
            Call(GET, [_results(bucket)], part)
            for bucket, of_bucket in buckets.items()
            for part in _cut(of_bucket)
        ]
        for call, answer in zip(calls, self._server.run_all(calls), strict=True):
            pairs = zip(call.arguments, answer, strict=True)
            found.update((str(task_id), body) for task_id, body in pairs if body is not None)
        return found

    def wait(self, task_id: str, timeout: float) -> bytes | None:
        """Note: BLMOVE from a list of one to itself blocks until it is there and leaves it as it
        is, so that all who wait are woken."""
        bucket = bucket_of(task_id)
        keys = [_results(bucket), f"{WAITED}{{:{bucket}}}"]
        bell = f"{RESULT}{{:{bucket}}}:{task_id}"
        deadline = self._clock.monotonic() + timeout
        while (left := deadline - self._clock.monotonic()) > 0:
            # one below 1 ms may be rounded to 0, which is for ever
            seconds = max(0.01, min(left, BLOCK_SECONDS))
            body: bytes | None = self._server.run(LOOK, keys, [task_id, AWAKE_SECONDS])
            if body is not None:
                return body
            self._server.ask(partial(_block, bell, seconds))
        return self.get([task_id]).get(task_id)

    def newest(self, queue: str | None, limit: int) -> list[bytes]:
        index = RECENT if queue is None else index_of(queue)
        found: dict[str, bytes] = {}
        start, step = 0, limit
        while len(found) < limit:
            noted = self._server.ask(partial(_noted, index, start, start + step - 1))
            unseen = [task_id for entry in noted if (task_id := entry.decode()) not in found]
            bodies = self.get(unseen) if unseen else {}
            found.update((task_id, bodies[task_id]) for task_id in unseen if task_id in bodies)
            if len(noted) < step:
                break
            start, step = start + step, max(100, 2 * step)  # those that are gone may be many
        return list(found.values())[:limit]


def bucket_of(task_id: str) -> str:
    """Return in which bucket a task's result lies: by the time in its id (a UUID of version 7), to
    256 ms."""
    is_uuid7 = len(task_id) == 36 and task_id[14] == "7" and task_id[8] == "-"
    return task_id[:11] if is_uuid7 else task_id


def _parts(write: Save) -> dict[str, list[str]]:
    """Return by bucket the task ids and results in turn."""
    parts: dict[str, list[str]] = {}
    part: list[str] = []
    start = ""
    for task_id, body in zip(write.task_ids, write.bodies, strict=True):
        if not (task_id[:11] == start and len(task_id) == 36 and task_id[14] == "7"):
            bucket = bucket_of(task_id)
            part = parts.setdefault(bucket, [])
            start = bucket if bucket is not task_id else ""
        part += (task_id, body.decode())
    return parts


def _cut(task_ids: list[str]) -> Iterable[list[str]]:
    return (task_ids[start : start + AT_ONCE] for start in range(0, len(task_ids), AT_ONCE))


def _results(bucket: str) -> str:
    return f"{RESULTS}{{:{bucket}}}"


def _block(key: str, seconds: float, client: Any) -> None:
    client.blmove(key, key, seconds, "LEFT", "LEFT")


def _noted(index: str, first: int, last: int, client: Any) -> list[bytes]:
    found: list[bytes] = client.lrange(index, first, last)
    return found


def index_of(queue: str) -> str:
    return f"{RECENT}:{queue}"


def _milliseconds(write: Save) -> int:
    return max(1, math.ceil(write.ttl * 1000))
