#!lua flags=allow-oom
-- Stores writes: compares what each expects, replaces, appends its events and
-- sets its score.
--
-- KEYS  1 the shard's open index, 2 its ids, 3 its event log, 4.. as many due
--       indexes as ARGV 6 says, then the credentials' hashes
-- ARGV  1 prefix of the due indexes, 2 length of the prefix of a credential's
--       key, 3 ms for which a tombstone is kept, 4 the most credentials that
--       the shard may hold ('0': no limit), 5 letter of a tombstone's state,
--       6 number of due indexes, 7 the runs of Redis that are accepted, as
--       ' <run_id>:<replication id>' each, or '' for any, 8 the moment
--       that it must be past for what was decided latest ('0' for none); then
--       for each write: expected revision ('0' for none), nonce of the attempt
--       that must be open or '', kind ('l' listed, 'd' tombstone, 'c' not
--       listed), provider, h, r, s, o, a, score ('0' for none), number of
--       events, the events. s, o, a: '' leaves the field, '-' erases it,
--       anything else replaces it.
-- No credential may occur twice.
--
-- Reply for each write: 'written' (now, or by an earlier run of the same write:
--       same revision, nonce, version, generation and grant), 'moved', 'full',
--       'foreign', 'unreadable', 'wrongtype'. If the run is another: {'run', id};
--       if a write was decided in the future: {'clock', now}.
if ARGV[7] ~= '' then
  local id = run()
  if not string.find(ARGV[7], ' ' .. id, 1, true) then return {'run', id} end
end
if tonumber(ARGV[8]) > now() then return {'clock', now()} end
local function mark(head)
  local revision, generation, grant, last = string.match(head, '^1 (%d+) %a[01] %S+ (%d+) (%d+) %-?%d+ %-?%d+ %-?%d+ (.+)$')
  return revision and revision .. ' ' .. generation .. ' ' .. grant .. ' ' .. last
end

local openKey, idsKey, eventsKey = KEYS[1], KEYS[2], KEYS[3]
local duePrefix, cut, keep, most, gone, dues = ARGV[1], ARGV[2] + 1, ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
-- What can meet a foreign key comes first: nothing is half done then.
redis.call('HLEN', openKey)
redis.call('ZCARD', idsKey)
redis.call('XLEN', eventsKey)
for i = 4, 3 + dues do redis.call('ZCARD', KEYS[i]) end

local out, due, rem, opened, closed = {}, {}, {}, {}, {}
local a = 9
for i = 4 + dues, #KEYS do
  local key = KEYS[i]
  local expect, attempt, kind, provider, newH, newR, newS, newO, newA, score, events = ARGV[a], ARGV[a + 1], ARGV[a + 2],
    ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6], ARGV[a + 7], ARGV[a + 8], ARGV[a + 9], tonumber(ARGV[a + 10])
  local f = redis.pcall('HMGET', key, 'h', 'o')
  local h, o, status = f[1], f[2] or '', nil
  local was, wasProvider
  if f.err then
    status = 'wrongtype'
  elseif h then
    local revision
    revision, was, wasProvider = string.match(h, '^1 (%d+) (%a)[01] (%S+) ')
    if not revision then
      status = 'unreadable'
    elseif revision == expect then
      if attempt ~= '' and string.sub(o, 1, 32) ~= attempt then status = 'moved' end
    else
      status = mark(h) == mark(newH) and 'written' or 'moved'
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
    if newA == '-' then
      redis.call('HDEL', key, 'a')
    elseif newA ~= '' then
      redis.call('HSET', key, 'a', newA)
    end
    for e = a + 11, a + 10 + events do redis.call('XADD', eventsKey, '*', 'e', ARGV[e]) end
    if newO == '-' then
      if o ~= '' then closed[#closed + 1] = id end
    elseif newO ~= '' then
      opened[#opened + 1] = id
      opened[#opened + 1] = string.match(newO, '^%x+ (%S+)')
    end
    if wasProvider and wasProvider ~= provider then redis.pcall('ZREM', duePrefix .. wasProvider, id) end
    if score == '0' then
      queue(rem, provider, id)
    else
      queue(due, provider, score, id)
    end
    if kind == 'd' then
      redis.call('PEXPIRE', key, keep)
      redis.call('ZREM', idsKey, id)
    elseif was == gone or not h then
      if h then redis.call('PERSIST', key) end
      if kind == 'l' then redis.call('ZADD', idsKey, 0, id) end
    end
  end
  out[#out + 1] = status
  a = a + 11 + events
end
for provider, list in pairs(rem) do each('ZREM', duePrefix .. provider, list) end
for provider, list in pairs(due) do each('ZADD', duePrefix .. provider, list) end
each('HSET', openKey, opened)
each('HDEL', openKey, closed)
return out
