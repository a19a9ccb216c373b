-- Prelude of the scripts about lanes: the clock, the order of positions, and
-- when a lane may be delivered.

-- How many deliveries of a subscription are remembered.
local REMEMBERED = 100

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- past says whether position a stands behind position b.
local function past(a, b)
  local ams, an = string.match(a, '^(%d+)%-?(%d*)$')
  local bms, bn = string.match(b, '^(%d+)%-?(%d*)$')
  ams, bms = tonumber(ams), tonumber(bms)
  if ams ~= bms then return ams > bms end
  return (tonumber(an) or 0) > (tonumber(bn) or 0)
end

-- endpoint reads what concerns all lanes of a subscription.
local function endpoint(key)
  local f = redis.call('HMGET', key, 'disabled', 'hold', 'open', 'prober', 'probing', 'from', 'till')
  return {
    disabled = f[1], hold = tonumber(f[2] or 0), open = f[3], prober = f[4], probing = tonumber(f[5] or 0),
    from = tonumber(f[6] or 0), till = tonumber(f[7] or 0),
  }
end

-- waits says whether a lane's own next delivery is still to come. Failures of
-- an outage that is over do not count.
local function waits(e, nextAt, failed, at)
  if tonumber(nextAt or 0) <= at then return false end
  failed = tonumber(failed or 0)
  return not (failed >= e.from and failed <= e.till)
end

-- open says whether the endpoint takes deliveries from a lane that nobody holds.
local function open(e, at)
  return not e.disabled and e.hold <= at and not (e.open and e.probing > at)
end

-- move stores a lane's cursors: pairs of field and position from ARGV[i] on.
local function move(key, i)
  for n = i, #ARGV, 2 do redis.call('HSET', key, ARGV[n], ARGV[n + 1]) end
end

-- remember keeps what came of a delivery.
local function remember(key, at, entry)
  redis.call('LPUSH', key, string.format('%.0f ', at) .. entry)
  redis.call('LTRIM', key, 0, REMEMBERED - 1)
end
