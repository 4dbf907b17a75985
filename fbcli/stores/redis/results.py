"""Results in Redis.

fb:result:<task id>   list   of one: so that whoever waits for it can block on it
fb:recent             list   ids of the tasks whose results were saved last, newest first
fb:recent:<queue>     list   the same of one queue
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from fbcli.clients.lua import Call, LuaScript, Step, packed
from fbcli.clock import Clock
from fbcli.stores.facets import ResultFacet
from fbcli.stores.redis.server import AT_ONCE, IN_PARTS, RedisServer
from fbcli.stores.writes import Save

RESULT, RECENT = "fb:result:", "fb:recent"

INDEX_SIZE = 10_000
"""How many of the newest results can be listed, for each queue and for all. Others are found by
their task id."""

BLOCK_SECONDS = 1.0
"""Longest single wait on the server: well below `ANSWER_TIMEOUT`, since an answer counts as late
after that."""

_PUT = """
local function put(key, result, ttl)
  if redis.call('RPUSH', key, result) > 1 then redis.call('LPOP', key) end
  redis.call('PEXPIRE', key, ttl)
end
"""

_NOTE = f"""{IN_PARTS}
local function note(index, task_ids, ttl)
  in_parts(task_ids, {AT_ONCE}, function(...) redis.call('LPUSH', index, ...) end)
  redis.call('LTRIM', index, 0, {INDEX_SIZE - 1})
  if redis.call('PTTL', index) < tonumber(ttl) then redis.call('PEXPIRE', index, ttl) end
end
"""

# KEYS: indexes (of all, of the queue); ARGV: ttl in ms, packed task ids and results
SAVE = f"""{_PUT}{_NOTE}
local task_ids, results = unpack(cmsgpack.unpack(ARGV[2]))
for i, task_id in ipairs(task_ids) do put('{RESULT}' .. task_id, results[i], ARGV[1]) end
note(KEYS[1], task_ids, ARGV[1])
note(KEYS[2], task_ids, ARGV[1])"""

# KEYS: of a result; ARGV: ttl in ms, result. For a cluster, where its indexes are elsewhere.
PUT = LuaScript(f"{_PUT}put(KEYS[1], ARGV[2], ARGV[1])")

# KEYS: an index; ARGV: ttl in ms, packed task ids
NOTE = LuaScript(f"{_NOTE}note(KEYS[1], cmsgpack.unpack(ARGV[2])[1], ARGV[1])")


def save_step(write: Save) -> Step:
    texts = [body.decode() for body in write.bodies]
    return Step(
        SAVE, [RECENT, index_of(write.queue)], [_milliseconds(write), packed(write.task_ids, texts)]
    )


def save_calls(write: Save) -> tuple[list[Call], list[Call]]:
    """Return what a cluster does first and then: each result in a slot of its own, and none in an
    index before it is there."""
    ttl = _milliseconds(write)
    puts = [
        Call(PUT, [RESULT + task_id], [ttl, body])
        for task_id, body in zip(write.task_ids, write.bodies, strict=True)
    ]
    indexes = (RECENT, index_of(write.queue))
    return puts, [Call(NOTE, [index], [ttl, packed(write.task_ids)]) for index in indexes]


class RedisResults(ResultFacet):
    def __init__(self, server: RedisServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        if len(task_ids) == 1:
            body = self._server.ask(lambda client: client.lindex(RESULT + task_ids[0], 0))
            return {} if body is None else {task_ids[0]: body}

        def all_of_them(client: Any) -> list[bytes | None]:
            with client.pipeline(transaction=False) as pipeline:
                for task_id in task_ids:
                    pipeline.lindex(RESULT + task_id, 0)
                found: list[bytes | None] = pipeline.execute()
                return found

        found = zip(task_ids, self._server.ask(all_of_them), strict=True)
        return {task_id: body for task_id, body in found if body is not None}

    def wait(self, task_id: str, timeout: float) -> bytes | None:
        """Note: BLMOVE from a list of one to itself blocks until it is there and leaves it as it
        is, expiry and all."""
        key, deadline = RESULT + task_id, self._clock.monotonic() + timeout
        while (left := deadline - self._clock.monotonic()) > 0:
            # one below 1 ms may be rounded to 0, which is for ever
            seconds = max(0.01, min(left, BLOCK_SECONDS))
            body: bytes | None = self._server.ask(partial(_block, key, seconds))
            if body is not None:
                return body
        return self.get([task_id]).get(task_id)

    def newest(self, queue: str | None, limit: int) -> list[bytes]:
        index = RECENT if queue is None else index_of(queue)
        found: dict[str, bytes] = {}
        start, step = 0, limit
        while len(found) < limit:
            noted = self._server.ask(partial(_noted, index, start, start + step - 1))
            unseen = [task_id for entry in noted if (task_id := entry.decode()) not in found]
            found.update(self.get(unseen) if unseen else {})
            if len(noted) < step:
                break
            start, step = start + step, max(100, 2 * step)  # those that are gone may be many
        return list(found.values())[:limit]


def _block(key: str, seconds: float, client: Any) -> bytes | None:
    body: bytes | None = client.blmove(key, key, seconds, "LEFT", "LEFT")
    return body


def _noted(index: str, first: int, last: int, client: Any) -> list[bytes]:
    found: list[bytes] = client.lrange(index, first, last)
    return found


def index_of(queue: str) -> str:
    return f"{RECENT}:{queue}"


def _milliseconds(write: Save) -> int:
    return max(1, math.ceil(write.ttl * 1000))
