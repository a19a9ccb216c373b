#!lua flags=no-writes
-- KEYS  1 a due index
-- ARGV  1 the most that is asked for
-- Reply now, then the IDs whose score has passed, the lowest score first
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
local ids = redis.call('ZRANGE', KEYS[1], '-inf', at, 'BYSCORE', 'LIMIT', 0, ARGV[1])
table.insert(ids, 1, at)
return ids
