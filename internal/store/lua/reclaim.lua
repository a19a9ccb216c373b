#!lua flags=allow-oom
-- Gives back every permit that one owner holds, who is dead.
--
-- KEYS  1 leases by their end, 2 state
-- ARGV  1 what the owner's leases begin with
-- Reply how many were given back
local given = 0
local leases = redis.call('ZRANGE', KEYS[1], 0, -1)
for i = 1, #leases do
  local lease = leases[i]
  if string.sub(lease, 1, #ARGV[1]) == ARGV[1] then
    given = given + (tonumber(redis.call('HGET', KEYS[2], 'l:' .. lease)) or 0)
    redis.call('HDEL', KEYS[2], 'l:' .. lease, 'r:' .. lease)
    redis.call('ZREM', KEYS[1], lease)
  end
end
if given > 0 then
  local used = tonumber(redis.call('HGET', KEYS[2], 'used')) or 0
  redis.call('HSET', KEYS[2], 'used', math.max(used - given, 0))
end
return given
