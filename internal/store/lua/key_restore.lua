#!lua flags=allow-oom
-- Puts an API key back that was lost, unless it was revoked.
--
-- KEYS  1 the API keys, 2 the note that it was revoked
-- ARGV  1 hash of the key, 2 its description
-- Reply 1, or 0 if it is there, or was revoked
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
