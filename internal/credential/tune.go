package credential

// TuneSession plans a living session by its provider's present settings, where it lives
// by others: they may have changed since it was planned, and a session that is
// touched in time has no other occasion. It reports false if there is nothing to
// change. No event tells of it; what follows from it is told when it comes.
//
// By settings that are shorter than the time since its last use, the session would
// be over. It is not: it is extended now where it can be, and keeps its deadline
// meanwhile, for its backend has the last word.
func TuneSession(h Held, p Policy, nonce Nonce, now Millis) (Write, bool) {
	before := h.Record
	if !before.alive() || p.Sessions.Idle == 0 || before.ExpiresAt <= now {
		return Write{}, false
	}
	c := beginChange(h, nonce, BySchedule, now)
	r := &c.write.Record
	r.Refreshable = p.Sessions.Extend || p.canReplace(*r)
	r.replan(p, now)
	if r.Refreshable == before.Refreshable && r.LimitAt == before.LimitAt && r.Session.settings() == before.Session.settings() {
		return Write{}, false
	}
	switch {
	case r.asleep():
		r.RefreshAt = before.RefreshAt // what has come due stays due
	case r.Failures > 0 && r.RefreshAt != 0:
		r.RefreshAt = max(r.RefreshAt, before.RefreshAt)
	}
	return c.done(h.Attempt), true
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
