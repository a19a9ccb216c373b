package credential

import "time"

// Presence says what is known of the person behind a session.
type Presence string

// The presences. The zero value counts as passive.
const (
	PresenceActive     Presence = "active"     // somebody looks: warned before the end
	PresencePassive    Presence = "passive"    // kept alive silently
	PresenceBackground Presence = "background" // nobody needs it now: its clock runs, and nothing new is done
)

// Presences lists the presences that can be set.
func Presences() []Presence {
	return []Presence{PresenceActive, PresencePassive, PresenceBackground}
}

// OnActive says what happens to the session of an active user who did not react
// to the countdown.
type OnActive string

// What can happen.
const (
	ActiveExtend OnActive = "extend" // it is extended silently at the last moment
	ActiveEnd    OnActive = "end"    // it ends, as the backend means it to
)

// OnDeath says what a session that ended leaves behind, where nobody can log in
// silently.
type OnDeath string

// What it can leave.
const (
	DeathReauth OnDeath = "reauth" // reauth_required: the user is asked to log in
	DeathLogout OnDeath = "logout" // logged_out: everything is erased
)

// SessionPolicy is what a provider's settings say about sliding sessions. The
// zero value is a provider that has none.
type SessionPolicy struct {
	Idle       time.Duration // a session that nobody uses for this long dies; 0: tokens are no sessions
	Absolute   time.Duration // it dies this long after its login, used or not; 0: never
	Extend     bool          // there is a call that extends it
	WarnBefore time.Duration // how long before the idle deadline an active user is told; 0: never
	OnActive   OnActive
	OnDeath    OnDeath
}

// Session is the clock of a sliding session: any use starts its idle timeout
// anew. The record's IssuedAt is its last known use, Lifetime the idle timeout,
// ExpiresAt the idle deadline, RefreshAt the planned extension, LimitAt the
// absolute limit.
type Session struct {
	Idle        time.Duration // 0: the token is no session
	ExtendAfter time.Duration // from a use to the planned extension; 0: none is planned
	WarnBefore  time.Duration // from the countdown's first event to the deadline; 0: nobody is told
	CountdownAt Millis        // when session.expiring is due next; 0 if it is not
	Ended       bool          // the backend said that it is over, or a limit was reached
	StartedAt   Millis        // when its backend made it, from where an absolute limit counts; 0 if that is not known
	TokenEndsAt Millis        // the expiry that its token had before it became a session; 0 if it always was one
	Successor   Successor
}

// Sliding reports whether the token is a sliding session.
func (s Session) Sliding() bool { return s.Idle > 0 }

// Touched returns r after a use of its session at a moment. A use that is not
// news, or that came after the session's end, changes nothing.
func (r Record) Touched(at Millis) Record {
	if at >= r.ExpiresAt {
		return r
	}
	return r.TouchedLast(at)
}

// TouchedLast returns r after several uses of its session, the last of them at a
// moment. Each is known to have come before the end that the earlier ones had left
// it.
func (r Record) TouchedLast(at Millis) Record {
	if !r.alive() || at <= r.IssuedAt {
		return r
	}
	before := r
	r.Rejected = 0 // it was good for that use
	r.useSession(at, before)
	return r
}

// useSession starts the idle timeout anew, of a session that is alive, whatever
// the record's state still is. before is the record as it was until then.
func (r *Record) useSession(at Millis, before Record) {
	s := &r.Session
	r.IssuedAt, r.Lifetime = at, s.Idle
	r.ExpiresAt = earliest(at.Add(s.Idle), r.LimitAt)
	r.RefreshAt, s.CountdownAt = 0, 0
	if r.Presence == PresenceBackground {
		return
	}
	if s.ExtendAfter > 0 && r.Refreshable && at.Add(s.ExtendAfter) < r.ExpiresAt && r.ExpiresAt != r.LimitAt { // nothing is longer than its limit
		r.RefreshAt = at.Add(s.ExtendAfter)
	}
	r.planCountdown(before)
}

// planCountdown plans when the session's end is told next. Where neither the end
// nor the moment from which it is told has moved, as with a use near the absolute
// limit, the countdown goes on, and one that has come to its end stays there.
func (r *Record) planCountdown(before Record) {
	from := r.toldFrom()
	r.Session.CountdownAt = from
	if from != 0 && before.alive() && before.ExpiresAt == r.ExpiresAt && before.toldFrom() == from {
		r.Session.CountdownAt = before.Session.CountdownAt
	}
}

// toldFrom returns the moment from which the session's end is told, 0 if it is
// not. It follows from the deadline alone, whenever the uses were that led there.
func (r Record) toldFrom() Millis {
	if r.Session.WarnBefore <= 0 || r.asleep() {
		return 0
	}
	from := r.ExpiresAt.Add(-r.Session.WarnBefore)
	if r.ExpiresAt == r.LimitAt {
		from = max(from, r.quiet())
	}
	return from
}

const (
	// extendAt is the part of the idle timeout after which a session that nobody
	// used is extended.
	extendAt = 2.0 / 3
	// extendSpread is the part of it over which extensions spread from there.
	extendSpread = 0.05
	// shortestCountdown is the least time between two events of a countdown.
	shortestCountdown = 5 * time.Second
)

