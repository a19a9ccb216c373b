#!lua flags=allow-oom
-- Trims the oldest part of an event log.
--
-- KEYS  1 the log, 2 where the position of the newest trimmed entry is kept
-- ARGV  1 ms before which entries go, 2 ms that one call covers at most
-- Reply how many were trimmed, 1 if there is more to trim else 0
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not first then return {0, 0} end
local from = tonumber(string.match(first[1], '^%d+'))
local before = tonumber(ARGV[1])
if from >= before then return {0, 0} end
local till, more = before, 0
if from + ARGV[2] < before then till, more = from + ARGV[2], 1 end
local edge = string.format('%.0f-0', till)
local last = redis.call('XREVRANGE', KEYS[1], '(' .. edge, '-', 'COUNT', 1)[1]
if not last then return {0, more} end
redis.call('SET', KEYS[2], last[1])
return {redis.call('XTRIM', KEYS[1], 'MINID', edge), more}
