#!lua flags=no-writes
-- KEYS  the credentials' hashes
-- Reply for each: when its access token expires, '0' if that cannot be told; and
--       when the refresh token was first presented that is in doubt, '0' if none is
local out = {}
for i = 1, #KEYS do
  local f = redis.pcall('HMGET', KEYS[i], 'h', 'o', 't')
  local h, ends = f[1] or '', nil
  if f[3] then ends = select(3, touched(h, f[3])) end
  local _, _, doubt, _, firstSent = string.match(f[2] or '', OPEN)
  out[2 * i - 1] = ends and string.format('%.0f', ends) or string.match(h, '^1 %d+ %a[01] %S+ %d+ %d+ %-?%d+ %-?%d+ (%-?%d+) ') or '0'
  out[2 * i] = doubt == '1' and firstSent or '0'
end
return out
