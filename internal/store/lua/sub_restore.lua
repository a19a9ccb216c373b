#!lua flags=allow-oom
-- Puts a version of a subscription back that was lost, unless a later one is
-- stored or it was removed.
--
-- KEYS  1 the subscriptions, 2 the note which of that name was removed last
-- ARGV  1 name, 2 the record, which begins with its version, a space, and when it
--       was made, 3 by how much the revision grows: to what nobody has seen who
--       saw what was lost
-- Reply 1, or 0 if there was nothing to do
local function numbers(record)
  local version, created = string.match(record, '^(%d+) (%d+) ')
  return tonumber(version), tonumber(created)
end
local version, created = numbers(ARGV[2])
if created <= tonumber(redis.call('GET', KEYS[2]) or 0) then return 0 end
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored then
  local has, since = numbers(stored)
  if not has or since > created or (since == created and has >= version) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[1], '#deleted:' .. ARGV[1])
redis.call('HINCRBY', KEYS[1], '#revision', ARGV[3])
return 1
