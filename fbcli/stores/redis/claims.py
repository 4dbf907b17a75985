"""Claims and marks in Redis. All keys of a space are in one slot of a cluster.

    fb:claims:{:<space>}:owners   zset   owner -> until when its claims live
    fb:claims:{:<space>}:held     hash   key -> its claim; a packed list and "*" where there are
                                         several. A claim is its token, its owner, and how long
                                         that is: `12owner:5`
    fb:marks:{:<space>}:ever      set    keys that are done for good
    fb:marks:{:<space>}:ends      hash   key -> when its mark ends
    fb:marks:{:<space>}:batches   zset   packed keys that were marked together -> when they end: so
                                         what has ended is found without an index of single keys

(The colon: a tag must not be empty.)
"""

from __future__ import annotations

from collections.abc import Sequence

from fbcli.clients.lua import Call, LuaScript, Step, Word, packed
from fbcli.stores.facets import BUSY, DONE, GRANTED, ClaimFacet
from fbcli.stores.redis.server import AT_ONCE, IN_PARTS, NOW, RedisServer
from fbcli.stores.writes import Free, Mark

CLAIMED_AT_ONCE = 1000
"""How many keys one script claims, and how many are marked as one batch."""

# Note: a server that is out of memory refuses the first write of a script that needs some, and none
# after another. So a script that needs some begins with such a step: it is done as a whole or not
# at all. KEYS of all: as `keys_of` returns them.
_SPACE = f"""{NOW}{IN_PARTS}
local owners, held, ever, ends, batches = unpack(KEYS)

-- What ends the claims of an owner: its name, and how long that is.
local function suffix_of(owner) return owner .. ':' .. #owner end

local function owner_of(claim)
  local rest, size = string.match(claim, '^(.*):(%d+)$')
  return string.sub(rest, #rest - size + 1)
end

local function claims_of(value)
  if not value then return {{}} end
  if string.byte(value, -1) == 42 then return cmsgpack.unpack(string.sub(value, 1, -2)) end
  return {{value}}
end

local function value_of(claims)
  if #claims < 2 then return claims[1] or false end
  return cmsgpack.pack(claims) .. '*'
end

-- What a hash says of each name; false: nothing.
local function read(hash, names)
  local found = {{}}
  for start = 1, #names, {AT_ONCE} do
    local last = math.min(start + {AT_ONCE} - 1, #names)
    local values = redis.call('HMGET', hash, unpack(names, start, last))
    for i = start, last do found[names[i]] = values[i - start + 1] end
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
  in_parts(set, {AT_ONCE}, function(...) redis.call('HSET', hash, ...) end)
  in_parts(gone, {AT_ONCE}, function(...) redis.call('HDEL', hash, ...) end)
end
"""

# Give back all claims of owners; `all`: nobody else is left, and so no claim.
_DROP = """
local function drop(names, all)
  if all then return redis.call('UNLINK', held) end
  local gone, cursor = {}, '0'
  for _, name in ipairs(names) do gone[name] = true end
  repeat
    local page = redis.call('HSCAN', held, cursor, 'COUNT', 1000)
    local changes = {}
    cursor = page[1]
    for i = 1, #page[2], 2 do
      local kept, before = {}, claims_of(page[2][i + 1])
      for _, claim in ipairs(before) do
        if not gone[owner_of(claim)] then kept[#kept + 1] = claim end
      end
      if #kept < #before then changes[page[2][i]] = value_of(kept) end
    end
    write(held, changes)
  until cursor == '0'
end

local function drop_dead()
  local dead = redis.call('ZRANGEBYSCORE', owners, '-inf', now)
  if #dead > 0 then
    drop(dead, redis.call('ZCARD', owners) == #dead)
    in_parts(dead, 1000, function(...) redis.call('ZREM', owners, ...) end)
  end
  return #dead
end
"""

# Owners and claims expire together, at least a second after the last owner.
_OUTLIVE = """
local function outlive()
  local last = redis.call('ZRANGE', owners, -1, -1, 'WITHSCORES')[2]
  local needed = math.max(0, math.ceil((last - now) * 1000)) + 1000
  local left = redis.call('PTTL', owners)
  if left < needed then
    left = needed + math.min(needed, 60000)
    redis.call('PEXPIRE', owners, left)
  end
  redis.call('PEXPIRE', held, left)
end
"""

