"""What publishers do, and those who look into a queue, inside the server. `redis_scripts` has the
keys."""

from __future__ import annotations

from .scripts import Script

LOOK_THROUGH = 1000
"""Of so many messages with the same priority, the last that came, one is found again that was
published a moment ago."""

PUBLISH = Script("""
-- seconds to remember ids; then due ('' is now), priority, place, id ('' is none), body: five for
-- each, in order. KEYS 5 is a zset of the ids, by the time until when they are remembered.
local ids, time = KEYS[5], nil
local function is_new(id)
  if id == '' then return true end
  if not time then
    time = now()
    local past = math.min(redis.call('ZCOUNT', ids, '-inf', time), #ARGV)
    if past > 0 then redis.call('ZREMRANGEBYRANK', ids, 0, past - 1) end
  end
  local ends = redis.call('ZSCORE', ids, id)
  if ends and tonumber(ends) > time then return false end
  redis.call('ZADD', ids, time + ARGV[1], id)
  return true
end
local soonest = redis.call('ZRANGE', delayed, 0, 0)[1]
for i = 2, #ARGV, 5 do
  if is_new(ARGV[i + 3]) then
    if ARGV[i] ~= '' then
      local member = ARGV[i + 2] .. ':' .. ARGV[i + 1] .. ':0:0:' .. ARGV[i + 4]
      redis.call('ZADD', delayed, ARGV[i], member)
    else
      put_last(tonumber(ARGV[i + 1]), ARGV[i + 4])
    end
  end
end
if time then redis.call('EXPIRE', ids, ARGV[1]) end
ring_if_urgent()
if redis.call('ZRANGE', delayed, 0, 0)[1] ~= soonest then ring() end
""")

WITHDRAW = Script(f"""
-- priority, body; two for each: of the messages like it, the last that came is removed.
for i = 1, #ARGV, 2 do
  local priority, body = tonumber(ARGV[i]), ARGV[i + 1]
  if priority == 0 then
    if redis.call('LPOS', ready, body, 'MAXLEN', {LOOK_THROUGH}) then
      redis.call('LREM', ready, 1, body)
    end
  else
    local low = (9 - priority) * LEVEL
    local high = low + LEVEL - 1
    local last = redis.call('ZREVRANGEBYSCORE', urgent, high, low, 'LIMIT', 0, {LOOK_THROUGH})
    for _, member in ipairs(last) do
      local _, _, found = open_held('+', member)
      if found == body then
        redis.call('ZREM', urgent, member)
        break
      end
    end
  end
end
""")

SIZE = Script("""
-- prefix of held keys, prefix of handed keys
local waiting, in_flight = redis.call('LLEN', ready), 0
if redis.call('LINDEX', ready, -1) == BELL then waiting = waiting - 1 end
for _, entry in ipairs(redis.call('ZRANGE', owners, 0, -1)) do
  local owner = owner_of(entry)
  in_flight = in_flight + math.max(0, redis.call('HLEN', ARGV[1] .. owner) - 1)
  for _, body in ipairs(redis.call('LRANGE', ARGV[2] .. owner, 0, -1)) do
    if body ~= BELL then in_flight = in_flight + 1 end
  end
end
local due = redis.call('ZCOUNT', delayed, '-inf', now())
return {waiting + redis.call('ZCARD', urgent) + due, in_flight, redis.call('ZCARD', delayed) - due}
""")

PURGE = Script("""
local removed = redis.call('LLEN', ready) + redis.call('ZCARD', urgent)
  + redis.call('ZCARD', delayed)
if redis.call('LINDEX', ready, -1) == BELL then removed = removed - 1 end
redis.call('UNLINK', ready, urgent, delayed)
return removed
""")
