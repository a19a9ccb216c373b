#!lua
-- Replaces the canary after a rotation of the keyset.
--
-- KEYS  1 the description of the installation
-- ARGV  1 fingerprint that is expected, 2 the new one, 3 the new canary
-- Reply 1 if it was replaced, else 0
if redis.call('HGET', KEYS[1], 'keyset') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'keyset', ARGV[2], 'canary', ARGV[3])
return 1
