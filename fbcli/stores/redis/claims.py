"""What the Redis store does inside the server for claims and marks. All keys of a space are in one
slot of a cluster.

    fb:marks:{:<space>}                  zset    key -> until when it is done ("inf" for ever)
    fb:claims:{:<space>}:owners          zset    owner -> until when its claims live
    fb:claims:{:<space>}:totals          hash    key -> "=owner": one claim, and it is the owner's
                                                 (nearly all are so); or how many claims are on it,
                                                 and an owner that had one of them: "2 owner"
    fb:claims:{:<space>}:held:<owner>    hash    key -> how many of them are the owner's

Whoever removes an owner subtracts, in the same step, what it held. (The colon: a tag must not be
empty.)
"""

from __future__ import annotations

from fbcli.stores.redis.scripts import EXPIRE_WITH_LAST, NOW

SWEEP = 100
"""How many expired marks one call removes, beside as many as it makes."""

AT_ONCE = 1000
"""How many keys one call takes at most: each command in a script has them all, and Lua's stack
holds 8,000."""

# Note: a server that is out of memory refuses the first step of a script that may need some, and
# none after another that wrote. So each begins with such a step: it is done as a whole or not at
# all. KEYS of all: as `keys_of` returns them; ARGV of all but UNMARK begin with the owner.
_SPACE = f"""{NOW}
local marks, owners, totals, held, owner = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local held_by = string.sub(held, 1, -1 - #owner)

-- What a hash says of each name; false: nothing.
local function read(hash, names)
  local found = {{}}
  if #names > 0 then
    local values = redis.call('HMGET', hash, unpack(names))
    for i, name in ipairs(names) do found[name] = values[i] end
  end
  return found
end

-- Change a hash; false: remove.
local function write(hash, changes)
  local set, gone = {{}}, {{}}
  for name, value in pairs(changes) do
    if value then
      set[#set + 1] = name
      set[#set + 1] = value
    else gone[#gone + 1] = name end
  end
  if #set > 0 then redis.call('HSET', hash, unpack(set)) end
  if #gone > 0 then redis.call('HDEL', hash, unpack(gone)) end
end

local alone = '=' .. owner
local function parse(total)
  if not total then return 0, '' end
  local count, name = string.match(total, '^(%d+) (.*)$')
  if count then return tonumber(count), name end
  return 1, string.sub(total, 2)
end

-- Take so many claims off the totals of names.
local function subtract(names, counts)
  local before, after = read(totals, names), {{}}
  for _, key in ipairs(names) do
    local total, name = parse(before[key])
    after[key] = total > counts[key] and total - counts[key] .. ' ' .. name
  end
  write(totals, after)
end
"""

_FREE = """
local function free_shared(names)
  local before, after, counts = read(held, names), {}, {}
  for _, key in ipairs(names) do
    local count = tonumber(before[key] or 0)
    if count > 0 then
      before[key], after[key] = count - 1, count > 1 and count - 1
      counts[key] = (counts[key] or 0) + 1
    end
  end
  local freed = {}
  for key in pairs(counts) do freed[#freed + 1] = key end
  subtract(freed, counts)
  write(held, after)
end

local function free(names)
  local total, removed, shared = read(totals, names), {}, {}
  for _, key in ipairs(names) do
    if total[key] == alone then total[key], removed[key] = false, false
    elseif total[key] then shared[#shared + 1] = key end
  end
  write(totals, removed)
  write(held, removed)
  free_shared(shared)
end
"""

# Of owners that have been removed; `all`: nobody else is left, and so no claim.
_DROP = f"""
local function drop(names, all)
  for _, name in ipairs(names) do
    local entries = all and {{}} or redis.call('HGETALL', held_by .. name)
    for start = 1, #entries, {2 * AT_ONCE} do
      local keys, counts = {{}}, {{}}
      for i = start, math.min(start + {2 * AT_ONCE} - 1, #entries), 2 do
        keys[#keys + 1] = entries[i]
        counts[entries[i]] = tonumber(entries[i + 1])
      end
      subtract(keys, counts)
    end
    redis.call('UNLINK', held_by .. name)
  end
  if all then redis.call('UNLINK', totals) end
end
"""

