#!lua flags=allow-oom
-- Removes what is kept of a subscription's deliveries, if it was deleted.
--
-- KEYS  1 the subscription, 2.. its lanes and whatever else is kept of it
-- ARGV  1 the reason that says so
-- Reply how many keys were removed
if redis.call('HGET', KEYS[1], 'disabled') ~= ARGV[1] then return 0 end
return redis.call('DEL', unpack(KEYS))
