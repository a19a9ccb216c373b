#!lua
-- Takes a lane: one holder at a time delivers it. While the breaker of the
-- endpoint is open, one lane at a time makes a probe.
--
-- KEYS  1 the lane, 2 the subscription
-- ARGV  1 holder, 2 ms that the lease lasts
-- Reply '1' if it was taken, '2' if that is for a probe, else '0': somebody else
--       holds it, its next delivery is to come, the endpoint is held or the
--       subscription is disabled; then names and values of the lane's state,
--       then those of the subscription's
local lane = redis.call('HGETALL', KEYS[1])
local sub = redis.call('HGETALL', KEYS[2])
local f = redis.call('HMGET', KEYS[1], 'holder', 'until', 'next', 'failed')
local at, e = now(), endpoint(KEYS[2])
local held = tonumber(f[2] or 0) > at
local mine, taken = held and f[1] == ARGV[1], '0'
if mine and not e.disabled or not held and open(e, at) and not waits(e, f[3], f[4], at) then
  taken = '1'
  redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', at + ARGV[2], 'lease', ARGV[2])
  if e.open and (not mine or e.prober == ARGV[1]) then
    taken = '2'
    redis.call('HSET', KEYS[2], 'prober', ARGV[1], 'probing', at + ARGV[2])
  end
end
return {taken, lane, sub}
