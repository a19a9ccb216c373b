#!lua flags=no-writes
-- KEYS  1 the subscription, 2.. its lanes
-- ARGV  1 now
-- Reply the numbers, from 0, of the lanes that have something to deliver, are
--       held by nobody and may be delivered now
if redis.call('HEXISTS', KEYS[1], 'disabled') == 1 then return {} end
local at, out = tonumber(ARGV[1]), {}
for i = 2, #KEYS do
  local f = redis.call('HMGET', KEYS[i], 'want', 'done', 'until', 'next')
  if (f[1] or '0') ~= (f[2] or '0') and tonumber(f[3] or 0) <= at and tonumber(f[4] or 0) <= at then
    out[#out + 1] = i - 2
  end
end
return out
