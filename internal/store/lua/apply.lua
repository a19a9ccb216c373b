#!lua flags=allow-oom
-- Stores writes: compares what each expects, replaces, appends its events and
-- sets its score.
--
-- KEYS  1 the shard's open index, 2 its ids, 3 its event log, 4.. as many due
--       indexes as ARGV 6 says, then the credentials' hashes
-- ARGV  1 prefix of the due indexes, 2 length of the prefix of a credential's
--       key, 3 ms for which a tombstone is kept from its making on, 4 the most credentials that
--       the shard may hold ('0': no limit), 5 letter of a tombstone's state,
--       6 number of due indexes, 7 the runs of Redis that are accepted, as
--       ' <run_id>:<replication id>' each, or '' for any, 8 the moment
--       that it must be past for what was decided latest ('0' for none); then
--       for each write: expected revision ('0' for none), nonce of the attempt
--       that must be open, '-' if none may be, or '', kind ('l' listed, 'd' tombstone, 'c' not
--       listed), provider, grant, the moment at which a session's idle timeout
--       was seen to have run out ('0' if that is not what the write says), h,
--       r, s, o, score ('0' for none), number of other fields, number of
--       events, name and value of each other field, the events. A value of '-'
--       erases its field, as one of '' leaves s and o.
-- No credential may occur twice.
--
-- Reply for each write: 'written' (now, or by an earlier run of the same write:
--       same revision, nonce, version, generation and grant), 'overtaken' (by an
--       earlier run, and others have written since; that is known of the last few
--       writes that raised the grant), 'moved', 'full', 'foreign', 'unreadable',
--       'wrongtype'. If the run is another: {'run', id}; if a write was decided in
--       the future: {'clock', now}.
--
-- A touch that the write does not know of, because it came after the record
-- was read, goes on counting on top of what is written, score included. It is
-- erased with the token, the session or the login that it belongs to, and once
-- the record itself says so. A write that lets a session die of idleness which was touched
-- meanwhile has moved.
--
-- What is bound to a login (l, u) and is not written with the next one goes. The
-- field g has the nonces of the last writes that raised the grant, newest first.
local REMEMBERED = 8
if ARGV[7] ~= '' then
  local id = run()
  if not string.find(ARGV[7], ' ' .. id, 1, true) then return {'run', id} end
end
if tonumber(ARGV[8]) > now() then return {'clock', now()} end
local function mark(head)
  local revision, generation, grant, last = string.match(head, '^1 (%d+) %a[01] %S+ (%d+) (%d+) %-?%d+ %-?%d+ %-?%d+ (%d+ %x+)')
  return revision and revision .. ' ' .. generation .. ' ' .. grant .. ' ' .. last
end

local function nonce(head) return string.match(mark(head), '%x+$') end

-- score returns the score w of a write to key whose head is h, with the touch
-- at t that the write does not know of, and whether that touch still counts. o
-- is the attempt that is open then.
local function touchedScore(w, h, o, t)
  local laterRefresh, laterClock = touched(h, t)
  if not laterRefresh then return w, false end
  local _, presentable, _, _, _, refreshAt, clock = string.match(h, HEAD)
  local _, deadline, doubt, recoverAt = string.match(o, OPEN)
  local planned = due(presentable, refreshAt, tonumber(clock), deadline, doubt, recoverAt)
  local later = due(presentable, laterRefresh, laterClock, deadline, doubt, recoverAt)
  local score = tonumber(w)
  if score == planned then return later, true end
  if score == 0 then return 0, true end
  if planned == 0 or score < planned then return soonest(score, later), true end -- somebody is to look at it sooner
  return math.max(score, later), true -- it is to rest
end

local openKey, idsKey, eventsKey = KEYS[1], KEYS[2], KEYS[3]
local duePrefix, cut, keep, most, gone, dues = ARGV[1], ARGV[2] + 1, ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
-- What can meet a foreign key comes first: nothing is half done then.
redis.call('HLEN', openKey)
redis.call('ZCARD', idsKey)
redis.call('XLEN', eventsKey)
for i = 4, 3 + dues do redis.call('ZCARD', KEYS[i]) end

