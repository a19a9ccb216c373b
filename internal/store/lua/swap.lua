#!lua
-- Replaces a value that is changed as a whole, unless it was changed by
-- somebody else since it was read.
--
-- KEYS  1 the value
-- ARGV  1 its revision as it was read, '0' where there was none, 2 the new value
-- Reply 1, or 0 if another revision is stored
local next = string.format('%.0f', ARGV[1] + 1)
local stored = redis.call('HMGET', KEYS[1], 'revision', 'value')
if stored[1] == next and stored[2] == ARGV[2] then return 1 end -- this call, whose reply was lost
if (stored[1] or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'revision', next, 'value', ARGV[2])
return 1
