package credential

import (
	"slices"
	"strings"
)

// Install stores the token that the open attempt a brought.
//
// A reply that held a new refresh token but no access token is installed as
// well: the old access token is served to its end, and the next refresh is
// due soon. A reply that was cut off after its access token may have held a
// new refresh token: the access token is served, and the old refresh token
// stays in doubt. So it does where the provider rotates with every refresh and
// the reply had no new one.
func Install(h Held, a Attempt, got Received, p Policy, by Initiator, now Millis) Write {
	c := beginChange(h, a.Nonce, by, now)
	c.write.Attempt = a.Nonce
	seen := c.write.Record.Rotations
	c.install(h, got, p)
	if got.Token.Refresh.IsZero() && p.MayRotate(seen) && got.method(h, p) == MethodRefresh && !c.write.Erase {
		r := &c.write.Record
		kept := r.Rotations
		r.Rotations = seen // nothing was learned: the part that is missing may have held one
		a.Generation = r.Generation
		switch {
		case got.Partial:
			r.LastAttempt.FailedAt, r.LastAttempt.Failure, r.LastAttempt.Detail = c.now, ReasonMalformedReply, got.Detail
			return c.doubt(a, MethodRefresh, p)
		case p.Rotates == RotatesYes:
			return c.unrotated(a, got, p)
		}
		r.Rotations = kept
	}
	if got.method(h, p) == MethodExtend {
		return c.leave(a, p)
	}
	c.write.Close = true
	return c.done(nil)
}

// unrotated leaves the refresh token that was presented in doubt: the provider
// issues a new one with every refresh, and the reply had none where it should.
// It is read wrongly, then, and the old one is spent. It is presented once more
// inside a usable grace, unless that brought such a reply already: then that is
// how this provider answers, and nothing is left but the last resort.
func (c *change) unrotated(a Attempt, got Received, p Policy) Write {
	r := &c.write.Record
	again := a.Recovery && r.LastAttempt.Failure == ReasonMalformedReply && r.LastAttempt.FailedAt >= a.FirstSent
	r.LastAttempt.FailedAt, r.LastAttempt.Failure, r.LastAttempt.Detail = c.now, ReasonMalformedReply, got.Detail
	if a.FirstSent == 0 {
		a.FirstSent = a.BegunAt
	}
	if again {
		a.RecoverAt = max(c.now, r.RefreshAt, lastMoment(*r))
	} else {
		a.RecoverAt = c.insideGrace(max(RecoverAt(*r, a, p, c.now), r.RefreshAt), a, p)
	}
	c.write.Doubted = !c.doubted
	a.Doubt = true
	c.write.Open = &a
	return c.done(&a)
}

// method returns how the token was got.
func (got Received) method(h Held, p Policy) Method {
	if got.Method != MethodNone {
		return got.Method
	}
	return p.presents(h)
}

// plain reports whether it is an access token alone: one of a session, or of a
// login. Any newer one is better.
func (alt Alternate) plain() bool { return alt.Token.Refresh.IsZero() }

// method returns how the token was got, as far as the record tells.
func (alt Alternate) method(h Held) Method {
	r := h.Record
	switch {
	case r.HasRefresh && !alt.plain():
		return MethodRefresh
	case r.Session.Sliding():
		return MethodExtend // if it was a login, its session may last longer than this one's limit
	default:
		return MethodLogin
	}
}

// InstallAlternate makes alt the current token. An attempt that is open is
// closed with it.
func InstallAlternate(h Held, alt Alternate, p Policy, nonce Nonce, by Initiator, now Millis) Write {
	c := beginChange(h, nonce, by, now)
	rest := slices.DeleteFunc(slices.Clone(h.Alternates), func(other Alternate) bool { return other.Nonce == alt.Nonce })
	c.write.Alternates = &rest
	method := alt.method(h)
	c.install(h, Received{Method: method, Token: alt.Token, SentAt: alt.IssuedAt, ExpiresIn: alt.Lifetime}, p)
	if h.Attempt == nil {
		return c.done(nil)
	}
	a := *h.Attempt
	c.write.Attempt = a.Nonce
	if method == MethodExtend {
		a.Recovery = a.Recovery || a.Doubt
		return c.leave(a, p)
	}
	c.write.Close = true
	return c.done(nil)
}

