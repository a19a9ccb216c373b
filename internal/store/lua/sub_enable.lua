#!lua
-- Has a subscription delivered at once, from where it stopped: one that is
-- disabled is enabled, and lanes and endpoint wait no longer.
--
-- KEYS  1 the subscription, 2.. its lanes
-- Reply 1
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('HSET', KEYS[i], 'attempt', 0, 'next', 0) end
end
redis.call('HDEL', KEYS[1], 'disabled', 'since', 'why', 'stuck',
  'fails', 'row', 'first', 'mixed', 'due', 'idle', 'open', 'probes', 'hold', 'prober', 'probing')
return 1