local out, right, rem, opened, closed = {}, {}, {}, {}, {}
local a = 9
for i = 4 + dues, #KEYS do
  local key = KEYS[i]
  local expect, attempt, kind, provider, grant, idledAt, newH, newR, newS, newO, score, others, events = unpack(ARGV, a, a + 12)
  others, events = tonumber(others), tonumber(events)
  local f = redis.pcall('HMGET', key, 'h', 'o', 't', 'g')
  local h, o, t, status = f[1], f[2] or '', f[3], nil
  local was, wasProvider, wasGeneration, wasGrant
  if f.err then
    status = 'wrongtype'
  elseif h then
    local revision
    revision, was, wasProvider, wasGeneration, wasGrant = string.match(h, '^1 (%d+) (%a)[01] (%S+) (%d+) (%d+) ')
    if not revision then
      status = 'unreadable'
    elseif revision == expect then
      if attempt ~= '' and attempt ~= (o == '' and '-' or string.sub(o, 1, 32)) then
        status = 'moved'
      elseif t and idledAt ~= '0' and (select(3, touched(h, t)) or 0) > tonumber(idledAt) then
        status = 'moved'
      end
    elseif mark(h) == mark(newH) then
      status = 'written'
    else
      status = f[4] and string.find(f[4], nonce(newH), 1, true) and 'overtaken' or 'moved'
    end
  elseif expect ~= '0' then
    status = 'moved'
  elseif redis.call('EXISTS', key) == 1 then
    status = 'foreign'
  elseif most > 0 and kind == 'l' and redis.call('ZCARD', idsKey) >= most then
    status = 'full'
  end

  if not status then
    status = 'written'
    local id = string.sub(key, cut)
    if newS == '' and newO == '' then
      redis.call('HSET', key, 'h', newH, 'r', newR)
    elseif newS == '' then
      redis.call('HSET', key, 'h', newH, 'r', newR, 'o', newO == '-' and '' or newO)
    elseif newO == '' then
      redis.call('HSET', key, 'h', newH, 'r', newR, 's', newS == '-' and '' or newS)
    else
      redis.call('HSET', key, 'h', newH, 'r', newR, 's', newS == '-' and '' or newS, 'o', newO == '-' and '' or newO)
    end
    if wasGrant ~= grant and kind ~= 'c' then
      local raised = nonce(newH) .. ' ' .. (f[4] or '')
      redis.call('HSET', key, 'g', string.sub(raised, 1, REMEMBERED * string.find(raised, ' ', 1, true)))
    end
    if h and wasGrant ~= grant then
      redis.call('HDEL', key, 'l', 'u', 't')
      t = nil
    elseif t and wasGeneration ~= string.match(newH, '^1 %d+ %a[01] %S+ (%d+) ') then
      redis.call('HDEL', key, 't')
      t = nil
    end
    for n = a + 13, a + 11 + 2 * others, 2 do
      if ARGV[n + 1] == '-' then
        redis.call('HDEL', key, ARGV[n])
      else
        redis.call('HSET', key, ARGV[n], ARGV[n + 1])
      end
    end
    if t then
      local counts
      score, counts = touchedScore(score, newH, newO == '' and o or newO, t)
      if not counts then redis.call('HDEL', key, 't') end
    end
    local from = a + 13 + 2 * others
    for e = from, from + events - 1 do redis.call('XADD', eventsKey, '*', 'e', ARGV[e]) end
    if newO == '-' then
      if o ~= '' then closed[#closed + 1] = id end
    elseif newO ~= '' then
      opened[#opened + 1] = id
      opened[#opened + 1] = string.match(newO, '^%x+ (%S+)')
    end
    if wasProvider and wasProvider ~= provider then redis.pcall('ZREM', duePrefix .. wasProvider, id) end
    if tonumber(score) == 0 then
      queue(rem, provider, id)
    else
      queue(right, provider, score, id)
    end
    if kind == 'd' then
      if was ~= gone then redis.call('PEXPIRE', key, keep) end
      redis.call('ZREM', idsKey, id)
    elseif was == gone or not h then
      if h then redis.call('PERSIST', key) end
      if kind == 'l' then redis.call('ZADD', idsKey, 0, id) end
    end
  end
  out[#out + 1] = status
  a = a + 13 + 2 * others + events
end
for provider, list in pairs(rem) do each('ZREM', duePrefix .. provider, list) end
for provider, list in pairs(right) do each('ZADD', duePrefix .. provider, list) end
each('HSET', openKey, opened)
each('HDEL', openKey, closed)
return out
