#!lua flags=allow-oom
-- Appends an event that belongs to no credential's version, once.
--
-- KEYS  1 the event log, 2 what was announced last
-- ARGV  1 whose event it is, 2 its ULID, 3 the event
-- Reply 1 if it was appended, 0 if it stands there already
redis.call('XLEN', KEYS[1])
if redis.call('HGET', KEYS[2], ARGV[1]) == ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('XADD', KEYS[1], '*', 'e', ARGV[3])
return 1
