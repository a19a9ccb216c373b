#!lua flags=allow-oom
-- Keeps the progress of a running slot, or its end.
--
-- KEYS  1 the task
-- ARGV  1 slot, 2 owner, 3 ms that the lease lasts, '0' at the end, 4 cursor,
--       5 counts, 6 outcome
-- Reply 1, or 0 if the slot is not run by this owner
local f = redis.call('HMGET', KEYS[1], 'running', 'owner', 'done')
if f[2] ~= ARGV[2] then return 0 end
if f[1] ~= ARGV[1] then
  if ARGV[3] == '0' and f[1] == '' and f[3] == ARGV[1] then return 1 end
  return 0
end
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[3] == '0' then
  redis.call('HSET', KEYS[1], 'running', '', 'done', ARGV[1], 'until', 0, 'cursor', '', 'counts', ARGV[5], 'finished', at, 'outcome', ARGV[6])
else
  redis.call('HSET', KEYS[1], 'until', at + ARGV[3], 'cursor', ARGV[4], 'counts', ARGV[5])
end
return 1
