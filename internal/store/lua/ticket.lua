#!lua
-- Stores a ticket, unless its key has made too many in the last while.
--
-- KEYS  1 the ticket, 2 the count of its key's tickets
-- ARGV  1 what it lets see, 2 ms that it lasts and that tickets are counted
--       together, 3 most tickets of one key in that time
-- Reply 0, or the ms after which the key may make one again
local made = redis.call('INCR', KEYS[2])
if made == 1 then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
if made > tonumber(ARGV[3]) then
  redis.call('DECR', KEYS[2])
  return math.max(redis.call('PTTL', KEYS[2]), 1)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0
