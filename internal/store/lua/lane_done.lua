#!lua flags=allow-oom
-- Gives back a lane that was delivered to its end, unless more has come.
--
-- KEYS  1 the lane
-- ARGV  1 holder, 2 the wants that were seen before the end was reached
-- Reply 0 if it was given back, 1 if there is more: the lease is extended,
--       -1 if the lane is not held by this holder
local f = redis.call('HMGET', KEYS[1], 'holder', 'want', 'lease', 'until')
if f[1] ~= ARGV[1] then return -1 end
if f[4] == '0' then return 0 end
if (f[2] or '0') == ARGV[2] then
  redis.call('HSET', KEYS[1], 'done', ARGV[2], 'attempt', 0, 'next', 0, 'until', 0)
  return 0
end
local t = redis.call('TIME')
redis.call('HSET', KEYS[1], 'until', t[1] * 1000 + math.floor(t[2] / 1000) + f[3])
return 1
