package credential

// Method is a way to a new token, or to a longer life of the one there is.
type Method string

// The methods.
const (
	MethodNone    Method = ""        // there is none
	MethodRefresh Method = "refresh" // present the refresh token
	MethodLogin   Method = "login"   // present name and password again
	MethodExtend  Method = "extend"  // use the session, so that its idle timeout starts anew
)

// Method returns how the credential gets its next token. It follows from the
// record alone: whoever takes over from a dead process comes to the same.
//
// A session that was told to be expired while it was being extended is extended
// still, until it is known to be over.
func (p Policy) Method(r Record) Method {
	switch {
	case r.Session.Sliding() && !r.Session.Ended && p.Sessions.Extend && r.State != StatePending:
		return MethodExtend
	case p.canRefresh(r):
		return MethodRefresh
	case r.HasLogin && p.CanLogin:
		return MethodLogin
	default:
		return MethodNone
	}
}

// LoginAt returns the earliest moment at which the stored name and password may
// be presented again without their owner; 0 if that is at any time. A backend
// that refuses a login in words that are not known, or answers it without a
// token, may count it as a wrong password, and lock the account for the next.
func (p Policy) LoginAt(r Record) Millis {
	if s := r.Session; s.Ended && s.Successor.Refused && s.Successor.At > r.LastAttempt.FailedAt && p.Method(r) == MethodLogin {
		return s.Successor.At
	}
	if r.Failures == 0 || p.Method(r) != MethodLogin {
		return 0
	}
	last := r.LastAttempt
	if last.Failure != ReasonInvalidRequest && last.Failure != ReasonMalformedReply {
		return 0
	}
	// The last failure may be that of an extension, of a session that ended since.
	until := last.FailedAt.Add(refusedWait)
	if asleep := r.RefreshAt == 0 && last.FailedAt >= r.ExpiresAt; asleep || r.RefreshAt >= until {
		return until
	}
	return 0
}

// Adds reports whether p has a call that brings another token and before has not.
func (p Policy) Adds(before Policy) bool {
	return before.NoRefresh && !p.NoRefresh || !before.CanLogin && p.CanLogin
}

// canRefresh reports whether there is a refresh token, and a call for it.
func (p Policy) canRefresh(r Record) bool { return r.HasRefresh && !p.NoRefresh }

// presented returns what an attempt has presented of which nothing is known but
// that it was open: where a refresh token is held, the worst is that it was that. It may
// have been begun by other settings, so where by the present ones there is nothing to
// present, it was the refresh token.
func (p Policy) presented(h Held) Method {
	if method := p.presents(h); method != MethodNone || !h.Record.HasRefresh {
		return method
	}
	return MethodRefresh
}

// presents returns what an attempt presents that was begun by the present settings:
// a refresh token where one is held that can be presented.
func (p Policy) presents(h Held) Method {
	if p.canRefresh(h.Record) {
		return MethodRefresh
	}
	if h.Attempt == nil {
		return p.Method(h.Record)
	}
	return p.MethodAt(h.Record, h.Attempt.BegunAt)
}
