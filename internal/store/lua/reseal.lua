#!lua
-- Puts what was sealed again in place of what it was made from.
--
-- KEYS  the credentials' hashes
-- ARGV  1 to 4 the names of the sealed fields, then for each credential and
--       each of these: it as it was read and the new one; '' for the new one
--       leaves the field
-- Reply how many were replaced: nothing of one where a field that was to be
--       has changed since
--
-- The record beside them stays, with its revision: what is sealed can be opened
-- under one grant and generation only, so if it is the same, these are.
local FIELDS = 4
local done = 0
for i, key in ipairs(KEYS) do
  local a = FIELDS + 2 * FIELDS * (i - 1)
  local f = redis.pcall('HMGET', key, unpack(ARGV, 1, FIELDS))
  local same = not f.err
  for n = 1, FIELDS do
    if ARGV[a + 2 * n] ~= '' and f[n] ~= ARGV[a + 2 * n - 1] then same = false end
  end
  if same then
    done = done + 1
    for n = 1, FIELDS do
      if ARGV[a + 2 * n] ~= '' then redis.call('HSET', key, ARGV[n], ARGV[a + 2 * n]) end
    end
  end
end
return done
