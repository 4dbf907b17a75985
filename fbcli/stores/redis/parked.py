"""Parked messages in Redis.

fb:parked:{<line>}:bodies   hash   name -> due time and body
fb:parked:{<line>}:times    zset   name -> when to hand it out: its due time, then the end of its
                                   lease
fb:parked:lines             set    lines in which something waits
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from fbcli.clients.lua import Call, LuaScript, Word
from fbcli.stores.facets import ParkedFacet, Waiting
from fbcli.stores.redis.server import NOW, RedisServer

LINES = "fb:parked:lines"

# KEYS: lines; ARGV: line
KNOW = LuaScript("redis.call('SADD', KEYS[1], ARGV[1])")

# KEYS: bodies, times; ARGV: name, due, body, …
PARK = LuaScript("""
for i = 1, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
  redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
end""")

# KEYS: bodies, times; ARGV: limit, lease in seconds -> names, bodies. Those of one lease keep their
# order.
DUE = LuaScript(f"""{NOW}
local names = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])
local bodies = {{}}
for i, name in ipairs(names) do
  bodies[i] = redis.call('HGET', KEYS[1], name)
  redis.call('ZADD', KEYS[2], now + ARGV[2] + i / 1e6, name)
end
return {{names, bodies}}""")

# KEYS: bodies, times; ARGV: limit -> names, bodies
SHOW = LuaScript("""
local names, bodies = redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1), {}
for i, name in ipairs(names) do bodies[i] = redis.call('HGET', KEYS[1], name) end
return {names, bodies}""")

# KEYS: bodies, times; ARGV: name, … -> how many were there; how many are left
REMOVE = LuaScript("""
local removed = 0
for _, name in ipairs(ARGV) do
  removed = removed + redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[2], name)
end
return {removed, redis.call('ZCARD', KEYS[2])}""")


class RedisParked(ParkedFacet):
    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def park(self, line: str, waiting: Sequence[Waiting]) -> None:
        parts = [part for each in waiting for part in (each.name, repr(each.due), each.body)]
        self._server.run_all([Call(KNOW, [LINES], [line]), Call(PARK, _keys(line), parts)])

    def due(self, line: str, limit: int, lease: float) -> list[Waiting]:
        return self._waiting(DUE, line, [limit, lease])

    def waiting(self, line: str, limit: int) -> list[Waiting]:
        return self._waiting(SHOW, line, [limit])

    def count(self, line: str) -> int:
        return int(self._server.ask(lambda client: client.zcard(_keys(line)[1])))

    def lines(self) -> Collection[str]:
        known = [name.decode() for name in self._server.ask(lambda client: client.smembers(LINES))]

        def counts(client: Any) -> list[int]:
            with client.pipeline(transaction=False) as pipeline:
                for line in known:
                    pipeline.zcard(_keys(line)[1])
                found: list[int] = pipeline.execute()
                return found

        return [line for line, count in zip(known, self._server.ask(counts), strict=True) if count]

    def unpark(self, line: str, names: Sequence[str]) -> int:
        """Note: something parked just now may make the line known right before it is forgotten;
        then the next that is parked does that again."""
        removed, left = self._server.run(REMOVE, _keys(line), names)
        if not left:
            self._server.ask(lambda client: client.srem(LINES, line))
        return int(removed)

    def _waiting(self, script: LuaScript, line: str, arguments: Sequence[Word]) -> list[Waiting]:
        names, bodies = self._server.run(script, _keys(line), arguments)
        waiting = []
        for name, text in zip(names, bodies, strict=True):
            if text is not None:  # else: evicted by a server that is out of memory
                due, _, body = text.partition(b" ")
                waiting.append(Waiting(name.decode(), float(due), body))
        return sorted(waiting, key=lambda each: each.due)


def _keys(line: str) -> list[str]:
    return [f"fb:parked:{{{line}}}:bodies", f"fb:parked:{{{line}}}:times"]