// asleep reports whether the session's clock runs unwatched. An extension that is
// planned then is one that its user has left behind; see [SetPresence].
func (r Record) asleep() bool { return r.Session.Sliding() && r.Presence == PresenceBackground }

// alive reports whether the session is not known to be over.
func (r Record) alive() bool {
	return r.Session.Sliding() && !r.Session.Ended && (r.State == StateActive || r.State == StateDegraded)
}

// late reports whether two thirds of the idle timeout have passed since the
// session's last use.
func (r Record) late(now Millis) bool {
	return now.Sub(r.IssuedAt) >= time.Duration(extendAt*float64(r.Session.Idle))
}

// owed reports whether the session's extension has come due by now: it waits to
// be made, or has failed and waits to be made again.
func (r Record) owed(now Millis) bool {
	if !r.alive() || !r.Refreshable || r.RefreshAt == 0 || r.ExpiresAt <= now {
		return false
	}
	return r.RefreshAt <= now && r.late(now) || r.Failures > 0 && r.late(r.LastAttempt.FailedAt)
}

// over reports whether the session's clock has run out, and nobody has been told
// yet. A call that would extend it comes too late, whoever asks for it. One whose
// clock runs unwatched is not judged before somebody returns.
func (r Record) over(now Millis) bool {
	return r.alive() && !r.asleep() && r.ExpiresAt != 0 && r.ExpiresAt <= now
}

// lapse returns the moment from which an extension that somebody left behind
// comes too late, 0 if there is none.
func (r Record) lapse() Millis {
	if r.RefreshAt == 0 || !r.asleep() || !r.alive() {
		return 0
	}
	return r.ExpiresAt
}

// plan sets how the session is kept alive, by its provider's settings and by who
// uses it.
func (p Policy) plan(r *Record, now Millis) {
	s := &r.Session
	s.Idle = r.Learned.of(p.Sessions.Idle)
	s.ExtendAfter, s.WarnBefore = 0, 0
	switch r.Presence {
	case PresenceBackground:
	case PresenceActive:
		s.WarnBefore = p.warnBefore(s.Idle)
		if p.Sessions.OnActive != ActiveEnd {
			s.ExtendAfter = s.Idle - p.Times.LastCall(s.Idle)
		}
	default:
		part := extendAt + extendSpread*spread(r.ID, r.Grant)
		s.ExtendAfter = time.Duration(part * float64(s.Idle))
	}
	p.planLimit(r, now)
}

// warnBefore returns how long before the deadline of a session of that idle
// timeout an active user is told. Where that was learned to be shorter than the
// settings say, it takes the same part of the time before the last call as they
// give it, so that the warning comes neither with each use nor after that call.
func (p Policy) warnBefore(idle time.Duration) time.Duration {
	s := p.Sessions
	if idle >= s.Idle {
		return min(s.WarnBefore, idle)
	}
	settled, last := p.Times.LastCall(s.Idle), p.Times.LastCall(idle)
	if s.OnActive == ActiveEnd || s.WarnBefore <= settled {
		settled, last = 0, 0 // there is none, or the settings put the warning after it
	}
	part := float64(s.WarnBefore-settled) / float64(s.Idle-settled)
	return last + time.Duration(part*float64(idle-last))
}

// LastCall returns how long before the idle deadline an active user's session is
// extended who did not react: late enough to be the last moment, early enough
// for the call.
func (t Times) LastCall(idle time.Duration) time.Duration {
	return min(max(t.Attempt(), idle/20), idle/6)
}

// openSession starts the clock of a session at a use, with the limit that it
// has. It may be the one that the record has already.
func (r *Record) openSession(at Millis, p Policy) {
	before := *r
	r.Session.Ended = false
	p.plan(r, at)
	r.useSession(at, before)
}

// countdown publishes that the session of an active user nears its end, and
// plans the next time: at half of what is left, down to a few seconds.
func (c *change) countdown() {
	r := &c.write.Record
	s := &r.Session
	if at := r.countdown(); at == 0 || at > c.now || r.ExpiresAt <= c.now {
		return
	}
	s.CountdownAt = 0
	if half := r.ExpiresAt.Sub(c.now) / 2; half >= shortestCountdown {
		s.CountdownAt = c.now.Add(half)
	}
	c.event(EventSessionExpiring, r.State, r.Reason)
}

