#!lua flags=allow-oom
-- Removes a field for good, and notes that, so that nobody puts it back who does
-- not know of it.
--
-- KEYS  1 the hash, 2 the note
-- ARGV  1 field, 2 what is noted, 3 seconds that the note lasts
-- Reply 1, or 0 if there was no such field
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return redis.call('HDEL', KEYS[1], ARGV[1])
