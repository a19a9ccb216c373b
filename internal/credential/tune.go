package credential

import "cmp"

// Tune plans a living credential by its provider's present settings, where it lives
// by others: they may have changed since it was planned, and a session that is
// touched in time has no other occasion. A living token becomes a session where its
// provider has any by now, and a session a token where it has none any more, once no
// attempt is open that was begun by what it is. One that was stored while there was no
// way to another gets the way that there is by now. It reports false if there is
// nothing to change. No event tells of it; what follows from it is told when it
// comes.
//
// A way that is gone is not taken from what has it: another process may have been
// told of the call already, and this one not yet. See [PutOff].
//
// By settings that are shorter than the time since its last use, the session would
// be over. It is not: it is extended now where it can be, and keeps its deadline
// meanwhile, for its backend has the last word.
func Tune(h Held, p Policy, nonce Nonce, now Millis) (Write, bool) {
	before := h.Record
	was, is := before.Session.Sliding(), p.Sessions.Idle > 0
	if before.Session.Ended || !before.ValidAt(now, 0) {
		return Write{}, false
	}
	if !was && !is {
		if before.Refreshable || !p.CanReplace(before) {
			return Write{}, false
		}
		c := beginChange(h, nonce, BySchedule, now)
		if !c.write.Record.findWay(p) {
			return Write{}, false
		}
		return c.done(h.Attempt), true
	}
	if was != is && !p.Turns(h, now) {
		return Write{}, false
	}
	c := beginChange(h, nonce, BySchedule, now)
	r := &c.write.Record
	switch {
	case !is:
		c.takeSessionOut(p)
	case !was:
		r.becomeSession(p, now)
	default:
		r.Refreshable = r.Refreshable || p.Sessions.Extend || p.CanReplace(*r)
		r.replan(p, now)
		if r.Refreshable == before.Refreshable && r.LimitAt == before.LimitAt && r.Session.settings() == before.Session.settings() {
			return Write{}, false
		}
	}
	switch {
	case was && r.asleep():
		r.RefreshAt = before.RefreshAt // what has come due stays due
	case r.Failures > 0 && r.RefreshAt != 0:
		r.RefreshAt = max(r.RefreshAt, before.RefreshAt)
	}
	return c.done(h.Attempt), true
}

// Turns reports whether [Tune] makes a session of a token, or a token of a
// session. While it does, what others hold of h may be that already.
func (p Policy) Turns(h Held, now Millis) bool {
	s := h.Record.Session
	return s.Sliding() != (p.Sessions.Idle > 0) && !s.Ended && s.Successor.Failures == 0 && h.Attempt == nil && h.Record.ValidAt(now, 0)
}

// TakeSessionOut closes the open attempt a, of which nothing was sent because there
// is nothing to present, and makes a token of its session where [Policy.TookOut]
// says so.
func TakeSessionOut(h Held, a Attempt, p Policy, by Initiator, now Millis) Write {
	c := beginChange(h, a.endNonce(endAbandoned, h.Record.Revision), by, now)
	c.write.Attempt = a.Nonce
	c.write.Record.served(a.BegunAt)
	c.takeSessionOut(p)
	return c.leave(a, p)
}

// TookOut reports whether r is a living session of a provider that has none any
// more. That is no end of a login, for its backend has said nothing of the kind:
// whoever finds it before [Tune] does makes a token of it. One whose login
// ahead of its limit fails stays a session until that is settled, which keeps the
// wait before the next, as long as there is a way to another token.
func (p Policy) TookOut(r Record) bool {
	return p.Sessions.Idle == 0 && r.alive() && (r.Session.Successor.Failures == 0 || !p.CanReplace(r))
}

// takeSessionOut makes a token of what is still a session and should be none. It
// reports whether it was.
func (c *change) takeSessionOut(p Policy) bool {
	r := &c.write.Record
	if !p.TookOut(*r) {
		return false
	}
	planned := r.RefreshAt
	r.becomeToken(c.access, p, c.now)
	if r.Failures > 0 && r.RefreshAt != 0 {
		r.RefreshAt = max(r.RefreshAt, planned) // a backend that asked for time still has it
	}
	return true
}

