#!lua
-- Gives back what was claimed and not begun: it is due at a given moment, or
-- when its record says if that is still to come.
--
-- KEYS  1 a due index, 2.. the credentials' hashes
-- ARGV  1 the moment (0: when the record says, also if that has passed), 2 length
--       of the prefix of a credential's key, 3 the provider whose index it is
-- Reply how many are due at the given moment
redis.call('ZCARD', KEYS[1])
local at = now()
local moment = tonumber(ARGV[1])
local right, rem, given = {}, {}, 0
for i = 2, #KEYS do
  local id = string.sub(KEYS[i], ARGV[2] + 1)
  local f = redis.pcall('HMGET', KEYS[i], 'h', 'o', 't')
  local h, o = f[1], f[2] or ''
  local score = 0
  if h then
    local state, presentable, provider, _, _, refreshAt, clock = string.match(h, HEAD)
    if not state then
      score = math.max(moment, at) -- unreadable for this version; leave it to others
    elseif provider == ARGV[3] and not terminal(state) then
      if f[3] then
        local laterRefresh, laterClock = touched(h, f[3])
        refreshAt, clock = laterRefresh or refreshAt, laterClock or clock
      end
      local _, deadline, doubt, recoverAt = string.match(o, OPEN)
      score = due(presentable, refreshAt, tonumber(clock), deadline, doubt, recoverAt)
      if score ~= 0 and score <= at and moment > 0 then score = moment end
    end
  end
  if score == 0 then
    rem[#rem + 1] = id
  else
    if score == moment then given = given + 1 end
    right[#right + 1] = score
    right[#right + 1] = id
  end
end
each('ZADD', KEYS[1], right)
each('ZREM', KEYS[1], rem)
return given
