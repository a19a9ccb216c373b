#!lua flags=allow-oom
-- Gives out no permits of a provider for a while. A longer hold that stands is
-- kept.
--
-- KEYS  1 state
-- ARGV  1 ms, 2 reason, 3 detail
-- Reply 1
local t = redis.call('TIME')
local till = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[1])
if till > tonumber(redis.call('HGET', KEYS[1], 'hold') or 0) then
  redis.call('HSET', KEYS[1], 'hold', till, 'why', ARGV[2], 'detail', ARGV[3])
end
return 1
