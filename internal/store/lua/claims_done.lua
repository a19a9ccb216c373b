#!lua flags=allow-oom
-- Takes from the reservations, the oldest first, what has waited for long enough:
-- it was begun, or put back.
--
-- KEYS  1 the reservations: each its ms and how many
-- ARGV  1 how many
-- Reply how many were taken
local list = redis.call('HGETALL', KEYS[1])
local order = {}
for i = 1, #list, 2 do
  local since, n = string.match(list[i + 1], '^(%d+) (%d+)$')
  order[#order + 1] = {id = list[i], since = tonumber(since) or 0, n = tonumber(n) or 0}
end
table.sort(order, function(a, b)
  if a.since ~= b.since then return a.since < b.since end
  return a.id < b.id
end)
local left = tonumber(ARGV[1])
for i = 1, #order do
  if left == 0 then break end
  local o = order[i]
  local n = math.min(o.n, left)
  left = left - n
  if n == o.n then
    redis.call('HDEL', KEYS[1], o.id)
  else
    redis.call('HSET', KEYS[1], o.id, string.format('%.0f %d', o.since, o.n - n))
  end
end
return ARGV[1] - left
