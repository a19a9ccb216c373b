#!lua flags=allow-oom
-- Notes a delivery that failed, gives the lane back, and says what follows for
-- it and for the endpoint.
--
-- Failures of a lane put its own next delivery off along the schedule. Five in
-- a row over all lanes, of more than one of them, open the breaker: an event
-- that the receiver takes from nobody says nothing about the others. While it
-- is open, one lane at a time makes a probe, and the schedule is the
-- endpoint's; it is over after as many probes as it has waits, or once it has
-- lasted as long as all of them since the first failure in the row. Time in
-- which a delivery was due and nobody made one, for nothing of ours ran, does
-- not count: what was not asked has not refused.
--
-- KEYS  1 the lane, 2 the subscription, 3 its last deliveries
-- ARGV  1 holder, 2 the delivery to remember, 3 number of the lane, 4 ms of the
--       event, 5 its ID, 6 '1' if the receiver wants no more, 7 ms that the
--       receiver asked to be left alone, 8 why, 9 ULID of the event about the
--       subscription's end, 10 failures in a row that open the breaker, 11
--       number of waits, 12.. waits in ms, then field and position of each
--       cursor
-- Reply {status, ms until the next delivery, failures that led to it}; status is
--       0 if the lane is not held by this holder, 1 if it waits, 2 if the
--       endpoint waits, 3 if the subscription is disabled
local f = redis.call('HMGET', KEYS[1], 'holder', 'until', 'attempt', 'next')
if f[1] ~= ARGV[1] then return {0, 0, 0} end
local at, e = now(), endpoint(KEYS[2])
local s = redis.call('HMGET', KEYS[2], 'fails', 'row', 'first', 'mixed', 'probes', 'due', 'idle')
local attempt, probes = tonumber(f[3] or 0), tonumber(s[5] or 0)
if f[2] == '0' then -- said before, and the reply was lost
  if e.disabled then return {3, 0, attempt} end
  if e.open then return {2, math.max(e.hold - at, 0), probes} end
  return {1, math.max(tonumber(f[4] or 0) - at, 0), attempt}
end

local steps, total = tonumber(ARGV[11]), 0
for i = 12, 11 + steps do total = total + ARGV[i] end
move(KEYS[1], 12 + steps)
redis.call('HSET', KEYS[1], 'until', 0, 'failed', math.max(at, e.till + 1), 'owes', ARGV[4]) -- after an outage that ended in this very ms
remember(KEYS[3], at, ARGV[2])
if e.disabled then return {3, 0, attempt} end

local hold, over, status = e.hold, ARGV[6] == '1', 1
if ARGV[7] ~= '0' then hold = math.max(hold, at + ARGV[7]) end
local row = tonumber(s[2] or math.max(at, e.till + 1))
local count, nextAt = attempt, 0
local due, idle = e.open and e.hold or math.max(tonumber(s[6] or at), e.hold), tonumber(s[7] or 0)
if s[2] and at > due and (not e.open or e.prober == ARGV[1]) then
  idle = idle + at - due
  redis.call('HSET', KEYS[2], 'idle', idle)
end
local ends = row + idle + total
if not e.open then
  attempt = attempt + 1
  count = attempt
  over = over or attempt >= steps
  local fails, first = tonumber(s[1] or 0) + 1, s[3] or ARGV[3]
  local mixed = s[4] or first ~= ARGV[3]
  redis.call('HSET', KEYS[2], 'fails', fails, 'row', row, 'first', first)
  if mixed then redis.call('HSET', KEYS[2], 'mixed', 1) end
  if not over then
    nextAt = math.max(at + ARGV[12 + attempt], hold)
    redis.call('HSET', KEYS[2], 'due', s[2] and due > at and math.min(due, nextAt) or nextAt)
    if mixed and fails >= tonumber(ARGV[10]) then
      status = 2
      hold = math.max(at + ARGV[13], hold)
      redis.call('HSET', KEYS[2], 'open', at, 'probes', 1)
    end
  end
  redis.call('HSET', KEYS[1], 'attempt', attempt, 'next', nextAt)
else
  status, count = 2, probes
  if e.prober == ARGV[1] then
    probes = probes + 1
    count = probes
    over = over or probes >= steps or at >= ends
    if not over then hold = math.max(math.min(at + ARGV[12 + probes], ends), hold) end
    redis.call('HSET', KEYS[2], 'probes', probes)
    redis.call('HDEL', KEYS[2], 'prober', 'probing')
  end
end
if over then
  local reason = ARGV[6] == '1' and 'gone' or 'undeliverable'
  redis.call('HDEL', KEYS[2], 'fails', 'row', 'first', 'mixed', 'due', 'idle', 'open', 'probes', 'hold', 'prober', 'probing')
  redis.call('HSET', KEYS[2], 'disabled', reason, 'since', at, 'why', ARGV[8], 'stuck', ARGV[5],
    'tell:disabled', ARGV[9] .. ' ' .. string.format('%.0f', at) .. ' ' .. ARGV[4] .. ' ' .. reason .. ' ' .. ARGV[5])
  return {3, 0, count}
end
if hold > e.hold then redis.call('HSET', KEYS[2], 'hold', hold) end
return {status, math.max(status == 2 and hold or nextAt, at) - at, count}
