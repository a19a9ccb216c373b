#!lua flags=allow-oom
-- Takes from a reservation what has waited for long enough: it was begun, or put
-- back.
--
-- KEYS  1 the reservations: each its ms and how many
-- ARGV  1 reservation, 2 how many
-- Reply how many were taken
--
-- Of no other one: what is never told of would be made up for by what is, and be
-- missing for as long as there is work.
local kept = redis.call('HGET', KEYS[1], ARGV[1])
local since, n = string.match(kept or '', '^(%d+) (%d+)$')
if not since then return 0 end
n = tonumber(n)
local done = math.min(n, tonumber(ARGV[2]))
if done == n then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %d', since, n - done))
end
return done
