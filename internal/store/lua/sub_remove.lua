#!lua flags=allow-oom
-- Removes a subscription of the version that its remover saw, and notes that
-- its lanes are still there.
--
-- KEYS  1 the subscriptions, 2 the note which of that name was removed last
-- ARGV  1 name, 2 version, 3 now in ms, 4 seconds that the note lasts
-- Reply when it was made, or 0 if another version is stored
local stored, note = redis.call('HGET', KEYS[1], ARGV[1]), '#deleted:' .. ARGV[1]
if not stored then -- this call, whose reply was lost
  return redis.call('HEXISTS', KEYS[1], note) * tonumber(redis.call('GET', KEYS[2]) or 1)
end
local version, created = string.match(stored, '^(%d+) (%d+) ')
if version ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], note, ARGV[3])
redis.call('SET', KEYS[2], created, 'EX', ARGV[4])
redis.call('HINCRBY', KEYS[1], '#revision', 1)
return tonumber(created)
