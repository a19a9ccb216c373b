package credential

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// refusedPatience is the number of failures in a row up to which an
// invalid_request is met with the ordinary backoff; from then on one attempt
// is made per refusedWait.
const (
	refusedPatience = 4
	refusedWait     = time.Hour
)

// Login is what an owner brings: a first token, or a new one.
type Login struct {
	ID        ID
	Provider  string
	Subject   string
	Labels    map[string]string
	Token     Token
	ExpiresIn time.Duration // 0 if unknown
	ExpiresAt Millis        // 0 if unknown; wins over ExpiresIn
}

// Connect stores a login. before is what is stored under that ID, nil if
// nothing is; a tombstone's numbers are continued. Whatever attempt is open is
// closed: its reply belongs to an earlier grant and will not come back to
// life.
func Connect(before *Held, in Login, p Policy, nonce Nonce, now Millis) Write {
	h := Held{Record: Record{ID: in.ID, CreatedAt: now}}
	if before != nil {
		h = *before
	}
	known := before != nil && h.Record.State != StateDeleted
	c := beginChange(h, nonce, ByOwner, now)
	r := &c.write.Record
	if !known {
		r.CreatedAt = now
	}
	r.Provider, r.Subject, r.Labels = in.Provider, in.Subject, maps.Clone(in.Labels)
	r.Grant++
	r.Generation++
	r.GrantedAt = now
	r.Failures = 0
	r.Rotations = Rotated{}
	r.LastAttempt = Attempts{}
	r.Rejected = 0
	r.setToken(in.Token, now, in.life(p, now), p)
	if in.ExpiresAt != 0 {
		r.ExpiresAt = min(r.ExpiresAt, in.ExpiresAt) // one that is past stays where it was
	}
	r.LimitAt, r.WarnAt = 0, 0
	if p.RefreshAbsolute > 0 && r.Refreshable {
		r.LimitAt = now.Add(p.RefreshAbsolute)
		r.WarnAt = max(r.LimitAt.Add(-p.WarnBefore), now+1)
	}
	token := in.Token
	c.write.Token = &token
	c.write.Close = true
	c.write.Alternates = &[]Alternate{}
	if spent := inTheAir(h); !spent.Equal(in.Token.Refresh) {
		c.write.Spent = spent
	}
	state, kind := StateActive, EventConnected
	switch {
	case token.Access.IsZero():
		state = StatePending
		r.IssuedAt, r.Lifetime, r.ExpiresAt = 0, 0, 0
	case r.ExpiresAt <= now:
		state = StateExpired
	}
	if state != StateActive && r.Refreshable {
		r.RefreshAt = now
	}
	if known {
		kind = EventReauthorized
	}
	c.event(kind, state, ReasonNone)
	if state != StateActive && !r.Refreshable {
		c.reauth(ReasonNotRefreshable)
	}
	return c.done(nil)
}

// life returns how long the token that the owner brought still lives.
func (in Login) life(p Policy, now Millis) time.Duration {
	if in.ExpiresAt != 0 {
		return min(max(in.ExpiresAt.Sub(now), 0), MaxLifetime)
	}
	return p.Lifetime(in.ExpiresIn, 0, now)
}

// setToken makes t the record's token, issued at issued for life.
func (r *Record) setToken(t Token, issued Millis, life time.Duration, p Policy) {
	r.IssuedAt = issued
	r.Lifetime = life
	r.ExpiresAt = issued.Add(life)
	r.Refreshable = !t.Refresh.IsZero()
	r.RefreshAt = 0
	if r.Refreshable {
		r.RefreshAt = p.PlanRefresh(r.ID, r.Version+1, issued, life)
	}
}

// Install stores the token that the open attempt a brought.
//
// A reply that held a new refresh token but no access token is installed as
// well: the old access token is served to its end, and the next refresh is
// due soon. A reply that was cut off after its access token may have held a
// new refresh token: the access token is served, and the old refresh token
// stays in doubt.
func Install(h Held, a Attempt, got Received, p Policy, by Initiator, now Millis) Write {
	c := beginChange(h, a.Nonce, by, now)
	c.write.Attempt = a.Nonce
	seen := c.write.Record.Rotations
	c.install(h, got, p)
	if got.Partial && got.Token.Refresh.IsZero() && p.MayRotate(seen) {
		r := &c.write.Record
		r.Rotations = seen // nothing was learned: the part that is missing may have held one
		a.Generation = r.Generation
		return c.doubt(a, p)
	}
	c.write.Close = true
	return c.done(nil)
}

// InstallAlternate makes alt the current token. An attempt that is open is
// closed with it.
func InstallAlternate(h Held, alt Alternate, p Policy, nonce Nonce, by Initiator, now Millis) Write {
	c := beginChange(h, nonce, by, now)
	rest := slices.DeleteFunc(slices.Clone(h.Alternates), func(other Alternate) bool { return other.Nonce == alt.Nonce })
	c.write.Alternates = &rest
	if h.Attempt != nil {
		c.write.Attempt = h.Attempt.Nonce
		c.write.Close = true
	}
	c.install(h, Received{Token: alt.Token, SentAt: alt.IssuedAt, ExpiresIn: alt.Lifetime}, p)
	return c.done(nil)
}

