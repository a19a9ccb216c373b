#!lua flags=allow-oom
-- Ends what sub_gap has begun.
--
-- KEYS  1 the subscription
-- ARGV  1 holder, 2 '1' if the receiver was told, '0' if the next lane is to
-- Reply 1, or 0 if the holder was not at it
local s = redis.call('HMGET', KEYS[1], 'gapper', 'gapnow')
if s[1] ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'gapper', 'gapping', 'gapnow')
if ARGV[2] == '1' then
  redis.call('HDEL', KEYS[1], 'gap', 'gapat')
  redis.call('HSET', KEYS[1], 'reset', s[2])
end
return 1