// sessionOver ends a session that its backend has ended, or its clock: somebody
// who is not there any more is logged in again where that can be done silently,
// at once unless nobody needs it now.
func (c *change) sessionOver(reason Reason, p Policy) {
	r := &c.write.Record
	loginAt := max(p.LoginAt(*r), p.loginWaits(*r))
	r.Session.Ended = true
	r.Session.CountdownAt, r.RefreshAt, r.WarnAt = 0, 0, 0 // no limit of it is to come
	r.ExpiresAt = min(r.ExpiresAt, c.now)
	left := r.Presence == PresenceActive && p.Sessions.OnActive == ActiveEnd && reason == ReasonIdleTimeout
	r.Refreshable = !left && p.CanReplace(*r)
	switch {
	case r.Refreshable:
		if !r.asleep() {
			r.RefreshAt = max(c.now, loginAt)
		}
		if r.State != StateExpired {
			c.event(EventExpired, StateExpired, reason)
		}
	case p.Sessions.OnDeath == DeathLogout:
		c.erase()
		c.event(EventLoggedOut, StateLoggedOut, reason)
	default:
		if r.State != StateExpired {
			c.event(EventExpired, StateExpired, reason)
		}
		c.reauth(reason)
	}
}

// CanReplace reports whether there is a way to a new token other than using the
// one there is.
func (p Policy) CanReplace(r Record) bool { return p.canRefresh(r) || r.HasLogin && p.CanLogin }

// endOf tells why the clock of a session has run out.
func (r Record) endOf() Reason {
	if r.LimitAt != 0 && r.LimitAt <= r.ExpiresAt {
		return ReasonAbsoluteTimeout
	}
	return ReasonIdleTimeout
}

// Extend stores that the open attempt a used the session, and that the backend
// took it.
func Extend(h Held, a Attempt, got Received, p Policy, by Initiator, now Millis) Write {
	c := beginChange(h, a.Nonce, by, now)
	c.write.Attempt = a.Nonce
	r := &c.write.Record
	sent := min(got.SentAt, now) // a clock that has jumped since must not lengthen its life
	r.Failures = 0
	r.Learned.outlasted()
	r.LastAttempt.SucceededAt = now
	r.served(sent)
	r.openSession(max(sent, r.IssuedAt), p)
	if got.Rejected {
		r.Rejected = r.Generation // its resource refused it, and the backend has just taken it
	}
	c.tell(h, got, p)
	if r.ExpiresAt <= now {
		c.tellChanges()
		c.sessionOver(r.endOf(), p)
		return c.leave(a, p)
	}
	if r.State != StateActive && !r.unreplaced() {
		c.event(EventRecovered, StateActive, ReasonNone)
	}
	c.event(EventSessionExtended, r.State, r.Reason)
	c.tellChanges()
	return c.leave(a, p)
}

// SetPresence stores who uses the session from now on. It reports false if that
// is known. On the return from the background the time since the last use
// decides, be that a login, a touch or an extension. Before two thirds of the
// idle timeout have passed nothing is done: the session is due when it would have
// been. From then on it is extended at once, unless such a call has just failed.
// After the idle deadline it is over, and its user is logged in again where that
// can be done silently: nobody has told him that it would end.
//
// What has come due stays due, whoever is there then: who looks in and leaves
// before the call was made has it made all the same, as long as it can save the
// session.
func SetPresence(h Held, presence Presence, p Policy, nonce Nonce, now Millis) (Write, bool) {
	if h.Record.State.Terminal() || h.Record.Presence == presence {
		return Write{}, false
	}
	c := beginChange(h, nonce, ByOwner, now)
	r := &c.write.Record
	r.hear(now)
	returned := r.asleep() // who comes back from the background
	if h.Attempt == nil {
		c.takeSessionOut(p)
	}
	alive := r.alive()
	switch {
	case !r.Session.Sliding(), alive && p.Sessions.Idle == 0: // there is nothing to plan a session by
		r.Presence = presence
	case returned && alive && r.ExpiresAt <= now && h.Attempt == nil:
		c.sessionOver(r.endOf(), p)
		if c.write.Erase {
			return c.done(nil), true
		}
		r.Presence = presence
		if r.Refreshable {
			r.RefreshAt = max(now, p.loginWaits(*r))
		}
	default:
		planned, owed := r.RefreshAt, r.owed(now)
		r.Presence = presence
		switch {
		case alive && r.ExpiresAt > now:
			r.replan(p, now)
		default:
			p.plan(r, now)
			if r.asleep() {
				r.RefreshAt, r.Session.CountdownAt = 0, 0
			}
		}
		switch {
		case owed:
			r.RefreshAt = planned
		case returned && r.Refreshable && r.callsOnReturn(now):
			r.RefreshAt = max(now, p.Again(*r), p.LoginAt(h.Record))
		case returned && r.RefreshAt != 0:
			r.RefreshAt = max(r.RefreshAt, p.Again(*r))
		case r.Failures > 0 && r.RefreshAt != 0:
			r.RefreshAt = max(r.RefreshAt, planned) // a backend that asked for time still has it
		}
	}
	return c.done(h.Attempt), true
}

// callsOnReturn reports whether a return from the background leads to a call at
// once: the session is over, or two thirds of its idle timeout have passed since
// its last use.
func (r Record) callsOnReturn(now Millis) bool { return !r.alive() || r.late(now) }

// Again returns when the same can be done again after the failures that there
// were, 0 if there were none.
func (p Policy) Again(r Record) Millis {
	if r.Failures == 0 {
		return 0
	}
	return r.LastAttempt.FailedAt.Add(p.Backoff(r.ID, r.Failures, r.Lifetime))
}
