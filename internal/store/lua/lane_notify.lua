#!lua
-- Notes that a lane has something to deliver.
--
-- KEYS  1 the lane, 2 the subscription
-- Reply 1 if somebody has to be told to look at it now, else 0: it is being
--       worked on, it waits for its next attempt, the subscription is disabled
local f = redis.call('HMGET', KEYS[1], 'until', 'next')
local disabled = redis.call('HEXISTS', KEYS[2], 'disabled')
redis.call('HINCRBY', KEYS[1], 'want', 1)
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
if disabled == 1 or tonumber(f[1] or 0) > at or tonumber(f[2] or 0) > at then return 0 end
return 1
