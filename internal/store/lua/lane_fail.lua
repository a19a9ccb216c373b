#!lua flags=allow-oom
-- Gives a lane back until its next attempt.
--
-- KEYS  1 the lane
-- ARGV  1 holder, 2 attempts that failed in a row, 3 ms until the next one may
--       be made
-- Reply 1, or 0 if the lane is not held by this holder
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], 'attempt', ARGV[2], 'next', at + ARGV[3], 'until', 0)
return 1
