#!lua flags=allow-oom
-- Notes that what was to be told of a subscription stands in the event log.
--
-- KEYS  1 the subscription
-- ARGV  1 field, 2 what it held
-- Reply 1, or 0 if it holds something else by now
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