# ARGV: owner, lease in seconds, limit, packed keys and tokens, what a token is answered that has it
# already, 1 if no key is there twice -> text of 0 (busy), 1 (granted) and 2 (done); or how many, if
# all are granted. Note: that is nearly always so, and therefore the short way.
CLAIM = LuaScript(f"""{_SPACE}{_DROP}{_OUTLIVE}
local owner, limit, keys, tokens = ARGV[1], tonumber(ARGV[3]), unpack(cmsgpack.unpack(ARGV[4]))
local count, suffix = #keys, suffix_of(owner)
drop_dead()
redis.call('ZADD', owners, now + ARGV[2], owner)
local before, done, over = redis.call('HMGET', held, unpack(keys)), {{}}, {{}}
if redis.call('EXISTS', ever) == 1 then done = redis.call('SMISMEMBER', ever, unpack(keys)) end
if redis.call('EXISTS', ends) == 1 then over = redis.call('HMGET', ends, unpack(keys)) end

local function grant_all()
  if limit < 1 or ARGV[6] == '0' then return false end
  local flat, n = {{}}, 0
  for i = 1, count do
    if before[i] or done[i] == 1 or over[i] then return false end
    flat[n + 1], flat[n + 2] = keys[i], tokens[i] .. suffix
    n = n + 2
  end
  redis.call('HSET', held, unpack(flat))
  return true
end

local function grant_some()
  local answers, value, new = {{}}, {{}}, {{}}
  for i, key in ipairs(keys) do value[key] = before[i] end
  for i, key in ipairs(keys) do
    local mine, has = tokens[i] .. suffix, value[key]
    if done[i] == 1 or over[i] and tonumber(over[i]) > now then answers[i] = '2'
    elseif has == mine then answers[i] = ARGV[5]
    elseif not has and limit > 0 then
      value[key], new[key], answers[i] = mine, mine, '1'
    elseif limit > 1 then
      local claims = claims_of(has)
      answers[i] = #claims < limit and '1' or '0'
      for _, claim in ipairs(claims) do
        if claim == mine then
          answers[i], mine = ARGV[5], nil
          break
        end
      end
      if answers[i] == '1' and mine then
        claims[#claims + 1] = mine
        value[key] = value_of(claims)
        new[key] = value[key]
      end
    else answers[i] = '0' end
  end
  write(held, new)
  return table.concat(answers)
end

local answer = grant_all() and count or grant_some()
outlive()
return answer""")

# ARGV: owner, lease in seconds
KEEP = LuaScript(f"""{_SPACE}{_OUTLIVE}
local alive = redis.call('ZSCORE', owners, ARGV[1])
if alive and tonumber(alive) > now then
  redis.call('ZADD', owners, now + ARGV[2], ARGV[1])
  outlive()
end""")

# ARGV: owner
DROP = LuaScript(f"""{_SPACE}{_DROP}
if redis.call('ZREM', owners, ARGV[1]) == 1 then
  drop({{ARGV[1]}}, redis.call('EXISTS', owners) == 0)
end""")

_FREE = f"""
local function free_part(suffix, keys, tokens, first, last)
  local found = redis.call('HMGET', held, unpack(keys, first, last))
  for i = first, last do
    if found[i - first + 1] ~= tokens[i] .. suffix then return false end
  end
  redis.call('HDEL', held, unpack(keys, first, last))
  return true
end

local function free_some(suffix, keys, tokens, first, last)
  local names, changes = {{unpack(keys, first, last)}}, {{}}
  local value = read(held, names)
  for i = first, last do
    local key, mine = keys[i], tokens[i] .. suffix
    local has = value[key]
    if has == mine then value[key], changes[key] = false, false
    elseif has and string.byte(has, -1) == 42 then
      local kept = {{}}
      for _, claim in ipairs(claims_of(has)) do
        if claim ~= mine then kept[#kept + 1] = claim end
      end
      value[key] = value_of(kept)
      changes[key] = value[key]
    end
  end
  write(held, changes)
end

local function free(owner, keys, tokens)
  local suffix = suffix_of(owner)
  for first = 1, #keys, {AT_ONCE} do
    local last = math.min(first + {AT_ONCE} - 1, #keys)
    if not free_part(suffix, keys, tokens, first, last) then
      free_some(suffix, keys, tokens, first, last)
    end
  end
end
"""

# ARGV: owner, packed keys and tokens
FREE = f"""{_SPACE}{_FREE}
free(ARGV[1], unpack(cmsgpack.unpack(ARGV[2])))"""

# ARGV: owner, packed keys and tokens, ttl in seconds ('' for ever)
MARK = f"""{_SPACE}{_FREE}
local keys, tokens = unpack(cmsgpack.unpack(ARGV[2]))
if ARGV[3] == '' then
  local timed = redis.call('EXISTS', ends) == 1
  in_parts(keys, {AT_ONCE}, function(...)
    redis.call('SADD', ever, ...)
    if timed then redis.call('HDEL', ends, ...) end
  end)
else
  local over = string.format('%.6f', now + ARGV[3])
  local changes = {{}}
  for _, key in ipairs(keys) do changes[key] = over end
  write(ends, changes)
  in_parts(keys, {CLAIMED_AT_ONCE}, function(...)
    redis.call('SREM', ever, ...)
    redis.call('ZADD', batches, over, cmsgpack.pack({{...}}))
  end)
  local last = redis.call('ZRANGE', batches, -1, -1, 'WITHSCORES')[2]
  redis.call('PEXPIREAT', ends, math.ceil(last * 1000))
  redis.call('PEXPIREAT', batches, math.ceil(last * 1000))
end
free(ARGV[1], keys, tokens)"""

