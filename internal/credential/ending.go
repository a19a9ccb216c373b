package credential

// Logout ends the credential at its owner's word: every secret is erased, the
// record stays.
func Logout(h Held, nonce Nonce, now Millis) Write {
	c := endChange(h, nonce, now)
	c.event(EventLoggedOut, StateLoggedOut, ReasonOwner)
	return c.done(nil)
}

// Delete removes the credential and leaves a tombstone with its numbers.
func Delete(h Held, nonce Nonce, now Millis) Write {
	c := endChange(h, nonce, now)
	c.event(EventDeleted, StateDeleted, ReasonOwner)
	r := &c.write.Record
	r.Labels, r.Subject = nil, ""
	r.LastAttempt = Attempts{}
	return c.done(nil)
}

// Repeat notes that the owner brought the login that is stored, or ended what has
// ended. Nothing else changes, and there is no event.
func Repeat(h Held, nonce Nonce, now Millis) Write {
	c := beginChange(h, nonce, ByOwner, now)
	c.write.Record.Acts++
	return c.done(h.Attempt)
}

// TakeSubject is [Repeat] with the user's UID, which the owner did not bring with the
// login, or has corrected. Whose a credential is decides who may read it, so it has an
// event and a version: whoever keeps the record in memory reads it again, and a store
// that has lost it gets it back. A request that could not be made, or was refused, is
// made anew with it at once.
func TakeSubject(h Held, subject string, nonce Nonce, now Millis) Write {
	c := beginChange(h, nonce, ByOwner, now)
	r := &c.write.Record
	r.Acts++
	r.Subject = subject
	if r.Failures > 0 && r.LastAttempt.Failure == ReasonInvalidRequest && r.RefreshAt > now {
		r.Failures, r.RefreshAt = 0, now
	}
	c.event(EventClaimsChanged, r.State, r.Reason)
	return c.done(h.Attempt)
}

// inTheAir returns the refresh token that an open attempt may be presenting at
// this moment. Whoever brings it back later brings a spent one. A token that
// was only replaced can be brought back.
func inTheAir(h Held) Secret {
	if h.Attempt == nil {
		return Secret{}
	}
	return h.Token.Refresh
}

func endChange(h Held, nonce Nonce, now Millis) *change {
	c := beginChange(h, nonce, ByOwner, now)
	c.write.Spent = inTheAir(h)
	c.write.Record.Acts++
	c.erase()
	return c
}

// erase ends the grant and takes every secret away.
func (c *change) erase() {
	r := &c.write.Record
	r.Grant++
	r.Refreshable, r.HasRefresh, r.HasLogin, r.Paused = false, false, false, false
	r.IssuedAt, r.ExpiresAt, r.RefreshAt, r.LimitAt, r.WarnAt, r.OnceAt = 0, 0, 0, 0, 0, 0
	r.Lifetime, r.Presence = 0, ""
	r.Session, r.Learned = Session{}, Learned{}
	r.Failures = 0
	c.write.Token, c.write.SignIn, c.write.UserData, c.write.Open = nil, nil, nil, nil
	c.write.Erase = true
	c.write.Close = true
	c.write.Alternates = &[]Alternate{}
}
