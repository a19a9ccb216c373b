#!lua flags=allow-oom
-- Describes this installation at its first start, and tells the description
-- at every other.
--
-- KEYS  1 the description
-- ARGV  schema, shards, epoch, keyset, canary
-- Reply what is stored of these, in that order
local exists = redis.call('EXISTS', KEYS[1]) == 1
redis.call('HLEN', KEYS[1])
if not exists then
  redis.call('HSET', KEYS[1], 'schema', ARGV[1], 'shards', ARGV[2], 'epoch', ARGV[3], 'keyset', ARGV[4], 'canary', ARGV[5])
end
return redis.call('HMGET', KEYS[1], 'schema', 'shards', 'epoch', 'keyset', 'canary')
