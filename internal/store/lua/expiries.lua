#!lua flags=no-writes
-- KEYS  the credentials' hashes
-- Reply for each: when its access token expires, '0' if that cannot be told;
--       when the refresh token was first presented that is in doubt, '0' if none
--       is; when time alone brings something, '0' if it does not; and '1' if it
--       is a living session
local out = {}
for i = 1, #KEYS do
  local f = redis.pcall('HMGET', KEYS[i], 'h', 'o', 't')
  local h, clock, ends, _ = f[1] or '', nil, nil, nil
  if f[3] then _, clock, ends = touched(h, f[3]) end
  local state, _, _, _, _, _, told = string.match(h, HEAD)
  if not state or terminal(state) then clock = 0 end
  local _, _, doubt, _, firstSent = string.match(f[2] or '', OPEN)
  out[4 * i - 3] = ends and string.format('%.0f', ends) or string.match(h, '^1 %d+ %a[01] %S+ %d+ %d+ %-?%d+ %-?%d+ (%-?%d+) ') or '0'
  out[4 * i - 2] = doubt == '1' and firstSent or '0'
  out[4 * i - 1] = clock and string.format('%.0f', clock) or told
  out[4 * i] = (ends or string.find(h, SESSION)) and '1' or '0'
end
return out
