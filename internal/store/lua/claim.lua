#!lua
-- Claims the due: moves their scores so that nobody else claims them for a
-- while.
--
-- KEYS  1 a due index, 2 where the reply is kept for a repetition
-- ARGV  1 ms for which a claim lasts, 2 ms for which the reply is kept, then
--       the IDs
-- Reply the IDs that were claimed: those whose score had passed
local kept = redis.call('GET', KEYS[2])
if kept then
  local ids = {}
  for id in string.gmatch(kept, '%S+') do ids[#ids + 1] = id end
  return ids
end
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
local till = at + ARGV[1]
local ids = {}
for from = 3, #ARGV, 1000 do
  local to = math.min(from + 999, #ARGV)
  local scores = redis.call('ZMSCORE', KEYS[1], unpack(ARGV, from, to))
  local moved = {}
  for i = from, to do
    local score = scores[i - from + 1]
    if score and tonumber(score) <= at then
      ids[#ids + 1] = ARGV[i]
      moved[#moved + 1] = till
      moved[#moved + 1] = ARGV[i]
    end
  end
  for i = 1, #moved, 1000 do redis.call('ZADD', KEYS[1], unpack(moved, i, math.min(i + 999, #moved))) end
end
if #ids > 0 then redis.call('SET', KEYS[2], table.concat(ids, ' '), 'PX', ARGV[2]) end
return ids
