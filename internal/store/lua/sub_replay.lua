#!lua
-- Moves all lanes of a subscription to one place in the log, whatever they have
-- delivered, and takes them from whoever holds them. A disabled subscription is
-- enabled by it.
--
-- KEYS  1 the subscription, 2.. its lanes
-- ARGV  positions by shard
-- Reply 1
for i = 2, #KEYS do
  for shard = 1, #ARGV do redis.call('HSET', KEYS[i], 'c' .. (shard - 1), ARGV[shard]) end
  redis.call('HSET', KEYS[i], 'holder', '', 'until', 0, 'attempt', 0, 'next', 0, 'failed', 0, 'owes', now())
  redis.call('HINCRBY', KEYS[i], 'want', 1)
end
redis.call('HDEL', KEYS[1], 'disabled', 'since', 'why', 'stuck',
  'fails', 'row', 'first', 'mixed', 'due', 'idle', 'open', 'probes', 'hold', 'prober', 'probing')
return 1
