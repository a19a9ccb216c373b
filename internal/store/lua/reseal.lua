#!lua
-- Puts what was sealed again in place of what it was made from.
--
-- KEYS  the credentials' hashes
-- ARGV  for each: s as it was read and the new one, a as it was read and the
--       new one; '' for the new one leaves the field
-- Reply how many were replaced: nothing of one where a field that was to be
--       has changed since
--
-- The record beside them stays, with its revision: what is sealed can be opened
-- under one grant and generation only, so if it is the same, these are.
local done = 0
for i, key in ipairs(KEYS) do
  local a = 4 * i - 3
  local f = redis.pcall('HMGET', key, 's', 'a')
  local same = not f.err
  for n = 1, 2 do
    local new = ARGV[a + 2 * n - 1]
    if new ~= '' and f[n] ~= ARGV[a + 2 * n - 2] then same = false end
  end
  if same then
    done = done + 1
    if ARGV[a + 1] ~= '' then redis.call('HSET', key, 's', ARGV[a + 1]) end
    if ARGV[a + 3] ~= '' then redis.call('HSET', key, 'a', ARGV[a + 3]) end
  end
end
return done
