#!lua
-- Leases permits of one provider: so many may be out at once, and so many per
-- second are given out by a token bucket. What it holds and how it fills is the
-- caller's to say, who knows how late a permit is used (Limits.bucket).
--
-- While the provider has asked to be left alone nothing is given out.
--
-- KEYS  1 leases by their end, 2 state
-- ARGV  1 most at once (0: any number), 2 what the bucket holds (0: there is
--       none), 3 what fills it in a second, 4 how many are wanted (0: only
--       tell), 5 lease ('': none, whoever asks has a permit that has lapsed),
--       6 ms that it lasts
-- Reply granted, ms for which the rate or the hold lets no other be granted,
--       free now at once (-1: any number), tokens in the bucket in thousandths
--       (-1: any number), what fills it in a second in thousandths
--
-- Repeated with the same lease it tells the same number again. A lease whose
-- holder died ends by itself.
local most, burst, fill = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local want, lease = tonumber(ARGV[4]), ARGV[5]
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
local s = redis.call('HMGET', KEYS[2], 'used', 'tokens', 'at', 'l:' .. lease, 'hold')
local used, tokens = tonumber(s[1] or 0), 0
local ended = redis.call('ZRANGE', KEYS[1], '-inf', at, 'BYSCORE')
for i = 1, #ended do
  local n = redis.call('HGET', KEYS[2], 'l:' .. ended[i])
  used = used - (n or 0)
  redis.call('HDEL', KEYS[2], 'l:' .. ended[i], 'r:' .. ended[i])
  redis.call('ZREM', KEYS[1], ended[i])
end
if used < 0 then used = 0 end
if #ended > 0 then redis.call('HSET', KEYS[2], 'used', used) end
if burst > 0 then
  tokens = tonumber(s[2] or burst)
  local since = tonumber(s[3] or at)
  if since > at then redis.call('HSET', KEYS[2], 'at', at) end -- the clock was set back
  if since < at then tokens = tokens + (at - since) * fill / 1000 end
  if tokens > burst then tokens = burst end
end
local free = -1
if most > 0 then free = math.max(most - used, 0) end
local level = -1
if burst > 0 then level = math.floor(tokens * 1000) end
local filled = math.floor(fill * 1000)
local hold = math.max(tonumber(s[5] or 0) - at, 0)
if want == 0 then return {0, hold, free, level, filled} end
if s[4] and redis.call('ZSCORE', KEYS[1], lease) then return {tonumber(s[4]), 0, free, level, filled} end
if hold > 0 then return {0, hold, free, level, filled} end

local granted = want
if most > 0 then granted = math.min(granted, free) end
if burst > 0 then granted = math.min(granted, math.floor(tokens)) end
if granted > 0 then
  tokens = tokens - granted
  redis.call('HSET', KEYS[2], 'tokens', tostring(tokens), 'at', at)
  if lease ~= '' then
    used = used + granted
    redis.call('ZADD', KEYS[1], at + ARGV[6], lease)
    redis.call('HSET', KEYS[2], 'used', used, 'l:' .. lease, granted)
  end
end
local wait = 0
if granted < want and burst > 0 and tokens < 1 then wait = math.ceil((1 - tokens) * 1000 / fill) end
return {granted, wait, free, level, filled}
