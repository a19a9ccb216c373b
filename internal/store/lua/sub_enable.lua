#!lua
-- Enables a disabled subscription: its lanes are due at once, from where they
-- stopped.
--
-- KEYS  1 the subscription, 2.. its lanes
-- Reply 1 if it was disabled, else 0
if redis.call('HEXISTS', KEYS[1], 'disabled') == 0 then return 0 end
for i = 2, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('HSET', KEYS[i], 'attempt', 0, 'next', 0) end
end
redis.call('HDEL', KEYS[1], 'disabled', 'since', 'why', 'stuck')
return 1
