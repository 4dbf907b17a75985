"""Grids in Redis: `fb:tokens:<key>`, a text: time of the last slot taken, and when that was."""

from __future__ import annotations

from fbcli.clients.lua import LuaScript
from fbcli.stores.facets import RateFacet, Tokens
from fbcli.stores.grid import IDLE_SECONDS
from fbcli.stores.redis.server import NOW, RedisServer

# KEYS: a grid; ARGV: qps, count, ahead, slack -> how many were taken, seconds to the first. The
# same as `grid.take`.
TAKE = LuaScript(f"""{NOW}
local qps, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local ahead, slack = tonumber(ARGV[3]), tonumber(ARGV[4])
local last, taken, start = nil, nil, now
local grid = redis.call('GET', KEYS[1])
if grid then
  last, taken = string.match(grid, '^(%S+) (%S+)$')
  local free = last + 1 / qps + math.min(0, now - taken)
  if free >= now - slack then start = free end
end
count = math.min(count, math.floor((now + ahead - start) * qps) + 1)
local keep = math.ceil((start - now + math.max(count, 0) / qps + {IDLE_SECONDS}) * 1000)
if count > 0 then
  grid = string.format('%.17g %.17g', start + (count - 1) / qps, now)
  redis.call('SET', KEYS[1], grid, 'PX', keep)
else
  redis.call('PEXPIRE', KEYS[1], keep)
end
return {{math.max(count, 0), string.format('%.6f', start - now)}}""")


class RedisRates(RateFacet):
    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def take(self, key: str, qps: float, count: int, *, ahead: float, slack: float) -> Tokens:
        taken, wait = self._server.run(TAKE, [f"fb:tokens:{key}"], [qps, count, ahead, slack])
        return Tokens(taken, float(wait))
