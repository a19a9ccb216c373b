#!lua flags=no-writes
-- KEYS  the credentials' hashes
-- Reply for each: when its access token expires, '0' if that cannot be told
local out = {}
for i = 1, #KEYS do
  local f = redis.pcall('HMGET', KEYS[i], 'h', 't')
  local h, ends = f[1] or '', nil
  if f[2] then ends = select(3, touched(h, f[2])) end
  out[i] = ends and string.format('%.0f', ends) or string.match(h, '^1 %d+ %a[01] %S+ %d+ %d+ %-?%d+ %-?%d+ (%-?%d+) ') or '0'
end
return out
