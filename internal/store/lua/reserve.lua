#!lua
-- Reserves claims of one provider's credentials: of the room that it has, that is
-- gone already which any replica has reserved, and no worker has begun.
--
-- KEYS  1 the reservations: each its ms and how many
-- ARGV  1 reservation, 2 ms for which one is kept, 3 how many there is room for,
--       4 how many are wanted
-- Reply how many are reserved
--
-- Repeated with the same reservation it tells the same number again. One that is
-- not within what is kept, before now or after (the clock was set back), is gone.
local keep, room = tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
local list = redis.call('HGETALL', KEYS[1])
for i = 1, #list, 2 do
  local since, n = string.match(list[i + 1], '^(%d+) (%d+)$')
  local age = at - (tonumber(since) or 0)
  if age < 0 or age >= keep then
    redis.call('HDEL', KEYS[1], list[i])
  elseif list[i] == ARGV[1] then
    return tonumber(n)
  else
    room = room - n
  end
end
local reserved = math.max(math.min(tonumber(ARGV[4]), room), 0)
if reserved > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %d', at, reserved))
  redis.call('PEXPIRE', KEYS[1], keep)
end
return reserved
