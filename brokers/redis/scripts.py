"""What a consumer of the Redis broker does inside the server, where each script is one indivisible
step; those of everybody else are in `redis_queue_scripts`.

Keys of queue Q, all in one cluster slot (the braces are Redis's hash tag):

    Q                     list    ready bodies, bare, so that any language can LPUSH; consumed from
                                  the right
    fb:{Q}:urgent         zset    ready messages with a priority, or returned with a delivery count;
                                  all go before the list
    fb:{Q}:delayed        zset    messages that wait, by due Unix time
    fb:{Q}:owners         zset    consumers, by the time their lease ends (the server's clock)
    fb:{Q}:held:OWNER     hash    what a consumer has in flight: token -> body, "+token" -> urgent
                                  member, "" -> registration
    fb:{Q}:handed:OWNER   list    what a blocked BLMOVE handed to it, until the next step files or
                                  returns it

An urgent member is `score:deliveries:body`, a delayed one `id:priority:deliveries:front:body`.

Blocked consumers wait at Q only, so that a foreign LPUSH wakes them. Hence the doorbell: as long as
`urgent` holds anything, Q is not empty; a bell lies in it when no message does. A bell is always
the rightmost element and never delivered.
"""

from __future__ import annotations

from fbcli.broker import Delivery
from fbcli.clients.lua import LuaScript

BELL = b"\0fb:bell"

LEVEL = 10**13
"""Width of one priority's band of scores in `urgent`; new ones are placed from its middle on, to
the front or the back. Ten bands stay below 2**53, up to which a score is an exact integer."""

MOVE_AT_ONCE = 1000
"""Due messages moved by one step, about a millisecond of the server's time."""

GHOST_SECONDS = 10
"""How long a dead consumer stays listed after its messages were taken back, in case a BLMOVE it
left behind in the server was handed one more. Longer than `BLOCK_SECONDS` of the inbox."""


class Script(LuaScript):
    """A script that knows the keys of a queue by their names."""

    def __init__(self, body: str) -> None:
        super().__init__(_PRELUDE + body)


