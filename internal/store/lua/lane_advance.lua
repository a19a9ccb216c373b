#!lua flags=allow-oom
-- Moves a lane's cursors past what was delivered or needs no delivery, and
-- extends the lease. What was delivered ends the failures before it, the lane's
-- and the endpoint's.
--
-- KEYS  1 the lane, 2 the subscription, 3 its last deliveries
-- ARGV  1 holder, 2 the delivery to remember or '', 3 ms of the event that was
--       delivered, then field and position of each cursor
-- Reply 1, 2 if that closed the breaker, 3 if nothing more is to be delivered
--       for now, 0 if the lane is not held by this holder
local f = redis.call('HMGET', KEYS[1], 'holder', 'until', 'lease')
if f[1] ~= ARGV[1] or f[2] == '0' then return 0 end
local at, e = now(), endpoint(KEYS[2])
local status = (e.disabled or e.hold > at and not e.open) and 3 or 1
move(KEYS[1], 4)
redis.call('HSET', KEYS[1], 'until', at + f[3])
if ARGV[2] == '' then return status end
redis.call('HSET', KEYS[1], 'attempt', 0, 'next', 0, 'owes', ARGV[3])
remember(KEYS[3], at, ARGV[2])
local row = redis.call('HGET', KEYS[2], 'row')
if not row then return status end
redis.call('HDEL', KEYS[2], 'fails', 'row', 'first', 'mixed', 'due', 'idle')
if not e.open then return status end
redis.call('HDEL', KEYS[2], 'open', 'probes', 'hold', 'prober', 'probing')
redis.call('HSET', KEYS[2], 'from', row, 'till', at)
return 2
