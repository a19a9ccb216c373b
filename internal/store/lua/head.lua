-- Prelude of the scripts that read records: what stands in a head and in an
-- open attempt (record_codec.go, attempt_codec.go), and when a credential has
-- to be looked at. It repeats credential.NextDue for the cases in which a
-- script refuses something and no Go code computes a score.

-- state, presentable, provider, generation, grant, refresh at, clock
local HEAD = '^1 %d+ (%a)([01]) (%S+) (%d+) (%d+) (%-?%d+) (%-?%d+) '
-- nonce, deadline, doubt, recover at, first sent
local OPEN = '^(%x+) %S+ %d+ %d+ %d+ (%-?%d+) ([01]) (%-?%d+) (%-?%d+)'
-- of a living session: state, presentable, provider, clock, expires at, last use,
-- idle, limit, warn at, once at, extend after, warn before, quiet until
local SESSION = '^1 %d+ (%a)([01]) (%S+) %d+ %d+ %-?%d+ (%-?%d+) (%-?%d+) %d+ %x+ (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) (%-?%d+) ?(%d*)$'
-- How soon a credential is looked at again whose announcement is overdue, or
-- which waits for an alternate: whoever was told takes care of it now, this is
-- for the case that he dies.
local AGAIN = 5000

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- run names this run of Redis, as store.Run does.
local function run()
  local id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or ''
  return id .. ':' .. (string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '')
end

local function terminal(state)
  return state == 'r' or state == 'l' or state == 'x'
end

-- soonest returns the earlier of two moments of which 0 is none.
local function soonest(a, b)
  if a == 0 then return b end
  if b == 0 or a < b then return a end
  return b
end

-- due is credential.NextDue of a record that is not terminal. deadline is that
-- of its open attempt, nil if none is open.
local function due(presentable, refreshAt, clock, deadline, doubt, recoverAt)
  if deadline and doubt ~= '1' then return soonest(clock, tonumber(deadline)) end
  if presentable ~= '1' then return clock end
  return soonest(clock, tonumber(deadline and recoverAt or refreshAt))
end

-- used returns refresh at, clock and expires at of a session after a use of it,
-- as credential.Record.TouchedLast does. The words are those of its head, stood
-- and stands its clock and expires at.
local function used(at, stood, stands, idle, limit, warnAt, once, extend, warn, quiet)
  limit = tonumber(limit)
  local refreshAt, clock, ends = tonumber(once), tonumber(warnAt), soonest(at + idle, limit)
  extend, warn, quiet = tonumber(extend), tonumber(warn), ends == limit and tonumber(quiet) or 0
  if warn ~= -2 then
    clock = soonest(clock, ends)
    if extend >= 0 and at + extend < ends and ends ~= limit then refreshAt = soonest(refreshAt, at + extend) end
    if warn >= 0 and ends == tonumber(stands) then
      clock = tonumber(stood) -- a use that moves no end leaves the countdown where it is
    elseif warn >= 0 then
      clock = soonest(clock, math.max(ends - warn, quiet))
    end
  end
  return refreshAt, clock, ends
end

-- touched does so for the moment of the last touch beside the head h. It
-- returns nil if the head knows of that touch, or is not one of a session.
local function touched(h, t)
  local _, _, _, clock, ends, last, idle, limit, warnAt, once, extend, warn, quiet = string.match(h, SESSION)
  local at = tonumber(t)
  if not last or not at or at <= tonumber(last) then return nil end
  return used(at, clock, ends, idle, limit, warnAt, once, extend, warn, quiet)
end

-- left returns refresh at of a head h at a moment at which its clock has passed:
-- an extension that somebody left behind who went into the background comes too
-- late from the session's end on, as credential.Due says. What was asked for by
-- hand stays.
local function left(h, refreshAt, at)
  local _, _, _, _, ends, _, _, _, _, once, _, warn = string.match(h, SESSION)
  if warn == '-2' and tonumber(ends) <= at then return tonumber(once) end
  return refreshAt
end

-- over tells of a head h whether its session's clock has run out at a moment, as
-- credential.Record.over does. later is its end by a touch beside the head, nil if
-- there is none.
local function over(h, later, at)
  local _, _, _, _, ends, _, _, _, _, _, _, warn = string.match(h, SESSION)
  if not ends or warn == '-2' then return false end
  ends = later or tonumber(ends)
  return ends ~= 0 and ends <= at
end

-- ahead returns a clock that has not passed, else a moment soon after now.
local function ahead(clock, at)
  if clock ~= 0 and clock <= at then return at + AGAIN end
  return clock
end

-- each calls cmd on key for the items of list, in commands of a bounded size.
local function each(cmd, key, list, flag)
  local n = #list
  for i = 1, n, 1000 do
    if flag then
      redis.call(cmd, key, flag, unpack(list, i, math.min(i + 999, n)))
    else
      redis.call(cmd, key, unpack(list, i, math.min(i + 999, n)))
    end
  end
end

-- queue appends v (and w) to the list that tab has under key.
local function queue(tab, key, v, w)
  local list = tab[key]
  if not list then
    list = {}
    tab[key] = list
  end
  list[#list + 1] = v
  if w then list[#list + 1] = w end
end
