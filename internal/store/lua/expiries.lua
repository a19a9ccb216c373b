#!lua flags=no-writes
-- KEYS  the credentials' hashes
-- Reply for each: when its access token expires, '0' if that cannot be told
local out = {}
for i = 1, #KEYS do
  local h = redis.pcall('HGET', KEYS[i], 'h')
  out[i] = type(h) == 'string' and string.match(h, '^1 %d+ %a[01] %S+ %d+ %d+ %-?%d+ %-?%d+ (%-?%d+) ') or '0'
end
return out
