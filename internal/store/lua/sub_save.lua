#!lua
-- Stores a subscription, in place of the version that its writer saw.
--
-- KEYS  1 the subscriptions
-- ARGV  1 name, 2 version that is replaced, 0 for none, 3 the record, which
--       begins with its version and a space
-- Reply 1, or 0 if another version is stored
local stored = redis.call('HGET', KEYS[1], ARGV[1]) or '0 '
if stored == ARGV[3] then return 1 end -- this call, whose reply was lost
if string.match(stored, '^(%d+) ') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HDEL', KEYS[1], '#deleted:' .. ARGV[1])
redis.call('HINCRBY', KEYS[1], '#revision', 1)
return 1
