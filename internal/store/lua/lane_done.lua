#!lua flags=allow-oom
-- Gives back a lane that was delivered to its end, unless more has come.
--
-- KEYS  1 the lane, 2 the subscription
-- ARGV  1 holder, 2 the wants that were seen before the end was reached, then
--       field and position of each cursor
-- Reply 0 if it was given back, 1 if there is more: the lease is extended,
--       -1 if the lane is not held by this holder
local f = redis.call('HMGET', KEYS[1], 'holder', 'want', 'lease', 'until')
if f[1] ~= ARGV[1] then return -1 end
if f[4] == '0' then return 0 end
move(KEYS[1], 3)
if (f[2] or '0') ~= ARGV[2] then
  redis.call('HSET', KEYS[1], 'until', now() + f[3])
  return 1
end
redis.call('HSET', KEYS[1], 'done', ARGV[2], 'attempt', 0, 'next', 0, 'until', 0)
redis.call('HDEL', KEYS[1], 'owes')
if redis.call('HGET', KEYS[2], 'prober') == ARGV[1] then redis.call('HDEL', KEYS[2], 'prober', 'probing') end
return 0
