-- Reads everything under a pattern as of one moment.
-- KEYS: none (it walks all keys; for the in-process store, which has no slots)
-- ARGV: 1 pattern
-- Result: list of {key, type, PTTL, values}; values as in snapshotKey.
local rows = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind = redis.call('TYPE', key).ok
  local values
  if kind == 'hash' then
    values = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    values = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'stream' then
    values = redis.call('XRANGE', key, '-', '+')
  elseif kind == 'set' then
    values = redis.call('SMEMBERS', key)
  elseif kind == 'list' then
    values = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'string' then
    values = {redis.call('GET', key)}
  else
    return redis.error_reply('a snapshot cannot hold a ' .. kind)
  end
  rows[#rows + 1] = {key, kind, redis.call('PTTL', key), values}
end
return rows
