#!lua flags=allow-oom
-- Notes how many of a reservation were claimed: the rest is there for others.
--
-- KEYS  1 the reservations: each its ms and how many
-- ARGV  1 reservation, 2 how many were claimed
-- Reply 1, or 0 where the reservation is gone
local kept = redis.call('HGET', KEYS[1], ARGV[1])
local since = kept and string.match(kept, '^%d+')
if not since then return 0 end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], since .. ' ' .. ARGV[2])
end
return 1