// install does what both ways to a new token have in common. Alternates that it
// outlives are dropped.
func (c *change) install(h Held, got Received, p Policy) {
	got.SentAt = min(got.SentAt, c.now) // a clock that has jumped since must not lengthen its life
	r := &c.write.Record
	r.Generation++
	if c.write.Alternates == nil && len(h.Alternates) > 0 {
		rest := slices.DeleteFunc(slices.Clone(h.Alternates), func(alt Alternate) bool {
			return alt.plain() || outlived(alt.Generation, r.Generation)
		})
		c.write.Alternates = &rest
	}
	r.Rejected = 0
	r.served(got.SentAt)
	switch {
	case !got.Rejected && !r.Session.Ended:
		r.Learned.outlasted()
	case got.Rejected && r.ExpiresAt > c.now && !got.Token.Access.IsZero(): // or the same one is served on, and would count again
		r.Learned.refused(c.now.Sub(r.IssuedAt))
	}
	token := got.Token
	method := got.method(h, p)
	rotated := !token.Refresh.IsZero() && !token.Refresh.Equal(h.Token.Refresh)
	switch {
	case method == MethodLogin: // whatever was granted before is over
		r.GrantedAt = got.SentAt
	case rotated:
		if method == MethodRefresh {
			r.Rotations = Rotated{Seen: true}
		}
		c.write.Spent = h.Token.Refresh
	default:
		if got.Method == MethodRefresh || method == MethodRefresh && !r.Session.Sliding() {
			r.Rotations.Kept++
		}
		token.Refresh = h.Token.Refresh // RFC 6749 section 6: none issued, the old one stays
	}
	if token.Scope == "" {
		token.Scope = h.Token.Scope // RFC 6749 section 5.1: unchanged if omitted
	}
	if token.Type == "" {
		token.Type = h.Token.Type
	}
	r.HasRefresh = !token.Refresh.IsZero()
	c.tell(h, got, p)
	if token.Access.IsZero() {
		token.Access = h.Token.Access
		r.RefreshOnly++
		c.write.Token = &token
		r.Refreshable = r.Refreshable || p.Method(*r) != MethodNone // see keepWay
		c.tellChanges()
		c.fail(Outcome{Method: method, Class: ClassAmbiguous, Reason: ReasonMalformedReply, Detail: got.Detail}, p)
		return
	}
	if got.Rejected {
		r.Rejected = r.Generation
	}
	c.write.Token = &token
	r.RefreshOnly = 0
	r.Failures = 0
	r.LastAttempt.SucceededAt = c.now
	if method == MethodLogin || method == MethodRefresh && (p.Sessions.Idle > 0 || got.RefreshExpiresIn > 0) {
		r.setLimit(got.SentAt, got.RefreshExpiresIn, p)
	}
	had := r.Refreshable
	r.setToken(token, got.SentAt, p.Lifetime(got.ExpiresIn, got.ExpiresAt, got.SentAt), p)
	if had && !r.Refreshable {
		r.keepWay(p)
	}
	again := token.Access.Equal(h.Token.Access) // what is left of its life may be short
	if !again {
		p.space(r)
	}
	if method == MethodLogin || h.Record.Rolls(r.LimitAt, got.SentAt) {
		r.useRefresh(got.SentAt, got.RefreshExpiresIn, p.apart(got.RefreshExpiresIn))
	}
	if r.ExpiresAt <= c.now {
		c.tellChanges()
		c.fail(Outcome{Method: method, Class: ClassAmbiguous, Reason: ReasonTimeout}, p)
		if !again {
			p.space(r)
		}
		return
	}
	kind, state, reason := EventRefreshed, StateActive, ReasonNone
	switch {
	case method == MethodExtend && r.unreplaced():
		kind, state, reason = EventSessionExtended, r.State, r.Reason
	case r.State != StateActive:
		kind = EventRecovered
	case method == MethodExtend && r.Session.Sliding(): // any other token is a new one, whatever call it came with
		kind = EventSessionExtended
	}
	c.event(kind, state, reason)
	if scopeChanged(h.Token.Scope, token.Scope) {
		c.event(EventClaimsChanged, state, reason)
	}
	c.tellChanges()
}

// tell takes what a reply told of the user beside the token.
func (c *change) tell(h Held, got Received, p Policy) {
	got.UserData = p.beside(h, got.UserData)
	c.learn(h, got)
}

// beside returns what counts of the user data in a reply. Where the provider is
// asked for it in a call of its own, that is the source: what another reply tells
// may be of another shape, and only fills what is empty.
func (p Policy) beside(h Held, told UserData) UserData {
	if p.AsksUserData && h.UserData != nil {
		return nil
	}
	return told
}

// learn takes what is told of the user.
func (c *change) learn(h Held, got Received) {
	if r := &c.write.Record; r.Subject == "" {
		r.Subject = got.Subject
	}
	if got.UserData != nil && !got.UserData.tooLong() && !got.UserData.Equal(h.UserData) {
		data := got.UserData
		c.write.UserData = &data
	}
}

// tellChanges publishes that the user data is not what it was, the first that is
// told included.
func (c *change) tellChanges() {
	if c.write.UserData != nil {
		r := &c.write.Record
		c.event(EventUserDataChanged, r.State, r.Reason)
	}
}

// scopeChanged compares two scopes as the sets they are (RFC 6749 section
// 3.3: the order does not matter).
func scopeChanged(before, after string) bool {
	if before == after || before == "" {
		return false
	}
	set := func(s string) []string {
		words := strings.Fields(s)
		slices.Sort(words)
		return slices.Compact(words)
	}
	return !slices.Equal(set(before), set(after))
}

// KeepAlternate stores a token whose attempt is no longer the open one. The
// credential is due at once, so that it is looked at.
func KeepAlternate(h Held, alt Alternate, nonce Nonce, now Millis) Write {
	c := beginChange(h, nonce, BySchedule, now)
	list := slices.DeleteFunc(slices.Clone(h.Alternates), func(other Alternate) bool { return other.Nonce == alt.Nonce })
	list = append(list, alt)
	c.write.Alternates = &list
	write := c.done(h.Attempt)
	if !h.Record.State.Terminal() && h.Attempt == nil {
		write.Due = now
	}
	return write
}

// NextAlternate returns the alternate that was got with the newest generation,
// and whether it must be installed before anything is presented: one that was
// got with the current generation means that the current refresh token is
// spent.
func NextAlternate(h Held) (alt Alternate, spent, ok bool) {
	for _, candidate := range h.Alternates {
		if !ok || candidate.Generation > alt.Generation {
			alt, ok = candidate, true
		}
	}
	return alt, ok && alt.Generation >= h.Record.Generation, ok
}
