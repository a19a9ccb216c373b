package credential

// dead deals with what will never work again: a session, a refresh token, a name
// and a password. Where there is another way to a new token that one is next,
// once, and only where there is none a person is asked.
func (c *change) dead(h Held, a Attempt, o Outcome, method Method, p Policy) {
	r := &c.write.Record
	c.noteFailure(o)
	switch {
	case method == MethodExtend:
		if r.ExpiresAt > c.now {
			r.Learned.refused(c.now.Sub(r.IssuedAt))
		}
		c.sessionOver(o.Reason, p)
	case method == MethodRefresh && p.another(*r):
		c.dropRefresh(h)
		if !r.asleep() {
			r.RefreshAt = c.now
		}
		if r.State == StateActive && r.ExpiresAt > c.now {
			c.event(EventDegraded, StateDegraded, EndedBy(a, o).Reason)
		}
		c.expire(EndedBy(a, o).Reason, p)
	default:
		if method == MethodLogin { // it is not presented again, whatever comes: accounts are locked for that
			c.write.SignIn, r.HasLogin = &SignIn{}, false
		}
		c.reauth(EndedBy(a, o).Reason)
	}
}

// another reports whether there is a way to a new token that is not the refresh token.
func (p Policy) another(r Record) bool {
	r.HasRefresh = false
	return p.Method(r) != MethodNone
}

// dropRefresh erases a refresh token that is dead, and with it the end that it
// would have had.
func (c *change) dropRefresh(h Held) {
	token := h.Token
	c.write.Spent, token.Refresh = token.Refresh, Secret{}
	c.write.Token = &token
	c.write.Alternates = &[]Alternate{}
	r := &c.write.Record
	r.HasRefresh = false
	if !r.Session.Sliding() {
		r.LimitAt, r.WarnAt = 0, 0
	}
}
