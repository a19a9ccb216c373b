#!lua flags=allow-oom
-- Removes a subscription of the version that its remover saw, and notes that
-- its lanes are still there.
--
-- KEYS  1 the subscriptions
-- ARGV  1 name, 2 version, 3 now in ms
-- Reply 1, or 0 if another version is stored
local stored, note = redis.call('HGET', KEYS[1], ARGV[1]), '#deleted:' .. ARGV[1]
if not stored then return redis.call('HEXISTS', KEYS[1], note) end -- this call, whose reply was lost
if string.match(stored, '^(%d+) ') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], note, ARGV[3])
redis.call('HINCRBY', KEYS[1], '#revision', 1)
return 1