// install does what both ways to a new token have in common. Alternates that it
// outlives are dropped.
func (c *change) install(h Held, got Received, p Policy) {
	got.SentAt = min(got.SentAt, c.now) // a clock that has jumped since must not lengthen its life
	r := &c.write.Record
	r.Generation++
	if c.write.Alternates == nil && len(h.Alternates) > 0 {
		rest := slices.DeleteFunc(slices.Clone(h.Alternates), func(alt Alternate) bool { return outlived(alt.Generation, r.Generation) })
		c.write.Alternates = &rest
	}
	r.Rejected = 0
	token := got.Token
	rotated := !token.Refresh.IsZero() && !token.Refresh.Equal(h.Token.Refresh)
	if rotated {
		r.Rotations = Rotated{Seen: true}
		c.write.Spent = h.Token.Refresh
	} else {
		r.Rotations.Kept++
		token.Refresh = h.Token.Refresh // RFC 6749 section 6: none issued, the old one stays
	}
	if token.Scope == "" {
		token.Scope = h.Token.Scope // RFC 6749 section 5.1: unchanged if omitted
	}
	if token.Type == "" {
		token.Type = h.Token.Type
	}
	if token.Access.IsZero() {
		token.Access = h.Token.Access
		c.write.Token = &token
		r.Refreshable = !token.Refresh.IsZero()
		c.fail(Outcome{Class: ClassAmbiguous, Reason: ReasonMalformedReply}, p)
		return
	}
	if got.Rejected {
		r.Rejected = r.Generation
	}
	c.write.Token = &token
	r.Failures = 0
	r.LastAttempt.SucceededAt = c.now
	r.setToken(token, got.SentAt, p.Lifetime(got.ExpiresIn, got.ExpiresAt, got.SentAt), p)
	if r.ExpiresAt <= c.now {
		c.fail(Outcome{Class: ClassAmbiguous, Reason: ReasonTimeout}, p)
		return
	}
	kind := EventRefreshed
	if r.State != StateActive {
		kind = EventRecovered
	}
	c.event(kind, StateActive, ReasonNone)
	if scopeChanged(h.Token.Scope, token.Scope) {
		c.event(EventClaimsChanged, StateActive, ReasonNone)
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

// Fail stores that the open attempt a brought no token. For ClassPermanent the
// caller has made sure that no newer token exists anywhere; see [NextAlternate].
func Fail(h Held, a Attempt, o Outcome, p Policy, by Initiator, now Millis) Write {
	c := beginChange(h, a.endNonce(endFailed, h.Record.Revision), by, now)
	c.write.Attempt = a.Nonce
	switch o.Class {
	case ClassPermanent:
		c.write.Close = true
		c.noteFailure(o)
		c.reauth(EndedBy(a, o).Reason)
		return c.done(nil)
	case ClassOperator:
		write := c.settle(a, now)
		if write.Due != 0 {
			write.Due = max(write.Due, now.Add(p.Times.Send)) // the breaker decides when, not this credential
		}
		return write
	case ClassNotSent, ClassRateLimited, ClassNotProcessed, ClassRefused:
		c.fail(o, p)
		return c.settle(a, c.insideGrace(c.write.Record.RefreshAt, a, p))
	case ClassTransient, ClassAmbiguous, ClassOK: // a success without a token is one that could not be read
	}
	c.fail(o, p)
	return c.doubt(a, p)
}

// Abandon closes an attempt of which it is certain that nothing was sent.
// Whatever made the credential due still does.
func Abandon(h Held, a Attempt, by Initiator, now Millis) Write {
	c := beginChange(h, a.endNonce(endAbandoned, h.Record.Revision), by, now)
	c.write.Attempt = a.Nonce
	return c.settle(a, now)
}

// Doubt marks an attempt whose owner is dead, which was sent, and whose reply
// is in no journal.
func Doubt(h Held, a Attempt, p Policy, now Millis) Write {
	c := beginChange(h, a.endNonce(endDoubted, h.Record.Revision), BySchedule, now)
	c.write.Attempt = a.Nonce
	c.fail(Outcome{Class: ClassAmbiguous, Reason: ReasonOwnerDied}, p)
	return c.doubt(a, p)
}

// RecoverAt returns the earliest moment, not before now, at which a generation
// in doubt may be presented once more. Where nothing rotates that is now; with
// a usable grace, now if the answer will come inside it; else the last moment
// before the access token that is still served dies.
func RecoverAt(r Record, a Attempt, p Policy, now Millis) Millis {
	if !p.MayRotate(r.Rotations) {
		return now
	}
	if end := graceEnd(a, p); end != 0 && now <= end {
		return now
	}
	return max(now, lastMoment(r))
}

// Postpone puts a recovery that was begun too early, or too late for the
// provider's grace, back into doubt without having sent anything.
func Postpone(h Held, a Attempt, p Policy, now Millis) Write {
	c := beginChange(h, a.endNonce(endPostponed, h.Record.Revision), BySchedule, now)
	c.write.Attempt = a.Nonce
	return c.settle(a, RecoverAt(h.Record, a, p, now))
}

// graceEnd returns the last moment at which the old refresh token can still be
// presented safely, 0 if the provider grants no usable grace.
func graceEnd(a Attempt, p Policy) Millis {
	grace := p.UsableGrace()
	if grace == 0 || a.FirstSent == 0 {
		return 0
	}
	return a.FirstSent.Add(grace - p.Times.Exchange - p.Times.Margin)
}

// insideGrace brings a recovery planned for at forward into the provider's
// grace while that lasts, to half of what is left of it: whoever takes the
// recovery up needs a moment to begin, and one begun after the end is too late.
func (c *change) insideGrace(at Millis, a Attempt, p Policy) Millis {
	if end := graceEnd(a, p); end != 0 && c.now <= end {
		return min(at, c.now+(end-c.now)/2)
	}
	return at
}

// doubt leaves the attempt open as one that may have been processed. Where
// nothing rotates there is no doubt: the attempt is closed.
func (c *change) doubt(a Attempt, p Policy) Write {
	r := &c.write.Record
	if !p.MayRotate(r.Rotations) {
		c.write.Close = true
		return c.done(nil)
	}
	if a.FirstSent == 0 {
		a.FirstSent = a.BegunAt
	}
	a.RecoverAt = c.insideGrace(max(RecoverAt(*r, a, p, c.now), r.RefreshAt), a, p)
	a.Doubt = true
	c.write.Open = &a
	return c.done(&a)
}

// settle closes an attempt that changed nothing at the provider. If it was the
// recovery of an earlier one, that doubt still stands and comes back at again.
func (c *change) settle(a Attempt, again Millis) Write {
	if !a.Recovery {
		c.write.Close = true
		return c.done(nil)
	}
	a.Doubt = true
	a.RecoverAt = again
	c.write.Open = &a
	return c.done(&a)
}

// fail counts a failure, plans the next attempt and publishes what follows for
// the state.
func (c *change) fail(o Outcome, p Policy) {
	r := &c.write.Record
	c.noteFailure(o)
	wait := p.Backoff(r.ID, r.Failures, r.Lifetime)
	if told := min(o.RetryAfter, maxRetryAfter); told > 0 {
		wait = max(wait, told+time.Duration(retryJitter*spread(r.ID, uint64(max(r.Failures, 0)))*float64(told)))
	}
	if o.Class == ClassRefused && r.Failures > refusedPatience {
		wait = max(wait, refusedWait)
	}
	if r.Refreshable {
		r.RefreshAt = c.now.Add(wait)
	}
	if r.State == StateActive && r.ExpiresAt > c.now {
		c.event(EventDegraded, StateDegraded, o.Reason)
	}
	c.expire(o.Reason)
}

// noteFailure counts a failed attempt.
func (c *change) noteFailure(o Outcome) {
	r := &c.write.Record
	r.Failures++
	r.LastAttempt.FailedAt = c.now
	r.LastAttempt.Failure = o.Reason
	r.LastAttempt.Detail = o.Detail
}

// expire publishes the expiry if it has come.
func (c *change) expire(reason Reason) {
	r := &c.write.Record
	if at := r.expiry(); at == 0 || at > c.now {
		return
	}
	c.event(EventExpired, StateExpired, reason)
	if !r.Refreshable {
		c.reauth(ReasonNotRefreshable)
	}
}

// reauth ends all calls until the user has logged in again.
func (c *change) reauth(reason Reason) {
	r := &c.write.Record
	r.RefreshAt, r.WarnAt = 0, 0
	c.event(EventReauthRequired, StateReauthRequired, reason)
}

// Advance stores what the passing of time alone has brought: an expiry, a
// coming limit. It reports false if there is nothing of the kind.
func Advance(h Held, nonce Nonce, now Millis) (Write, bool) {
	if !Due(h.Record, h.Attempt, now).Advance {
		return Write{}, false
	}
	c := beginChange(h, nonce, BySchedule, now)
	r := &c.write.Record
	if r.WarnAt != 0 && r.WarnAt <= now {
		r.WarnAt = 0
		c.event(EventExpiring, r.State, r.Reason)
	}
	c.expire(r.Reason)
	return c.done(h.Attempt), true
}

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
	r := &c.write.Record
	r.Grant++
	r.Refreshable = false
	r.IssuedAt, r.ExpiresAt, r.RefreshAt, r.LimitAt, r.WarnAt = 0, 0, 0, 0, 0
	r.Lifetime = 0
	r.Failures = 0
	c.write.Spent = inTheAir(h)
	c.write.Erase = true
	c.write.Close = true
	c.write.Alternates = &[]Alternate{}
	return c
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
