#!lua flags=allow-oom
-- Stops the deliveries of a subscription and takes its lanes from whoever holds
-- them. Its cursors stay.
--
-- KEYS  1 the subscription, 2.. its lanes
-- ARGV  1 why, 2 '1' if that replaces the reason why it is disabled already
-- Reply 1, or 0 if it was never started, or if it was disabled already and
--       stays so for the old reason
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('HEXISTS', KEYS[1], 'disabled') == 1 and ARGV[2] ~= '1' then return 0 end
local t = redis.call('TIME')
local at = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
redis.call('HSET', KEYS[1], 'disabled', ARGV[1], 'since', at)
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('HSET', KEYS[i], 'holder', '', 'until', 0) end
end
return 1
