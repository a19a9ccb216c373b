#!lua
-- Takes a lane: one holder at a time delivers it.
--
-- KEYS  1 the lane, 2 the subscription
-- ARGV  1 holder, 2 ms that the lease lasts
-- Reply '1' if it was taken, else '0': somebody else holds it, its next attempt
--       is to come, the subscription is disabled; then names and values of the
--       lane's state, then those of the subscription's
local lane = redis.call('HGETALL', KEYS[1])
local sub = redis.call('HGETALL', KEYS[2])
local f = redis.call('HMGET', KEYS[1], 'holder', 'until', 'next')
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
local held = tonumber(f[2] or 0) > at
local taken = '0'
if redis.call('HEXISTS', KEYS[2], 'disabled') == 0 and
   ((held and f[1] == ARGV[1]) or (not held and tonumber(f[3] or 0) <= at)) then
  redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', at + ARGV[2], 'lease', ARGV[2])
  taken = '1'
end
return {taken, lane, sub}
