package credential

// EndedBy returns the outcome o, of ClassPermanent, as it is told of the attempt
// a: where a asked once more after a reply that was lost, and hears that the
// token is dead, it is the lost reply that made it so.
func EndedBy(a Attempt, o Outcome) Outcome {
	if a.Recovery && o.Reason == ReasonInvalidGrant {
		o.Reason = ReasonLostRotation
	}
	return o
}

// TakeEnded decides what follows from a provider's word that a grant is dead,
// which was heard under the attempt a by somebody who could not store it any
// more. It reports false if it says nothing of the token that is current: that
// is of another login or another generation, or somebody is presenting it at
// this moment and will hear for himself.
func TakeEnded(h Held, a Attempt, o Outcome, p Policy, now Millis) (Write, bool) {
	r, open := h.Record, h.Attempt
	if o.past(r, a) || r.State.Terminal() || r.Grant != a.Grant || r.Generation != a.Generation {
		return Write{}, false
	}
	if open != nil && open.Nonce != a.Nonce && !open.Doubt {
		return Write{}, false
	}
	if alt, _, ok := NextAlternate(h); ok {
		return InstallAlternate(h, alt, p, a.Nonce, BySchedule, now), true
	}
	return Fail(h, a, o, p, BySchedule, now).beside(open), true
}

// TakeRefused decides what follows from a provider's word o, heard when it was asked
// about the token of asked, that it does not take that any more: where nothing can
// replace it, only its user can, whatever is left of its time. It reports false if
// that says nothing of the token that is current, if an attempt is open, or if there
// is a way to another one, for which the settings have a call.
func TakeRefused(h Held, asked Record, o Outcome, p Policy, nonce Nonce, now Millis) (Write, bool) {
	r := h.Record
	if r.State.Terminal() || r.Grant != asked.Grant || r.Generation != asked.Generation || h.Attempt != nil || r.Refreshable && (p.CanReplace(r) || r.Session.Sliding()) {
		return Write{}, false
	}
	if alt, _, ok := NextAlternate(h); ok {
		return InstallAlternate(h, alt, p, nonce, BySchedule, now).beside(nil), true
	}
	c := beginChange(h, nonce, BySchedule, now)
	c.noteFailure(o)
	c.reauth(o.Reason)
	return c.done(nil).beside(nil), true
}

// past reports whether what ended under the attempt a is gone already, or was in
// use since.
func (o Outcome) past(r Record, a Attempt) bool {
	switch o.Method {
	case MethodExtend:
		return r.Session.Ended || r.IssuedAt > a.BegunAt
	case MethodRefresh:
		return !r.HasRefresh
	case MethodLogin:
		return !r.HasLogin
	case MethodNone:
	}
	return false
}
