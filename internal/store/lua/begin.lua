#!lua
-- Opens attempts: the sole right to present a credential's refresh token.
--
-- KEYS  1 the shard's open index, 2.. the credentials' hashes
-- ARGV  1 owner, 2 ms from now to the deadline, 3 '1' if not being due is no
--       ground for a refusal, 4 prefix of the due indexes, 5 length of the
--       prefix of a credential's key, 6 the runs of Redis that are accepted,
--       as ' <run_id>:<replication id>' each, or '' for any; then for each
--       credential: nonce, generation ('0' for any)
-- Reply now, then for each credential: 'g' granted, 'u' unknown, 't' terminal,
--       'o' open, 'a' an alternate of this generation, 'm' moved, 'n' not due, 'r' nothing to present,
--       'e' a session whose end is to be told first,
--       'c' head unreadable, 'w' no hash. If the run is another: {'run', id}.
--
-- The records themselves are read by commands that follow in the same
-- pipeline: what goes through a script costs twice as much.
--
-- Repeated with the same nonce, it grants the same attempt again. Every
-- refusal puts the right score into the due index, whose names are made from
-- the records' providers: same hash tag. A grant only lowers the score to the
-- attempt's deadline: what was claimed stands there for a few seconds more, by
-- when most are committed, and moving it twice costs more than all the rest.
local owner, lasts, force, duePrefix, cut, runs = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', ARGV[4], ARGV[5] + 1, ARGV[6]
if runs ~= '' then
  local id = run()
  if not string.find(runs, ' ' .. id, 1, true) then return {'run', id} end
end
redis.call('HLEN', KEYS[1])

local at = now()
local out, right, low, rem, open, grant = {at}, {}, {}, {}, {}, {}
local deadlineAt = at + lasts
local tail = ' ' .. at .. ' ' .. deadlineAt .. ' 0 0 '
for i = 2, #KEYS do
  local key = KEYS[i]
  local nonce, asked = ARGV[2 * i + 3], ARGV[2 * i + 4]
  local f = redis.pcall('HMGET', key, 'h', 'o', 'a', 't')
  local h, code, score = f[1], nil, nil
  if f.err then
    code = 'w'
  elseif not h then
    code = 'u'
  else
    local state, presentable, provider, generation, login, refreshAt, clock = string.match(h, HEAD)
    if not state then
      code = 'c'
    else
      local held, deadline, doubt, recoverAt, firstSent
      if f[2] and f[2] ~= '' then held, deadline, doubt, recoverAt, firstSent = string.match(f[2], OPEN) end
      local laterRefresh, laterClock, laterEnds
      if f[4] then
        laterRefresh, laterClock, laterEnds = touched(h, f[4])
        refreshAt, clock = laterRefresh or refreshAt, laterClock or clock
      end
      clock, refreshAt = tonumber(clock), tonumber(refreshAt)
      if not laterRefresh and clock ~= 0 and clock <= at then refreshAt = left(h, refreshAt, at) end
      clock = ahead(clock, at)
      if held == nonce then
        code = 'g'
      elseif terminal(state) then
        code, score = 't', 0
      elseif f[3] and (not held or doubt == '1') and (tonumber(string.match(f[3], '^%d+')) or math.huge) >= tonumber(generation) then
        -- It was got with this generation, which is spent then. An older one
        -- is kept for the day on which this one is refused.
        code, score = 'a', at + AGAIN
      elseif held and not (doubt == '1' and recoverAt ~= '0' and tonumber(recoverAt) <= at) then
        code, score = 'o', due(presentable, refreshAt, clock, deadline, doubt, recoverAt)
      elseif presentable ~= '1' then
        code, score = 'r', clock
      elseif not held and over(h, laterEnds, at) then
        code, score = 'e', clock
      elseif asked ~= '0' and asked ~= generation then
        code, score = 'm', soonest(clock, held and tonumber(recoverAt) or refreshAt)
      elseif not force and not held and (refreshAt == 0 or refreshAt > at) then
        code, score = 'n', soonest(clock, refreshAt)
      else
        code = 'g'
        local id = string.sub(key, cut)
        queue(low, provider, soonest(clock, deadlineAt), id)
        open[#open + 1] = id
        open[#open + 1] = owner
        grant[#grant + 1] = key
        grant[#grant + 1] = nonce .. ' ' .. owner .. ' ' .. generation .. ' ' .. login .. tail .. (held and firstSent .. ' 1' or '0 0')
      end
      if score then
        if score == 0 then
          queue(rem, provider, string.sub(key, cut))
        else
          queue(right, provider, score, string.sub(key, cut))
        end
      end
    end
  end
  out[i] = code
end

-- What can meet a foreign key comes first: nothing is half done then.
for provider, list in pairs(right) do each('ZADD', duePrefix .. provider, list) end
for provider, list in pairs(low) do each('ZADD', duePrefix .. provider, list, 'LT') end
for provider, list in pairs(rem) do each('ZREM', duePrefix .. provider, list) end
each('HSET', KEYS[1], open)
for i = 1, #grant, 2 do redis.call('HSET', grant[i], 'o', grant[i + 1]) end
return out