# All keys of a space expire together, at least a second after its last owner: no count is gone
# before it was subtracted.
_OUTLIVE = """
local function outlive()
  local last = redis.call('ZRANGE', owners, -1, -1, 'WITHSCORES')[2]
  local needed = math.max(0, math.ceil((last - now) * 1000)) + 1000
  local left = redis.call('PTTL', owners)
  if left < needed then
    left = needed + math.min(needed, 60000)  -- for all, and therefore seldom
    for _, name in ipairs(redis.call('ZRANGE', owners, 0, -1)) do
      redis.call('PEXPIRE', held_by .. name, left)
    end
    redis.call('PEXPIRE', owners, left)
  end
  redis.call('PEXPIRE', totals, left)
  redis.call('PEXPIRE', held, left)
end
"""

# ARGV: owner, lease in seconds, limit, key, … -> for each 1 (granted), 0 (done), or an owner that
# has it
CLAIM = f"""{_SPACE}{_DROP}{_OUTLIVE}
-- The name in a total may be of one that has given it back; then another is looked for, once.
local function holder_of(key)
  local total, name = parse(redis.call('HGET', totals, key))
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
local limit, names, answers = tonumber(ARGV[3]), {{unpack(ARGV, 4)}}, {{}}
local ends = redis.call('ZMSCORE', marks, unpack(names))
local total, new_total, new_mine = read(totals, names), {{}}, {{}}
for i, key in ipairs(names) do
  if ends[i] and tonumber(ends[i]) > now then answers[i] = 0
  elseif not total[key] and limit > 0 then
    total[key], new_total[key], new_mine[key] = alone, alone, 1
    answers[i] = 1
  else
    local count = parse(total[key])
    if count < limit then
      total[key] = count + 1 .. ' ' .. owner
      new_total[key] = total[key]
      new_mine[key] = (new_mine[key] or redis.call('HGET', held, key) or 0) + 1
      answers[i] = 1
    else answers[i] = '' end
  end
end
write(totals, new_total)
write(held, new_mine)
for i, key in ipairs(names) do
  if answers[i] == '' then answers[i] = holder_of(key) end
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
FREE = f"""{_SPACE}{_FREE}
free({{unpack(ARGV, 2)}})"""

# ARGV: owner
DROP = f"""{_SPACE}{_DROP}
redis.call('ZREM', owners, owner)
drop({{owner}}, redis.call('EXISTS', owners) == 0)"""

# ARGV: owner, ttl in seconds ('' for ever), key, …
MARK = f"""{_SPACE}{_FREE}
local ends, names, done = ARGV[2] == '' and math.huge or now + ARGV[2], {{unpack(ARGV, 3)}}, {{}}
for _, key in ipairs(names) do
  done[#done + 1] = ends
  done[#done + 1] = key
end
redis.call('ZADD', marks, unpack(done))
free(names)
local old = redis.call('ZRANGEBYSCORE', marks, '-inf', now, 'LIMIT', 0, #names + {SWEEP})
if #old > 0 then redis.call('ZREM', marks, unpack(old)) end
{EXPIRE_WITH_LAST}"""

# KEYS: the marks; ARGV: key, … (none: all) -> how many there were
UNMARK = f"""{NOW}
local marks, there = KEYS[1], 0
if #ARGV == 0 then
  there = redis.call('ZCOUNT', marks, now, '+inf')
  redis.call('UNLINK', marks)
end
for _, key in ipairs(ARGV) do
  local ends = redis.call('ZSCORE', marks, key)
  if ends and tonumber(ends) > now then there = there + 1 end
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
