#!lua flags=allow-oom
-- Moves a lane's cursor past what was delivered, and extends the lease.
--
-- KEYS  1 the lane
-- ARGV  1 holder, 2 field of the cursor, 3 cursor
-- Reply 1, or 0 if the lane is not held by this holder
local f = redis.call('HMGET', KEYS[1], 'holder', 'until', 'lease')
if f[1] ~= ARGV[1] or f[2] == '0' then return 0 end
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3], 'attempt', 0, 'next', 0, 'until', at + f[3])
return 1
