"""Notices in Redis.

fb:{notices}:<kind>:ends    zset    name -> when it ends ("inf": not by itself)
fb:{notices}:<kind>:texts   hash    name -> when it was put, and the text; not of empty ones
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf

from fbcli.clients.lua import LuaScript, packed
from fbcli.stores.facets import Notice, NoticeFacet
from fbcli.stores.redis.server import AT_ONCE, IN_PARTS, NOW, RedisServer

_EXPIRE = """
local last = redis.call('ZRANGE', ends, -1, -1, 'WITHSCORES')[2]
for _, key in ipairs({ends, texts}) do
  if last == 'inf' then redis.call('PERSIST', key)
  elseif last then redis.call('PEXPIREAT', key, math.ceil(last * 1000)) end
end
"""

# KEYS: ends, texts; ARGV: ttl in seconds ('' for good), packed names and texts
PUT = LuaScript(f"""{NOW}
local ends, texts = KEYS[1], KEYS[2]
local names, bodies = unpack(cmsgpack.unpack(ARGV[2]))
local at, over = string.format('%.6f ', now), ARGV[1] == '' and math.huge or now + ARGV[1]
for i, name in ipairs(names) do
  redis.call('ZADD', ends, over, name)
  if bodies[i] ~= '' then redis.call('HSET', texts, name, at .. bodies[i])
  else redis.call('HDEL', texts, name) end
end
{_EXPIRE}""")

# KEYS: ends, texts; ARGV: packed names -> how many had not ended
REMOVE = LuaScript(f"""{NOW}
local ends, texts, there = KEYS[1], KEYS[2], 0
for _, name in ipairs(cmsgpack.unpack(ARGV[1])[1]) do
  local over = redis.call('ZSCORE', ends, name)
  if over and tonumber(over) > now then there = there + 1 end
  redis.call('ZREM', ends, name)
  redis.call('HDEL', texts, name)
end
{_EXPIRE}
return there""")

# KEYS: ends, texts, … -> now, and for each pair: names, each with its end; texts by the same order
READ = LuaScript(f"""{NOW}{IN_PARTS}
local answer = {{string.format('%.6f', now)}}
for k = 1, #KEYS, 2 do
  local found, texts = redis.call('ZRANGEBYSCORE', KEYS[k], now, '+inf', 'WITHSCORES'), {{}}
  if redis.call('EXISTS', KEYS[k + 1]) == 1 then
    local names = {{}}
    for i = 1, #found, 2 do names[#names + 1] = found[i] end
    in_parts(names, {AT_ONCE}, function(...)
      for _, text in ipairs(redis.call('HMGET', KEYS[k + 1], ...)) do texts[#texts + 1] = text end
    end)
  end
  answer[#answer + 1], answer[#answer + 2] = found, texts
end
return answer""")

# KEYS: ends, texts, …; ARGV: most, of each kind -> how many were removed
SWEEP = LuaScript(f"""{NOW}{IN_PARTS}
local removed = 0
for k = 1, #KEYS, 2 do
  local over = redis.call('ZRANGEBYSCORE', KEYS[k], '-inf', now, 'LIMIT', 0, ARGV[1])
  in_parts(over, {AT_ONCE}, function(...)
    redis.call('ZREM', KEYS[k], ...)
    redis.call('HDEL', KEYS[k + 1], ...)
  end)
  removed = removed + #over
end
return removed""")


class RedisNotices(NoticeFacet):
    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def put(self, kind: str, bodies: Mapping[str, bytes], ttl: float | None) -> None:
        texts = [body.decode() for body in bodies.values()]
        self._server.run(
            PUT, keys_of(kind), ["" if ttl is None else ttl, packed(list(bodies), texts)]
        )

    def remove(self, kind: str, names: Collection[str]) -> int:
        return int(self._server.run(REMOVE, keys_of(kind), [packed(list(names))]))

    def read(self, kinds: Sequence[str]) -> list[dict[str, Notice]]:
        now, *found = self._server.run(READ, _keys_of_all(kinds))
        return [_notices(float(now), *pair) for pair in zip(found[::2], found[1::2], strict=True)]

    def sweep(self, kinds: Sequence[str], most: int) -> int:
        return int(self._server.run(SWEEP, _keys_of_all(kinds), [most]))


def _notices(now: float, found: list[bytes], texts: list[bytes | None]) -> dict[str, Notice]:
    notices = {}
    for i in range(0, len(found), 2):
        ends = float(found[i + 1])
        text = texts[i // 2] if texts else None
        at, _, body = text.partition(b" ") if text else (b"0", b"", b"")
        left = None if ends == inf else ends - now
        notices[found[i].decode()] = Notice(body, float(at), left)
    return notices


def _keys_of_all(kinds: Sequence[str]) -> list[str]:
    return [key for kind in kinds for key in keys_of(kind)]


def keys_of(kind: str) -> list[str]:
    return [f"fb:{{notices}}:{kind}:ends", f"fb:{{notices}}:{kind}:texts"]
