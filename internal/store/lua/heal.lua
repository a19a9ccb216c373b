#!lua
-- Puts a record's score and its place in the listing right.
--
-- KEYS  1 the credential's hash, 2 its due index, 3 the shard's ids
-- ARGV  1 revision and 2 nonce of the open attempt ('' for none) of the record
--       that the score was computed from, 3 score ('0' for none), 4 ID, 5 '1'
--       if it belongs into the listing, 6 ms within which a score in place of
--       one that has passed counts as a claim, 7 the session's last use in the
--       record that the score was computed from ('0' if it is no session)
-- Reply 1 if something was wrong, else 0
local f = redis.call('HMGET', KEYS[1], 'h', 'o', 't')
if ARGV[7] ~= '0' and f[3] and tonumber(f[3]) > tonumber(ARGV[7]) then return 0 end
if not f[1] or string.match(f[1], '^1 (%d+) ') ~= ARGV[1] or string.sub(f[2] or '', 1, 32) ~= ARGV[2] then return 0 end
local wrong = 0
local want, have = tonumber(ARGV[3]), redis.call('ZSCORE', KEYS[2], ARGV[4])
if want == 0 then
  wrong = redis.call('ZREM', KEYS[2], ARGV[4])
elseif not have or tonumber(have) ~= want then
  local t = redis.call('TIME')
  local at = t[1] * 1000 + math.floor(t[2] / 1000)
  local claimed = have and want <= at and tonumber(have) <= at + ARGV[6]
  local early = have and ARGV[2] ~= '' and tonumber(have) < want -- begin leaves what is early enough
  if not claimed and not early then
    redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
    wrong = 1
  end
end
if ARGV[5] == '1' and redis.call('ZADD', KEYS[3], 'NX', 0, ARGV[4]) == 1 then wrong = 1 end
return wrong
