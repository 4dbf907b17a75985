"""What the Redis store does inside the server for claims and marks. All keys of a space are in one slot of a cluster.

    fb:marks:{:<space>}                  zset    key -> until when it is done ("inf" for ever)
    fb:claims:{:<space>}:owners          zset    owner -> until when its claims live
    fb:claims:{:<space>}:totals          hash    key -> how many claims are on it, and an owner that had one of them: "2 owner"
    fb:claims:{:<space>}:held:<owner>    hash    key -> how many of them are the owner's

Whoever removes an owner subtracts, in the same step, what it held. (The colon: a tag must not be empty.)
"""

from __future__ import annotations

from fbcli.stores.redis_scripts import EXPIRE_WITH_LAST, NOW

SWEEP = 100
"""How many expired marks one call removes, beside as many as it makes."""

# Note: a server that is out of memory refuses the first step of a script that may need some, and none after another that wrote.
# So each begins with such a step: it is done as a whole or not at all.
# KEYS of all: as `keys_of` returns them; ARGV of all but UNMARK begin with the owner.
_SPACE = f"""{NOW}
local marks, owners, totals, held, owner = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local held_by = string.sub(held, 1, -1 - #owner)

local function total_of(key)
  local count, name = string.match(redis.call('HGET', totals, key) or '0 ', '^(%d+) (.*)$')
  return tonumber(count), name
end

local function subtract(key, count)
  local total, name = total_of(key)
  if total > count then redis.call('HSET', totals, key, total - count .. ' ' .. name)
  else redis.call('HDEL', totals, key) end
end
"""

_MARKED = """
local function marked(key)
  local ends = redis.call('ZSCORE', marks, key)
  return ends and tonumber(ends) > now
end
"""

_FREE_ONE = """
local function free(key)
  local count = tonumber(redis.call('HGET', held, key) or 0)
  if count == 0 then return end
  if count > 1 then redis.call('HINCRBY', held, key, -1) else redis.call('HDEL', held, key) end
  subtract(key, 1)
end
"""

# Of owners that have been removed; `all`: nobody else is left, and so no claim.
_DROP = """
local function drop(names, all)
  for _, name in ipairs(names) do
    local entries = all and {} or redis.call('HGETALL', held_by .. name)
    for i = 1, #entries, 2 do subtract(entries[i], tonumber(entries[i + 1])) end
    redis.call('UNLINK', held_by .. name)
  end
  if all then redis.call('UNLINK', totals) end
end
"""

# All keys of a space expire together, at least a second after its last owner: no count is gone before it was subtracted.
_OUTLIVE = """
local function outlive()
  local last = redis.call('ZRANGE', owners, -1, -1, 'WITHSCORES')[2]
  local needed = math.max(0, math.ceil((last - now) * 1000)) + 1000
  local left = redis.call('PTTL', owners)
  if left < needed then
    left = needed + math.min(needed, 60000)  -- for all, and therefore seldom
    for _, name in ipairs(redis.call('ZRANGE', owners, 0, -1)) do redis.call('PEXPIRE', held_by .. name, left) end
    redis.call('PEXPIRE', owners, left)
  end
  redis.call('PEXPIRE', totals, left)
  redis.call('PEXPIRE', held, left)
end
"""

# ARGV: owner, lease in seconds, limit, key, … -> for each 1 (granted), 0 (done), or an owner that has it
CLAIM = f"""{_SPACE}{_MARKED}{_DROP}{_OUTLIVE}
-- The name in a total may be of one that has given it back; then another is looked for, once.
local function holder_of(key, total, name)
  if redis.call('HEXISTS', held_by .. name, key) == 1 then return name end
  for _, other in ipairs(redis.call('ZRANGE', owners, 0, -1)) do
    if redis.call('HEXISTS', held_by .. other, key) == 1 then
      redis.call('HSET', totals, key, total .. ' ' .. other)
      return other
    end
  end
  return ''
end

local dead = redis.call('ZRANGEBYSCORE', owners, '-inf', now)
local all = redis.call('ZCARD', owners) == #dead
redis.call('ZADD', owners, now + ARGV[2], owner)
for _, name in ipairs(dead) do
  if name ~= owner then redis.call('ZREM', owners, name) end
end
drop(dead, all)
local limit, answers = tonumber(ARGV[3]), {{}}
for i = 4, #ARGV do
  local key, answer = ARGV[i], 0
  if not marked(key) then
    local total, name = total_of(key)
    if total < limit then
      redis.call('HSET', totals, key, total + 1 .. ' ' .. owner)
      redis.call('HINCRBY', held, key, 1)
      answer = 1
    else
      answer = holder_of(key, total, name)
    end
  end
  table.insert(answers, answer)
end
outlive()
return answers"""

# ARGV: owner, lease in seconds
KEEP = f"""{_SPACE}{_OUTLIVE}
local ends = redis.call('ZSCORE', owners, owner)
if ends and tonumber(ends) > now then
  redis.call('ZADD', owners, now + ARGV[2], owner)
  outlive()
end"""

# ARGV: owner, key, …
FREE = f"""{_SPACE}{_FREE_ONE}
for i = 2, #ARGV do free(ARGV[i]) end"""

# ARGV: owner
DROP = f"""{_SPACE}{_DROP}
redis.call('ZREM', owners, owner)
drop({{owner}}, redis.call('EXISTS', owners) == 0)"""

# ARGV: owner, ttl in seconds ('' for ever), key, …
MARK = f"""{_SPACE}{_FREE_ONE}
local ends = ARGV[2] == '' and math.huge or now + ARGV[2]
for i = 3, #ARGV do
  redis.call('ZADD', marks, ends, ARGV[i])
  free(ARGV[i])
end
local most = #ARGV - 2 + {SWEEP}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', marks, '-inf', now, 'LIMIT', 0, most)) do
  redis.call('ZREM', marks, key)
end
{EXPIRE_WITH_LAST}"""

# KEYS: the marks; ARGV: key, … (none: all) -> how many there were
UNMARK = f"""{NOW}
local marks, there = KEYS[1], 0
{_MARKED}
if #ARGV == 0 then
  there = redis.call('ZCOUNT', marks, now, '+inf')
  redis.call('UNLINK', marks)
end
for _, key in ipairs(ARGV) do
  if marked(key) then there = there + 1 end
  redis.call('ZREM', marks, key)
end
{EXPIRE_WITH_LAST}
return there"""


def marks_of(space: str) -> str:
    """Return the key of a space's marks."""
    return f"fb:marks:{{:{space}}}"


def keys_of(space: str, owner: str) -> list[str]:
    """Return the keys of a space and of what an owner holds there."""
    claims = f"fb:claims:{{:{space}}}"
    return [marks_of(space), f"{claims}:owners", f"{claims}:totals", f"{claims}:held:{owner}"]
