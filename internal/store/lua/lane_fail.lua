#!lua flags=allow-oom
-- Gives a lane back until its next attempt.
--
-- KEYS  1 the lane
-- ARGV  1 holder, 2 attempts that failed in a row, 3 ms at which the next one
--       may be made
-- Reply 1, or 0 if the lane is not held by this holder
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'attempt', ARGV[2], 'next', ARGV[3], 'until', 0)
return 1
