package credential

// SetPaused holds a credential back, or lets it go on. Nothing is presented
// while it is paused; what the passing of time brings is told all the same. It
// reports false if there is nothing to do.
func SetPaused(h Held, paused bool, nonce Nonce, now Millis) (Write, bool) {
	if h.Record.State.Terminal() || h.Record.Paused == paused {
		return Write{}, false
	}
	c := beginChange(h, nonce, ByOwner, now)
	c.write.Record.Paused = paused
	c.write.Record.hear(now)
	return c.done(h.Attempt), true
}

// AffirmPaused stores that an owner has said once more whether a credential is held
// back, which it is, or is not, already. It has a meaning where the store may lack an
// earlier word that says otherwise: that one would come back over it. It reports false
// if there is nothing to hold back.
func AffirmPaused(h Held, nonce Nonce, now Millis) (Write, bool) {
	if h.Record.State.Terminal() {
		return Write{}, false
	}
	c := beginChange(h, nonce, ByOwner, now)
	c.write.Record.hear(now)
	return c.done(h.Attempt), true
}

// PlanOnce asks for one refresh at a moment, beside what is planned. It is
// stored, so it comes also after a restart, and is over with the first exchange
// from then on. 0 takes it back. It reports false if that is what is stored.
func PlanOnce(h Held, at Millis, nonce Nonce, now Millis) (Write, bool) {
	if h.Record.State.Terminal() || h.Record.OnceAt == at {
		return Write{}, false
	}
	c := beginChange(h, nonce, ByOwner, now)
	c.write.Record.OnceAt = at
	c.write.Record.hear(now)
	return c.done(h.Attempt), true
}

// TakeUserData stores what a backend told of its user in a call of its own: data,
// and the user's UID where none is known yet, which has no event of its own. It
// reports false if that is what is stored.
func TakeUserData(h Held, data UserData, subject string, nonce Nonce, by Initiator, now Millis) (Write, bool) {
	if h.Record.State.Terminal() {
		return Write{}, false
	}
	c := beginChange(h, nonce, by, now)
	c.learn(h, Received{Subject: subject, UserData: data})
	if c.write.UserData == nil && c.write.Record.Subject == h.Record.Subject {
		return Write{}, false
	}
	c.tellChanges()
	return c.done(h.Attempt), true
}

// TakeTold is [TakeUserData] for the reply to another call that brings no token, such
// as a verification. Where there is a call for user data, that is the source.
func TakeTold(h Held, data UserData, subject string, p Policy, nonce Nonce, by Initiator, now Millis) (Write, bool) {
	return TakeUserData(h, p.beside(h, data), subject, nonce, by, now)
}

// served takes a one-shot refresh for done whose moment had come when an exchange
// was begun.
func (r *Record) served(begun Millis) {
	if r.OnceAt <= begun {
		r.OnceAt = 0
	}
}

// hear puts what an owner says now of when calls are made after all that he has said
// before. Of two words of which neither was decided on the other, for the store had
// lost one of them, the one that is later by the store's clock stands. Where that
// clock has fallen back, the later word yields as long as it is behind: the earlier
// one may come back over it.
func (r *Record) hear(now Millis) { r.Plans = max(r.Plans+1, uint64(max(now, 0))) }

// lacksPlans reports whether other knows of something that the owner has said of when
// calls are made, and r does not. Of an earlier login that is a pause, which outlives
// one: a second one might follow a logout, which ends it.
func (r Record) lacksPlans(other Record) bool {
	if r.Plans >= other.Plans || r.State.Terminal() {
		return false
	}
	return r.Grant == other.Grant || r.Grant == other.Grant+1 && r.Paused != other.Paused
}

// lacksSubject reports whether other, which is of the same login, knows of a user's UID
// and r does not: one that the owner has told since, or one that the backend told where
// none was known. Within a login [Record.Acts] counts what the owner told of it, and
// hardly anything else.
func (r Record) lacksSubject(other Record) bool {
	return r.Grant == other.Grant && other.Subject != "" && other.Subject != r.Subject && (r.Subject == "" || r.Acts < other.Acts)
}

// WithWords returns r with what the owner has said in other, of when calls are made and
// whose the credential is, as far as it holds for r's login and r knows nothing of it.
func (r Record) WithWords(other Record) Record {
	if r.lacksPlans(other) {
		r.follow(other)
	}
	if r.lacksSubject(other) {
		r.belong(other)
	}
	return r
}

// belong takes over from other whose the credential is.
func (r *Record) belong(other Record) { r.Subject, r.Acts = other.Subject, max(r.Acts, other.Acts) }

// follow takes over what the owner has said in from of when calls are made, and r
// knows nothing of. What was asked for at a moment is over with the exchange that r
// has had since; the presence is that of the same login.
func (r *Record) follow(from Record) {
	if from.Plans <= r.Plans {
		return
	}
	r.Plans, r.Paused = from.Plans, from.Paused
	if r.State.Terminal() {
		return
	}
	r.OnceAt = from.OnceAt
	r.served(min(r.IssuedAt, r.LastAttempt.SucceededAt)) // a session's last use may be its owner's
	if r.Grant != from.Grant || r.Presence == from.Presence {
		return
	}
	before := *r
	r.Presence = from.Presence
	if r.alive() && from.alive() {
		r.Session.ExtendAfter, r.Session.WarnBefore = from.Session.ExtendAfter, from.Session.WarnBefore
		r.useSession(r.IssuedAt, before)
	}
}

// presentable reports whether something can be presented, and may be.
func (r Record) presentable() bool { return r.Refreshable && !r.Paused }

// NextRefresh returns when the next refresh is planned, by the schedule, by hand or
// ahead of a session's limit; 0 if none is.
func (r Record) NextRefresh() Millis { return earliest(r.RefreshAt, r.ByHandOrLimit()) }

// ByHandOrLimit returns when the next refresh is planned that no use of a session
// puts off: one that was asked for by hand, or the session's replacement ahead of
// its limit; 0 if none is.
func (r Record) ByHandOrLimit() Millis { return earliest(r.OnceAt, r.successorAt()) }

// refreshDue reports whether the next refresh has come.
func (r Record) refreshDue(now Millis) bool {
	at := r.NextRefresh()
	if end := r.lapse(); end != 0 && end <= now {
		at = r.OnceAt
	}
	return at != 0 && at <= now
}
