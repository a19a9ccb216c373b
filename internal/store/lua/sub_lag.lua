#!lua
-- Notes that a subscription has begun to lag, or has caught up.
--
-- KEYS  1 the subscription
-- ARGV  1 ULID of the event about it, or '' if it has caught up, 2 ms of the
--       oldest event that it is owed
-- Reply 1 if that is new, else 0
if ARGV[1] == '' then return redis.call('HDEL', KEYS[1], 'lagging') end
if redis.call('HEXISTS', KEYS[1], 'lagging') == 1 then return 0 end
local at = string.format('%.0f', now())
redis.call('HSET', KEYS[1], 'lagging', at, 'tell:lagging', ARGV[1] .. ' ' .. at .. ' ' .. ARGV[2] .. ' - ')
return 1
