"""What the Redis store does inside the server, where each script is one indivisible step: all but
claims (`redis_claims`).

Which keys a script works on, and what it answers, stands above it.
"""

from __future__ import annotations

from fbcli.stores.grid import IDLE_SECONDS

INDEX_SIZE = 10_000
"""How many of the newest results can be listed, for each queue and for all. Others are found by
their task id."""

PUSHED_AT_ONCE = 5000
"""How many values one command of a script has at most: Lua's stack holds 8,000."""

# Note: Lua itself writes 14 digits of a number, redis.call 17. Times are left to redis.call, or
# formatted.
NOW = """
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
PAUSE = f"""{NOW}
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] == '' and '' or now + ARGV[2])
{_EXPIRE_PAUSES}"""

# KEYS: the pauses; ARGV: queue -> 1 if it was paused
RESUME = f"""{NOW}
local ends = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
{_EXPIRE_PAUSES}
return ends and (ends == '' or tonumber(ends) > now) and 1 or 0"""

# KEYS: the pauses -> queue, seconds left ('' for ever), …
PAUSED = f"""{NOW}
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

# KEYS: a zset of times: expires with its last
EXPIRE_WITH_LAST = """
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last == 'inf' then redis.call('PERSIST', KEYS[1])
elseif last then redis.call('PEXPIREAT', KEYS[1], math.ceil(last * 1000)) end
"""

# KEYS: the limits -> queue, limits, …
LIMITS = "return redis.call('HGETALL', KEYS[1])"

# KEYS: the cancels; ARGV: ttl in seconds, task_id, …
CANCEL = f"""{NOW}
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
{EXPIRE_WITH_LAST}"""

# KEYS: the cancels -> task_id, …
CANCELS = f"""{NOW}
return redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')"""

# KEYS: a grid; ARGV: qps, count, ahead, slack -> how many were taken, seconds to the first. The
# same as `grid.take`.
TAKE = f"""{NOW}
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
return {{math.max(count, 0), string.format('%.6f', start - now)}}"""

_PUT = """
local function put(key, result, ttl)
  if redis.call('RPUSH', key, result) > 1 then redis.call('LPOP', key) end
  redis.call('PEXPIRE', key, ttl)
end
"""

_NOTE = f"""
local function note(index, task_ids, ttl)
  for i = 1, #task_ids, {PUSHED_AT_ONCE} do
    redis.call('LPUSH', index, unpack(task_ids, i, math.min(i + {PUSHED_AT_ONCE - 1}, #task_ids)))
  end
  redis.call('LTRIM', index, 0, {INDEX_SIZE - 1})
  if redis.call('PTTL', index) < tonumber(ttl) then redis.call('PEXPIRE', index, ttl) end
end
"""

# KEYS: indexes (of all, of the queue), then of results; ARGV: ttl in ms, length of what is before
# the task id in a key, result, …
SAVE = f"""{_PUT}{_NOTE}
local task_ids = {{}}
for i = 3, #KEYS do
  put(KEYS[i], ARGV[i], ARGV[1])
  task_ids[i - 2] = string.sub(KEYS[i], ARGV[2] + 1)
end
note(KEYS[1], task_ids, ARGV[1])
note(KEYS[2], task_ids, ARGV[1])"""

# KEYS: of a result; ARGV: ttl in ms, result. For a cluster, where its indexes are elsewhere.
PUT = f"{_PUT}put(KEYS[1], ARGV[2], ARGV[1])"

# KEYS: an index; ARGV: ttl in ms, task_id, …
NOTE = f"{_NOTE}note(KEYS[1], {{unpack(ARGV, 2)}}, ARGV[1])"

# KEYS: bodies, until; ARGV: ttl in seconds, consumer_id, record, …
BEAT = f"""{NOW}
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], string.format('%.6f ', now) .. ARGV[i + 1])
  redis.call('ZADD', KEYS[2], now + ARGV[1], ARGV[i])
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
for _, key in ipairs(KEYS) do redis.call('PEXPIREAT', key, math.ceil((last or 0) * 1000)) end"""

# KEYS: bodies, until -> beat and record, …
ALIVE = f"""{NOW}
local bodies = {{}}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now, '+inf')) do
  table.insert(bodies, redis.call('HGET', KEYS[1], id))
end
return bodies"""

# KEYS: bodies, times; ARGV: id, … -> how many were there
REMOVE = """
local removed = 0
for _, id in ipairs(ARGV) do
  removed = removed + redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return removed"""

# KEYS: queues; ARGV: queue
KNOW = "redis.call('SADD', KEYS[1], ARGV[1])"

# KEYS: bodies, due
COUNT = "return redis.call('ZCARD', KEYS[2])"

# KEYS: bodies, due; ARGV: parked_id, due, message, …
PARK = """
for i = 1, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
end"""

# KEYS: bodies, due; ARGV: limit, lease in seconds -> messages. Those of one lease keep their order.
DUE = f"""{NOW}
local bodies = {{}}
for i, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  table.insert(bodies, redis.call('HGET', KEYS[1], id))
  redis.call('ZADD', KEYS[2], now + ARGV[2] + i / 1e6, id)
end
return bodies"""

# KEYS: bodies, due; ARGV: limit -> messages
SHOW = """
local bodies = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[1] - 1)) do
  table.insert(bodies, redis.call('HGET', KEYS[1], id))
end
return bodies"""
