package credential

import "time"

// Successor is the session that replaces one ahead of its absolute limit, by a
// silent login, so that its users never lack a token. It is planned as a login
// ahead of an access token's expiry is, whatever uses there are.
type Successor struct {
	At       Millis // when the login is made, or made again after a failure; 0 if none is planned
	Failures int    // of such logins since the last that succeeded
	Refused  bool   // the last one was answered without a verdict: none is made before At, whoever asks
}

// successorAt returns when the session is replaced ahead of its limit, 0 if it is
// not.
func (r Record) successorAt() Millis {
	if !r.alive() {
		return 0
	}
	return r.planned()
}

// planned is successorAt of a session that is alive, or is from now on. Where
// nothing is done to keep it alive, because nobody needs it now or because it is to
// end, it is not replaced.
func (r Record) planned() Millis {
	if r.asleep() || r.Session.ExtendAfter == 0 {
		return 0
	}
	return r.Session.Successor.At
}

// succeeds reports whether an attempt that was begun at a moment replaces the
// session ahead of its limit.
func (r Record) succeeds(begun Millis) bool {
	at := r.successorAt()
	return at != 0 && at <= begun
}

// QuietUntil returns the moment up to which an end by the absolute limit is not
// announced, because the login that is planned ahead of it is to prevent it: until
// half of the time is over that it has for that. 0 if there is none, or if it has
// failed.
func (r Record) QuietUntil() Millis {
	if !r.alive() {
		return 0
	}
	return r.quiet()
}

// quiet is QuietUntil of a session that is alive, or is from now on.
func (r Record) quiet() Millis {
	at := r.planned()
	if at == 0 || r.Session.Successor.Failures > 0 || r.LimitAt <= at {
		return 0
	}
	return at + (r.LimitAt-at)/2
}

// AnnouncedAt returns the moment at which the coming limit is announced, 0 if it is
// not, or was. That of a session whose time is over is not, although a call that is
// under way may yet show that it lives.
func (r Record) AnnouncedAt() Millis {
	if r.WarnAt == 0 || r.Session.Sliding() && !r.alive() {
		return 0
	}
	return max(r.WarnAt, r.QuietUntil())
}

// MethodAt returns what an attempt presents that was begun at a moment: from the
// one on at which a session is replaced ahead of its limit, that is the login.
func (p Policy) MethodAt(r Record, begun Millis) Method {
	method := p.Method(r)
	if method == MethodExtend && r.succeeds(begun) && r.HasLogin && p.CanLogin {
		return MethodLogin
	}
	return method
}

// planLimit sets the absolute limit of a session by its provider's settings, and
// when it is replaced ahead of it. A limit that has passed, or that leaves no time
// for a call, is not taken over: that the session is over is for its backend to
// say.
func (p Policy) planLimit(r *Record, now Millis) {
	s := &r.Session
	if s.StartedAt == 0 {
		return
	}
	total := min(p.Sessions.Absolute, MaxRefreshLifetime)
	limit := limitOf(s.StartedAt, total)
	if limit != r.LimitAt && (limit == 0 || limit > now.Add(p.Times.LastCall(s.Idle))) {
		r.setLimitAt(s.StartedAt, total, p)
	}
	switch {
	case total <= 0 || !p.replacesSilently(*r):
		s.Successor = Successor{}
	case s.Successor.Failures == 0:
		p.RefreshIdle = 0 // it is no refresh token that dies unused
		s.Successor.At = p.PlanRefresh(r.ID, r.Grant, s.StartedAt, total)
	}
}

// replacesSilently reports whether another session can be had for one that is
// still good: by the login that is kept, or in the only way there is.
func (p Policy) replacesSilently(r Record) bool {
	return r.HasLogin && p.CanLogin || !p.Sessions.Extend && p.canRefresh(r)
}

// failSuccessor plans the next login ahead of a session's limit after one that
// failed. The end is announced from now on.
func (c *change) failSuccessor(o Outcome, wait time.Duration) {
	r := &c.write.Record
	s := &r.Session
	if quiet := r.QuietUntil(); c.now < quiet && s.WarnBefore > 0 && r.ExpiresAt == r.LimitAt {
		s.CountdownAt = max(r.ExpiresAt.Add(-s.WarnBefore), c.now)
	}
	s.Successor = Successor{At: c.now.Add(wait), Failures: s.Successor.Failures + 1, Refused: o.Class == ClassRefused}
}

// unreplaced reports whether the session is in use, and its replacement ahead of
// its limit fails: it stays degraded whatever extends it.
func (r Record) unreplaced() bool {
	return r.State == StateDegraded && r.alive() && r.Session.Successor.Failures > 0
}

// loginWaits returns until when a login has to wait that failed ahead of the limit
// of a session which is over now, 0 if there is none.
func (p Policy) loginWaits(r Record) Millis {
	if r.Session.Successor.Failures == 0 || p.canRefresh(r) {
		return 0
	}
	return r.Session.Successor.At
}
