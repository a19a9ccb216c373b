#!lua flags=allow-oom
-- Gives a lane back in the middle of its work, to whoever takes it next.
--
-- KEYS  1 the lane, 2 the subscription
-- ARGV  1 holder, then field and position of each cursor
-- Reply 1, or 0 if the lane is not held by this holder
if redis.call('HGET', KEYS[1], 'holder') ~= ARGV[1] then return 0 end
move(KEYS[1], 2)
redis.call('HSET', KEYS[1], 'until', 0)
if redis.call('HGET', KEYS[2], 'prober') == ARGV[1] then redis.call('HDEL', KEYS[2], 'prober', 'probing') end
return 1
