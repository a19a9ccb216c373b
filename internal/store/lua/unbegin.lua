#!lua flags=allow-oom
-- Closes attempts that were granted and whose record then could not be read:
-- nothing was sent. A doubt that was taken over is put back.
--
-- KEYS  1 the shard's open index, 2.. the credentials' hashes
-- ARGV  1 prefix of the due indexes, 2 length of the prefix of a credential's
--       key, 3 ms until they are looked at again; then for each: nonce
-- Reply how many were closed
local at = now()
local again = at + ARGV[3]
local closed = 0
for i = 2, #KEYS do
  local key, id = KEYS[i], string.sub(KEYS[i], ARGV[2] + 1)
  local f = redis.call('HMGET', key, 'h', 'o')
  local o = f[2] or ''
  if string.sub(o, 1, 32) == ARGV[i + 2] then
    local _, _, provider = string.match(f[1] or '', HEAD)
    local line, first, recovery = string.match(o, '^(%x+ %S+ %d+ %d+ %d+ %d+) 0 0 (%d+) ([01])$')
    if recovery == '1' then
      redis.call('HSET', key, 'o', line .. ' 1 ' .. again .. ' ' .. first .. ' 0')
    else
      redis.call('HSET', key, 'o', '')
      redis.call('HDEL', KEYS[1], id)
    end
    if provider then redis.call('ZADD', ARGV[1] .. provider, again, id) end
    closed = closed + 1
  end
end
return closed
