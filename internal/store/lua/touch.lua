#!lua
-- Notes that sessions are used at this moment: stores that beside their heads,
-- and moves their scores to where it takes them.
--
-- KEYS  the credentials' hashes
-- ARGV  1 prefix of the due indexes, 2 length of the prefix of a credential's
--       key
-- Reply for each credential: the ms at which its session now dies unless it is
--       used again, or 'u' unknown, 's' no session, 'o' over or not begun, 'c'
--       head unreadable, 'w' no hash
--
-- Names of due indexes are made from the records' providers: same hash tag.
local duePrefix, cut = ARGV[1], ARGV[2] + 1
local at = now()
local out, right, rem, uses = {}, {}, {}, {}
for i = 1, #KEYS do
  local key = KEYS[i]
  local f = redis.pcall('HMGET', key, 'h', 'o', 't')
  local h, answer = f[1], nil
  if f.err then
    answer = 'w'
  elseif not h then
    answer = 'u'
  else
    local _, presentable, provider, stood, stands, last, idle, limit, warnAt, once, extend, warn, quiet = string.match(h, SESSION)
    if last then
      local before = tonumber(f[3] or last) or 0
      local ends = tonumber(stands)
      last = tonumber(last)
      if before > last then last, ends = before, soonest(before + idle, tonumber(limit)) end
      if at >= ends then
        answer = 'o'
      elseif at <= last then
        answer = ends
      else
        local refreshAt, clock
        refreshAt, clock, answer = used(at, stood, stands, idle, limit, warnAt, once, extend, warn, quiet)
        uses[#uses + 1] = key
        local deadline, doubt, recoverAt, _
        if f[2] and f[2] ~= '' then _, deadline, doubt, recoverAt = string.match(f[2], OPEN) end
        local score = due(presentable, refreshAt, clock, deadline, doubt, recoverAt)
        if score == 0 then
          queue(rem, provider, string.sub(key, cut))
        else
          queue(right, provider, score, string.sub(key, cut))
        end
      end
    else
      local state = string.match(h, HEAD)
      if not state then
        answer = 'c'
      elseif state == 'x' then
        answer = 'u'
      elseif terminal(state) or string.sub(h, -2) == ' 0' then
        answer = 'o'
      else
        answer = 's'
      end
    end
  end
  out[i] = answer
end

-- What can meet a foreign key comes first: nothing is half done then.
for provider, list in pairs(right) do each('ZADD', duePrefix .. provider, list) end
for provider, list in pairs(rem) do each('ZREM', duePrefix .. provider, list) end
for i = 1, #uses do redis.call('HSET', uses[i], 't', at) end
return out