def headed(member: bytes, token: str = "") -> Delivery:
    """Read an urgent member."""
    score, deliveries, body = member.split(b":", 2)
    return Delivery(body, token, int(deliveries) + 1, 9 - int(score) // LEVEL)


_PRELUDE = f"""
local ready, urgent, delayed = KEYS[1], KEYS[2], KEYS[3]
local owners, held, handed = KEYS[4], KEYS[5], KEYS[6]
local BELL, LEVEL = '\\0fb:bell', {LEVEL}

-- A dead consumer stays listed for a while, under another name than the living.
local function owner_of(entry)
  if string.byte(entry) == 126 then return string.sub(entry, 2) end  -- 126 is '~'
  return entry
end

local function now()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end

local function ring()
  if redis.call('LLEN', ready) == 0 then redis.call('LPUSH', ready, BELL) end
end

local function ring_if_urgent()
  if redis.call('EXISTS', urgent) == 1 then ring() end
end

local function put_urgent(priority, deliveries, body, front)
  local low = (9 - priority) * LEVEL
  local high, score, edge = low + LEVEL - 1, low + LEVEL / 2, nil
  if front then
    edge = redis.call('ZRANGEBYSCORE', urgent, low, high, 'WITHSCORES', 'LIMIT', 0, 1)
  else
    edge = redis.call('ZREVRANGEBYSCORE', urgent, high, low, 'WITHSCORES', 'LIMIT', 0, 1)
  end
  if edge[2] then score = edge[2] + (front and -1 or 1) end
  redis.call('ZADD', urgent, score, string.format('%.0f:%d:', score, deliveries) .. body)
end

local function put_front(priority, deliveries, body)
  if priority > 0 or deliveries > 0 then
    put_urgent(priority, deliveries, body, true)
  else
    if redis.call('LINDEX', ready, -1) == BELL then redis.call('RPOP', ready) end
    redis.call('RPUSH', ready, body)
  end
end

local function put_last(priority, body)
  if priority > 0 then
    put_urgent(priority, 0, body, false)
  else
    redis.call('LPUSH', ready, body)
  end
end

local function open_held(field, value)
  if string.byte(field) ~= 43 then return 0, 0, value end  -- 43 is '+'
  local score, deliveries, start = string.match(value, '^(%d+):(%d+):()')
  return 9 - math.floor(score / LEVEL), tonumber(deliveries), string.sub(value, start)
end

-- Newest first, each to the very front: so the oldest ends up foremost.
local function give_back(held, handed, lost)
  local given = 0
  for _, body in ipairs(redis.call('LRANGE', handed, 0, -1)) do
    if body ~= BELL then
      put_front(0, lost, body)
      given = given + 1
    end
  end
  local fields = redis.call('HKEYS', held)
  table.sort(fields, function(a, b) return (tonumber(a) or 0) > (tonumber(b) or 0) end)
  for _, field in ipairs(fields) do
    if field ~= '' then
      local priority, deliveries, body = open_held(field, redis.call('HGET', held, field))
      put_front(priority, deliveries + lost, body)
      given = given + 1
    end
  end
  redis.call('DEL', held, handed)
  ring_if_urgent()
  return given
end
"""

CLAIM = Script(f"""
-- limit, first token, generation, owner, lease, recover from this token, token of what is to be
-- filed, its body
local limit, token = tonumber(ARGV[1]), tonumber(ARGV[2])
local lost, wait, recovered = 0, -1, {{}}

local registered = redis.call('HGET', held, '')
if registered ~= ARGV[3] then
  -- A request whose sender has given it up, delayed on the way: what it took would be missed by
  -- nobody.
  if registered and registered > ARGV[3] then
    return redis.error_reply('ERR fb: a later request came first')
  end
  if not registered then
    lost = 1
    redis.call('ZREM', owners, '~' .. ARGV[4])
    redis.call('ZADD', owners, now() + ARGV[5], ARGV[4])
  end
  redis.call('HSET', held, '', ARGV[3])
end
if ARGV[6] ~= '' then
  for _, field in ipairs(redis.call('HKEYS', held)) do
    if field ~= '' and tonumber(field) >= tonumber(ARGV[6]) then
      table.insert(recovered, field)
      table.insert(recovered, redis.call('HGET', held, field))
      limit = 0  -- there is work enough
    end
  end
end

if ARGV[7] ~= '' and redis.call('LREM', handed, 1, ARGV[8]) == 1 then
  redis.call('HSET', held, ARGV[7], ARGV[8])
end
local body = redis.call('LPOP', handed)
while body do
  if body ~= BELL then put_front(0, 0, body) end
  body = redis.call('LPOP', handed)
end

local soonest = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if soonest[2] then
  local time = now()
  if tonumber(soonest[2]) <= time then
    local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', time, 'LIMIT', 0, {MOVE_AT_ONCE})
    local returned = {{}}
    for _, member in ipairs(due) do
      local priority, deliveries, front, start = string.match(member, '^%x*:(%d):(%d+):(%d):()')
      priority, deliveries = tonumber(priority), tonumber(deliveries)
      local body = string.sub(member, start)
      if front == '1' then
        table.insert(returned, {{priority, deliveries, body}})
      else
        put_last(priority, body)
      end
    end
    for i = #returned, 1, -1 do put_front(unpack(returned[i])) end
    redis.call('ZREMRANGEBYRANK', delayed, 0, #due - 1)
    soonest = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  end
  if soonest[2] then wait = math.max(0, math.ceil((soonest[2] - time) * 1000)) end
end

local members, bodies, fields, n = {{}}, {{}}, {{}}, 0
if limit > 0 then
  local popped = redis.call('ZPOPMIN', urgent, limit)
  for i = 1, #popped, 2 do
    n = n + 1
    members[n] = popped[i]
    fields[2 * n - 1], fields[2 * n] = '+' .. string.format('%.0f', token), popped[i]
    token = token + 1
  end
end
local count = n
while n < limit do
  local room = limit - n
  local popped = redis.call('RPOP', ready, room)
  if not popped then break end
  for _, body in ipairs(popped) do
    if body ~= BELL then
      n = n + 1
      bodies[n - count], fields[2 * n - 1], fields[2 * n] = body, token, body
      token = token + 1
    end
  end
  if #popped < room then break end
end
if n > 0 then redis.call('HSET', held, unpack(fields)) end
if count == limit then ring_if_urgent() end
return {{lost, wait, bodies, members, recovered}}
""")

RELEASE = Script("""
-- token, delay, id, 1 if there is a new body, new body, 1 if it goes to the back; six for each,
-- those to the front first, the last delivered of them foremost. Returns the tokens not held.
-- Note: at the back the count of lost deliveries begins anew: what has one lies before the list.
local missing, time, soonest = {}, now(), redis.call('ZRANGE', delayed, 0, 0)[1]
for i = 1, #ARGV, 6 do
  local value = redis.call('HGET', held, ARGV[i])
  if value then
    local priority, deliveries, body = open_held(ARGV[i], value)
    if ARGV[i + 3] == '1' then body = ARGV[i + 4] end
    local delay = tonumber(ARGV[i + 1])
    local back = ARGV[i + 5] == '1'
    if delay > 0 then
      local front = back and 0 or 1
      local start = string.format('%s:%d:%d:%d:', ARGV[i + 2], priority, deliveries, front)
      redis.call('ZADD', delayed, time + delay, start .. body)
    elseif back then
      put_last(priority, body)
    else
      put_front(priority, deliveries, body)
    end
    redis.call('HDEL', held, ARGV[i])
  else
    table.insert(missing, ARGV[i])
  end
end
ring_if_urgent()
if redis.call('ZRANGE', delayed, 0, 0)[1] ~= soonest then ring() end
return missing
""")

BURY = Script("""
-- token, 1 if there is a new body, new body; three for each. KEYS 7 and 8 are the ready list and
-- the urgent of the dead letters. Returns the tokens not held.
local missing = {}
ready, urgent = KEYS[7], KEYS[8]
for i = 1, #ARGV, 3 do
  local value = redis.call('HGET', held, ARGV[i])
  if value then
    local priority, _, body = open_held(ARGV[i], value)
    if ARGV[i + 1] == '1' then body = ARGV[i + 2] end
    put_last(priority, body)
    redis.call('HDEL', held, ARGV[i])
  else
    table.insert(missing, ARGV[i])
  end
end
ring_if_urgent()
return missing
""")

ACKNOWLEDGE = Script("""
-- 1 if one of the tokens is of what lies in `handed`, its body, packed tokens. Returns how many
-- were there.
local removed, tokens = 0, cmsgpack.unpack(ARGV[3])
if ARGV[1] == '1' then removed = redis.call('LREM', handed, 1, ARGV[2]) end
for i = 1, #tokens, 5000 do
  removed = removed + redis.call('HDEL', held, unpack(tokens, i, math.min(i + 4999, #tokens)))
end
return removed
""")

BEAT = Script(f"""
-- owner, lease; two for each of several inboxes, and as KEYS the first four of each. Returns, for
-- each, how many messages of dead consumers came back to its queue; then which have lost their
-- leases.
-- Note: two commands for each where all is well: a process may have a hundred.
local time, given, lost = now(), {{}}, {{}}
for i = 1, #ARGV / 2 do
  local owner, until_then = ARGV[2 * i - 1], time + ARGV[2 * i]
  ready, urgent, delayed, owners = KEYS[4 * i - 3], KEYS[4 * i - 2], KEYS[4 * i - 1], KEYS[4 * i]
  local tag = string.sub(owners, 1, -7)  -- what is before "owners"
  if redis.call('ZADD', owners, 'XX', 'CH', until_then, owner) == 0 then
    if redis.call('EXISTS', tag .. 'held:' .. owner) == 1 then
      redis.call('ZADD', owners, until_then, owner)
    else
      table.insert(lost, i)
    end
  end
  given[i] = 0
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', owners, '-inf', time)) do
    local name = owner_of(entry)
    local held, handed = tag .. 'held:' .. name, tag .. 'handed:' .. name
    redis.call('ZREM', owners, entry)
    if redis.call('EXISTS', held, handed) > 0 then
      given[i] = given[i] + give_back(held, handed, 1)
      redis.call('ZADD', owners, time + {GHOST_SECONDS}, '~' .. name)
    end
  end
end
return {{given, lost}}
""")

LEAVE = Script(f"""
-- owner, 1 if its BLMOVE is surely gone
give_back(held, handed, 0)
redis.call('ZREM', owners, ARGV[1], '~' .. ARGV[1])
if ARGV[2] ~= '1' then redis.call('ZADD', owners, now() + {GHOST_SECONDS}, '~' .. ARGV[1]) end
""")
