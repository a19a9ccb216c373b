#!lua
-- Says what is to be done of events that were trimmed before they were
-- delivered: the receiver is told once, whichever lanes they belong to. Having
-- been told it looks at the present state of everything, so that covers all
-- that was committed before.
--
-- KEYS  1 the subscription
-- ARGV  1 holder of the lane that has come upon it, 2 ms of the newest of the
--       events that are gone, 3 ULID of the event that would tell of them, 4 ms
--       for which the lane may be at telling it
-- Reply {status, ULID, ms when it was come upon, 1 if that was now else 0};
--       status is 0 if the receiver was told since, 1 if this holder is to tell
--       it, 2 if somebody else is at it
local at = now()
local s = redis.call('HMGET', KEYS[1], 'reset', 'gap', 'gapat', 'gapper', 'gapping')
if tonumber(s[1] or 0) > tonumber(ARGV[2]) then return {0, '', 0, 0} end
if s[2] and s[4] and s[4] ~= ARGV[1] and tonumber(s[5]) > at then return {2, '', 0, 0} end
local id, since, first = s[2] or ARGV[3], tonumber(s[3] or at), s[2] and 0 or 1
redis.call('HSET', KEYS[1], 'gap', id, 'gapat', since, 'gapper', ARGV[1], 'gapping', at + ARGV[4], 'gapnow', at)
return {1, id, since, first}