# Forget some marks that end by `when`; return how many marks, and batches, there were.
_FORGET = f"""
local function forget(when)
  local count, found = 0, 0
  while count + found < {CLAIMED_AT_ONCE} do
    local batch = redis.call('ZRANGEBYSCORE', batches, '-inf', when, 'LIMIT', 0, 1)[1]
    if not batch then break end
    local keys, gone = cmsgpack.unpack(batch), {{}}
    for i, over in ipairs(redis.call('HMGET', ends, unpack(keys))) do
      if over and tonumber(over) <= when then gone[#gone + 1] = keys[i] end
    end
    if #gone > 0 then count = count + redis.call('HDEL', ends, unpack(gone)) end
    redis.call('ZREM', batches, batch)
    found = found + 1
  end
  return count, found
end
"""

# ARGV: packed keys -> how many were marked
UNMARK = LuaScript(f"""{_SPACE}
local count, keys = 0, cmsgpack.unpack(ARGV[1])[1]
local over = read(ends, keys)
in_parts(keys, {AT_ONCE}, function(...)
  count = count + redis.call('SREM', ever, ...)
  redis.call('HDEL', ends, ...)
end)
for _, value in pairs(over) do
  if value and tonumber(value) > now then count = count + 1 end
end
return count""")

# -> how many marks, about, were removed that had not ended; whether there are more
UNMARK_SOME = LuaScript(f"""{_SPACE}{_FORGET}
local _, ended = forget(now)
if ended > 0 then return {{0, 1}} end
local gone = redis.call('SPOP', ever, 1000)
local count, found = forget(math.huge)
return {{count + #gone, (#gone > 0 or found > 0) and 1 or 0}}""")

# -> how many marks, about, were removed
SWEEP = LuaScript(f"""{_SPACE}{_DROP}{_FORGET}
drop_dead()
local count, found = forget(now)
return count + found""")


def free_step(write: Free) -> Step:
    return Step(
        FREE, keys_of(write.space), [write.owner, packed(list(write.keys), list(write.tokens))]
    )


def mark_step(write: Mark) -> Step:
    names = packed(list(write.keys), list(write.tokens))
    ttl = "" if write.ttl is None else write.ttl
    return Step(MARK, keys_of(write.space), [write.owner, names, ttl])


class RedisClaims(ClaimFacet):
    def __init__(self, server: RedisServer) -> None:
        self._server = server

    def claim(
        self,
        space: str,
        keys: Sequence[str],
        tokens: Sequence[str],
        *,
        owner: str,
        lease: float,
        limit: int,
        repeat: bool,
    ) -> Sequence[int]:
        calls = []
        for start in range(0, len(keys), CLAIMED_AT_ONCE):
            part = slice(start, start + CLAIMED_AT_ONCE)
            names = packed(list(keys[part]), list(tokens[part]))
            once = int(len(set(keys[part])) == len(keys[part]))
            arguments: list[Word] = [owner, lease, limit, names, int(repeat), once]
            calls.append(Call(CLAIM, keys_of(space), arguments))
        return b"".join(map(_answers, self._server.run_all(calls)))

    def keep(self, held: Sequence[tuple[str, str]], lease: float) -> None:
        self._server.run_all([Call(KEEP, keys_of(space), [owner, lease]) for space, owner in held])

    def drop(self, spaces: Sequence[str], owner: str) -> None:
        self._server.run_all([Call(DROP, keys_of(space), [owner]) for space in spaces])

    def unmark(self, space: str, keys: Sequence[str] | None) -> int:
        if keys is not None:
            names = packed(list(dict.fromkeys(keys)))
            return int(self._server.run(UNMARK, keys_of(space), [names]))
        total, more = 0, 1
        while more:
            count, more = self._server.run(UNMARK_SOME, keys_of(space))
            total += count
        return total

    def sweep(self, spaces: Sequence[str]) -> int:
        return sum(self._server.run_all([Call(SWEEP, keys_of(space), ()) for space in spaces]))


_DIGITS = bytes.maketrans(b"012", bytes((BUSY, GRANTED, DONE)))


def _answers(answer: int | bytes) -> bytes:
    return bytes((GRANTED,)) * answer if isinstance(answer, int) else answer.translate(_DIGITS)


def keys_of(space: str) -> list[str]:
    claims, marks = f"fb:claims:{{:{space}}}", f"fb:marks:{{:{space}}}"
    return [
        f"{claims}:owners",
        f"{claims}:held",
        f"{marks}:ever",
        f"{marks}:ends",
        f"{marks}:batches",
    ]
