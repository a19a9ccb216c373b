#!lua
-- Starts a slot of a periodic task, or resumes one whose owner died.
--
-- KEYS  1 the task
-- ARGV  1 slot, 2 owner, 3 ms that the lease lasts
-- Reply '1' if the caller runs it, else '0': it, or a later one, is done or
--       runs, or an earlier one still runs; then names and values of the state
local f = redis.call('HMGET', KEYS[1], 'done', 'running', 'owner', 'until')
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
local slot = tonumber(ARGV[1])
local running = f[2] and f[2] ~= '' and tonumber(f[2])
local lives = running and tonumber(f[4] or 0) > at
local mine = '0'
if (f[1] and slot <= tonumber(f[1])) or (running and running > slot) or (lives and f[3] ~= ARGV[2]) then
  mine = '0'
elseif running == slot then
  if not (lives and f[3] == ARGV[2]) then
    redis.call('HINCRBY', KEYS[1], 'resumes', 1)
  end
  redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'until', at + ARGV[3])
  mine = '1'
else
  redis.call('HSET', KEYS[1], 'running', ARGV[1], 'owner', ARGV[2], 'until', at + ARGV[3], 'resumes', 0,
    'cursor', '', 'counts', '', 'started', at, 'finished', 0, 'outcome', '')
  mine = '1'
end
return {mine, redis.call('HGETALL', KEYS[1])}
