#!lua
-- Notes that lanes have something to deliver, and how far the log was looked
-- through for that.
--
-- KEYS  1 the subscription, 2.. lanes that have news
-- ARGV  1 number of shards, then by shard the position behind which the news
--       stand, then by shard the position up to which was looked, then the
--       lanes' numbers
-- Reply the numbers of the lanes that somebody has to be told to look at now;
--       not those that are being worked on, wait, or cannot be delivered; -1
--       alone, and nothing is noted, if less is known to have been told of than
--       the caller has told: that was lost with a Redis that came back without
--       its last writes
local at, shards = now(), tonumber(ARGV[1])
for shard = 0, shards - 1 do
  local told = redis.call('HGET', KEYS[1], 'n' .. shard) or redis.call('HGET', KEYS[1], 'f' .. shard) or '0'
  if past(ARGV[2 + shard], told) then return {-1} end
end
local e = endpoint(KEYS[1])
local out = {}
for i = 2, #KEYS do
  local f = redis.call('HMGET', KEYS[i], 'want', 'done', 'until', 'next', 'failed')
  local free = tonumber(f[3] or 0) <= at
  if (f[1] or '0') == (f[2] or '0') then
    redis.call('HSET', KEYS[i], 'owes', at)
    -- Nothing is owed, so nothing up to the news needs to be looked at again.
    for shard = 0, free and shards - 1 or -1 do
      local from = ARGV[2 + shard]
      local cursor = redis.call('HGET', KEYS[i], 'c' .. shard) or redis.call('HGET', KEYS[1], 'f' .. shard) or '0'
      if past(from, cursor) then redis.call('HSET', KEYS[i], 'c' .. shard, from) end
    end
  end
  redis.call('HINCRBY', KEYS[i], 'want', 1)
  if free and open(e, at) and not waits(e, f[4], f[5], at) then out[#out + 1] = tonumber(ARGV[2 * shards + i]) end
end
for shard = 0, shards - 1 do
  local upto = ARGV[2 + shards + shard]
  if past(upto, redis.call('HGET', KEYS[1], 'n' .. shard) or '0') then redis.call('HSET', KEYS[1], 'n' .. shard, upto) end
end
return out
