#!lua flags=allow-oom
-- Gives permits of a lease back.
--
-- KEYS  1 leases by their end, 2 state
-- ARGV  1 lease, 2 how many, 3 nonce of 8 digits that tells a repetition
-- Reply how many were given back
local l, r = 'l:' .. ARGV[1], 'r:' .. ARGV[1]
local f = redis.call('HMGET', KEYS[2], l, r)
if not f[1] then return 0 end
local seen = f[2] or ''
if string.find(seen, ARGV[3], 1, true) then return 0 end
local left = math.max(f[1] - ARGV[2], 0)
if left > 0 then
  redis.call('HSET', KEYS[2], l, left, r, seen .. ARGV[3])
else
  redis.call('HDEL', KEYS[2], l, r)
  redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('HINCRBY', KEYS[2], 'used', left - f[1])
return f[1] - left
