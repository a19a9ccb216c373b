#!lua flags=no-writes
-- Looks over a subscription's lanes.
--
-- KEYS  1 the subscription, 2.. its lanes
-- Reply the numbers, from 0, of the lanes that have something to deliver, are
--       held by nobody and may be delivered now; while the breaker is open
--       that is the one whose last failure is the longest ago. Then ms of the
--       oldest event that is owed, 0 if there is none, then names and values
--       of the subscription's state
local at, e = now(), endpoint(KEYS[1])
local out, oldest, least = {}, 0, nil
for i = 2, #KEYS do
  local f = redis.call('HMGET', KEYS[i], 'want', 'done', 'until', 'next', 'failed', 'owes')
  if (f[1] or '0') ~= (f[2] or '0') then
    local owes = tonumber(f[6] or 0)
    if owes > 0 and (oldest == 0 or owes < oldest) then oldest = owes end
    if tonumber(f[3] or 0) <= at and open(e, at) and not waits(e, f[4], f[5], at) then
      local failed = tonumber(f[5] or 0)
      if not e.open then
        out[#out + 1] = i - 2
      elseif not least or failed < least then
        out[1], least = i - 2, failed
      end
    end
  end
end
return {out, oldest, redis.call('HGETALL', KEYS[1])}
