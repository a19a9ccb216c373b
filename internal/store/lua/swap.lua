#!lua
-- Replaces a value that is changed as a whole, unless it was changed by
-- somebody else since it was read.
--
-- KEYS  1 the value
-- ARGV  1 its revision as it was read, '0' where there was none, 2 the new value
-- Reply 1, or 0 if another revision is stored
if (redis.call('HGET', KEYS[1], 'revision') or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'revision', string.format('%.0f', ARGV[1] + 1), 'value', ARGV[2])
return 1