// findWay plans the next refresh of a token that had no way to another, if it has one
// by the present settings. It reports whether it has.
func (r *Record) findWay(p Policy) bool {
	if r.Refreshable || r.Session.Sliding() || !p.CanReplace(*r) {
		return false
	}
	r.Refreshable = true
	r.RefreshAt = p.PlanRefresh(r.ID, r.Version+1, r.IssuedAt, r.Lifetime)
	if r.LimitAt != 0 {
		r.useRefresh(r.IssuedAt, r.LimitAt.Sub(r.IssuedAt), 0)
	}
	if r.Failures > 0 {
		r.RefreshAt = max(r.RefreshAt, p.Again(*r))
	}
	return true
}

// keepWay plans the next refresh of a token that was got by settings which have a way
// to another: they are those of another process, or of before, and it is not taken
// from what has it.
func (r *Record) keepWay(p Policy) {
	r.Refreshable = true
	if r.Session.Sliding() {
		r.useSession(r.IssuedAt, *r)
		return
	}
	r.RefreshAt = p.PlanRefresh(r.ID, r.Version+1, r.IssuedAt, r.Lifetime)
}

// PutOff closes the open attempt a, of which nothing was sent because the present
// settings have no call for what is held. That is no end of a login: nobody has said
// that it is over, its token lives, and the call may come back, or is there for
// another process, which goes by other settings. Whoever comes next looks again, at
// half of the time that is left each time. A doubt that a took up stands.
func PutOff(h Held, a Attempt, p Policy, by Initiator, now Millis) Write {
	c := beginChange(h, a.endNonce(endPostponed, h.Record.Revision), by, now)
	c.write.Attempt = a.Nonce
	r := &c.write.Record
	again := now.Add(max(r.ExpiresAt.Sub(now)/2, shortestCountdown))
	for _, at := range []*Millis{&r.RefreshAt, &r.OnceAt, &r.Session.Successor.At} {
		if *at != 0 && *at <= now {
			*at = again
		}
	}
	return c.settle(a, c.insideGrace(max(RecoverAt(*r, a, p, now), again), a, p))
}

// becomeSession makes a session of a token that counts as used when it was issued,
// or an idle timeout before the end that is known of it: no setting lengthens the
// life of a token that nobody used since.
func (r *Record) becomeSession(p Policy, now Millis) {
	r.Session = Session{StartedAt: r.IssuedAt, TokenEndsAt: r.ExpiresAt}
	r.LimitAt, r.WarnAt = 0, 0 // they were its refresh token's
	r.Refreshable = p.Sessions.Extend || p.CanReplace(*r)
	r.IssuedAt = min(r.IssuedAt, r.ExpiresAt.Add(-r.Learned.of(p.Sessions.Idle)))
	r.replan(p, now)
}

// becomeToken makes a token of a session, one that was told no expiry when it was
// issued, or that which it was before it became a session. Where the life of such a
// one is over, or leaves no time for a call, it is replaced now, and keeps the deadline
// that it had, but for one whose end was told and is still to come.
func (r *Record) becomeToken(access Secret, p Policy, now Millis) {
	deadline := r.ExpiresAt
	issued := cmp.Or(r.Session.StartedAt, r.IssuedAt)
	life := p.Lifetime(0, JWTExpiry(access), issued)
	told := r.Session.TokenEndsAt
	if told != 0 {
		life = told.Sub(issued)
	}
	r.setLimit(r.GrantedAt, 0, p)
	r.setLife(issued, life, p)
	if r.ExpiresAt < now.Add(p.Times.LastCall(r.Lifetime)) {
		if told <= now {
			r.ExpiresAt = max(r.ExpiresAt, deadline)
		}
		if r.Refreshable {
			r.RefreshAt = now
		}
	}
}

// settings is the session without what its uses and events move.
func (s Session) settings() Session {
	s.CountdownAt = 0
	return s
}

// replan plans the session anew from its last use on. One whose new deadline would
// have passed, or leaves no time for a call, keeps the old one, and is extended
// now.
func (r *Record) replan(p Policy, now Millis) {
	before := *r
	p.plan(r, now)
	r.useSession(r.IssuedAt, before)
	s := &r.Session
	if r.ExpiresAt < before.ExpiresAt && r.ExpiresAt < now.Add(p.Times.LastCall(s.Idle)) {
		r.ExpiresAt = earliest(before.ExpiresAt, r.LimitAt)
		if s.ExtendAfter > 0 && r.Refreshable {
			r.RefreshAt = now
		}
		r.planCountdown(before)
	}
}
