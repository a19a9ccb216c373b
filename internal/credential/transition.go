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

	SignIn           SignIn        // kept, to log in again without asking; zero if the owner brought none
	UserData         UserData      // nil if none
	RefreshExpiresIn time.Duration // of the refresh token; 0 if unknown
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
	r.Paused = false
	r.Learned = Learned{}
	if r.Presence == PresenceBackground {
		r.Presence = "" // somebody has just logged in
	}
	r.HasLogin = !in.SignIn.IsZero()
	r.HasRefresh = !in.Token.Refresh.IsZero()
	r.setLimit(now, in.RefreshExpiresIn, p)
	r.setToken(in.Token, now, in.life(p, now), p)
	r.useRefresh(now, in.RefreshExpiresIn)
	if in.ExpiresAt != 0 && (!r.Session.Sliding() || in.ExpiresAt <= now) {
		r.ExpiresAt = min(r.ExpiresAt, in.ExpiresAt) // one that is past stays where it was
	}
	if in.UserData.tooLong() {
		in.UserData = nil
	}
	token := in.Token
	c.write.Token = &token
	c.write.SignIn, c.write.UserData = &in.SignIn, &in.UserData
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
	if state != StateActive {
		r.Session.Ended, r.Session.CountdownAt, r.RefreshAt = r.Session.Sliding(), 0, 0
		if r.Refreshable = p.canReplace(*r); r.Refreshable {
			r.RefreshAt = now
		}
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
	r.HasRefresh = !t.Refresh.IsZero()
	r.Session = Session{}
	if p.Sessions.Idle > 0 {
		r.Refreshable = p.Sessions.Extend || p.canReplace(*r)
		r.openSession(issued, p)
		return
	}
	life = r.Learned.of(life)
	r.IssuedAt = issued
	r.Lifetime = life
	r.ExpiresAt = issued.Add(life)
	r.Refreshable = p.canReplace(*r)
	r.RefreshAt = 0
	if r.Refreshable {
		r.RefreshAt = p.PlanRefresh(r.ID, r.Version+1, issued, life)
	}
}

// useRefresh brings the planned refresh forward, before the half of the life that
// a refresh token was told to have from a moment on, and before its end would be
// announced.
func (r *Record) useRefresh(at Millis, told time.Duration) {
	if r.RefreshAt != 0 && r.HasRefresh && !r.Session.Sliding() && told > 0 {
		r.RefreshAt = min(r.RefreshAt, at.Add(told/5*2))
	}
}

// rolls reports whether the end of the refresh token moves with its use, and is
// no fixed one that nothing puts off.
func (c *change) rolls(h Held, at Millis) bool {
	before := h.Record
	used := at.Sub(max(before.IssuedAt, before.GrantedAt))
	return c.write.Record.LimitAt.Sub(before.LimitAt) > used/2
}

// setLimit sets the absolute end of what was granted at a moment: that of a
// session by its provider's settings, that of a refresh token as the provider
// told, else by its settings.
func (r *Record) setLimit(at Millis, told time.Duration, p Policy) {
	total := p.RefreshAbsolute
	switch {
	case p.Sessions.Idle > 0:
		total = p.Sessions.Absolute
	case !r.HasRefresh:
		total = 0
	case told > 0:
		total = told
	}
	r.LimitAt, r.WarnAt = 0, 0
	if total > 0 {
		r.LimitAt = at.Add(min(total, MaxRefreshLifetime))
		r.WarnAt = max(r.LimitAt.Add(-min(p.WarnBefore, total/2)), at+1)
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
	if got.Partial && got.Token.Refresh.IsZero() && p.MayRotate(seen) && got.method(h, p) == MethodRefresh && !c.write.Erase {
		r := &c.write.Record
		r.Rotations = seen // nothing was learned: the part that is missing may have held one
		a.Generation = r.Generation
		return c.doubt(a, MethodRefresh, p)
	}
	if got.method(h, p) == MethodExtend {
		return c.leave(a, p)
	}
	c.write.Close = true
	return c.done(nil)
}

// method returns how the token was got.
func (got Received) method(h Held, p Policy) Method {
	if got.Method != MethodNone {
		return got.Method
	}
	return p.presented(h)
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
	case got.Rejected && r.ExpiresAt > c.now:
		r.Learned.refused(c.now.Sub(r.IssuedAt))
	}
	token := got.Token
	method := got.method(h, p)
	rotated := !token.Refresh.IsZero() && !token.Refresh.Equal(h.Token.Refresh)
	switch {
	case method == MethodLogin: // whatever was granted before is over
		r.GrantedAt = c.now
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
	c.tell(h, got)
	if token.Access.IsZero() {
		token.Access = h.Token.Access
		c.write.Token = &token
		r.Refreshable = p.Method(*r) != MethodNone
		c.tellChanges(h)
		c.fail(Outcome{Class: ClassAmbiguous, Reason: ReasonMalformedReply}, p)
		return
	}
	if got.Rejected {
		r.Rejected = r.Generation
	}
	c.write.Token = &token
	r.Failures = 0
	r.LastAttempt.SucceededAt = c.now
	if method == MethodLogin || method == MethodRefresh && (p.Sessions.Idle > 0 || got.RefreshExpiresIn > 0) {
		r.setLimit(got.SentAt, got.RefreshExpiresIn, p)
	}
	r.setToken(token, got.SentAt, p.Lifetime(got.ExpiresIn, got.ExpiresAt, got.SentAt), p)
	if method == MethodLogin || c.rolls(h, got.SentAt) {
		r.useRefresh(got.SentAt, got.RefreshExpiresIn)
	}
	if r.ExpiresAt <= c.now {
		c.tellChanges(h)
		c.fail(Outcome{Class: ClassAmbiguous, Reason: ReasonTimeout}, p)
		return
	}
	kind := EventRefreshed
	switch {
	case r.State != StateActive:
		kind = EventRecovered
	case method == MethodExtend:
		kind = EventSessionExtended
	}
	c.event(kind, StateActive, ReasonNone)
	if scopeChanged(h.Token.Scope, token.Scope) {
		c.event(EventClaimsChanged, StateActive, ReasonNone)
	}
	c.tellChanges(h)
}

// tell takes what a reply told of the user beside the token.
func (c *change) tell(h Held, got Received) {
	if r := &c.write.Record; r.Subject == "" {
		r.Subject = got.Subject
	}
	if got.UserData != nil && !got.UserData.tooLong() && !got.UserData.Equal(h.UserData) {
		data := got.UserData
		c.write.UserData = &data
	}
}

// tellChanges publishes that the user data is not what it was.
func (c *change) tellChanges(h Held) {
	if c.write.UserData != nil && h.UserData != nil {
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

// Fail stores that the open attempt a brought no token. For ClassPermanent the
// caller has made sure that no newer token exists anywhere; see [NextAlternate].
func Fail(h Held, a Attempt, o Outcome, p Policy, by Initiator, now Millis) Write {
	c := beginChange(h, a.endNonce(endFailed, h.Record.Revision), by, now)
	c.write.Attempt = a.Nonce
	method := o.method(h, p)
	if o.Class != ClassNotSent && o.Class != ClassOperator {
		c.write.Record.served(a.BegunAt)
	}
	switch o.Class {
	case ClassPermanent:
		c.dead(h, a, o, method, p)
		if method == MethodExtend {
			return c.leave(a, p)
		}
		c.write.Close = true
		return c.done(nil)
	case ClassOperator:
		write := c.settle(a, now)
		if write.Due != 0 {
			write.Due = max(write.Due, now.Add(p.Times.Send)) // the breaker decides when, not this credential
		}
		return write
	case ClassNotSent, ClassRateLimited, ClassNotProcessed, ClassRefused:
		c.fail(o, p)
		return c.settle(a, c.insideGrace(c.again, a, p))
	case ClassTransient, ClassAmbiguous, ClassOK: // a success without a token is one that could not be read
	}
	c.fail(o, p)
	return c.doubt(a, method, p)
}

// method returns what the exchange presented.
func (o Outcome) method(h Held, p Policy) Method {
	if o.Method != MethodNone {
		return o.Method
	}
	return p.presented(h)
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
	return c.doubt(a, p.presented(h), p)
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
// nothing rotates there is no doubt: the attempt is closed. Nor is there where
// it was no refresh token that was presented: the same can be done again.
func (c *change) doubt(a Attempt, method Method, p Policy) Write {
	r := &c.write.Record
	if method != MethodRefresh {
		return c.leave(a, p)
	}
	if !p.MayRotate(r.Rotations) || r.State.Terminal() {
		c.write.Close = true
		return c.done(nil)
	}
	if a.FirstSent == 0 {
		a.FirstSent = a.BegunAt
	}
	a.RecoverAt = c.insideGrace(max(RecoverAt(*r, a, p, c.now), r.RefreshAt, c.again), a, p)
	a.Doubt = true
	c.write.Open = &a
	return c.done(&a)
}

// leave closes an attempt that presented no refresh token. If it took up a doubt
// about one, that doubt stands.
func (c *change) leave(a Attempt, p Policy) Write {
	r := c.write.Record
	if !a.Recovery || !r.HasRefresh {
		c.write.Close = true
		return c.done(nil)
	}
	a.Generation = r.Generation
	return c.settle(a, max(RecoverAt(r, a, p, c.now), r.RefreshAt, c.again))
}

// settle closes an attempt that changed nothing at the provider. If it was the
// recovery of an earlier one, that doubt still stands and comes back at again.
func (c *change) settle(a Attempt, again Millis) Write {
	if !a.Recovery || c.write.Record.State.Terminal() {
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
	if r.State == StateActive && r.ExpiresAt > c.now {
		c.event(EventDegraded, StateDegraded, o.Reason)
	}
	c.expire(o.Reason, p)
	if r.State.Terminal() {
		return
	}
	c.again = c.now.Add(wait)
	if r.OnceAt != 0 && r.OnceAt <= c.now {
		r.OnceAt = c.again // it is still to be made, and not at once
	}
	if r.Refreshable && !r.asleep() {
		r.RefreshAt = c.again
	}
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
func (c *change) expire(reason Reason, p Policy) {
	r := &c.write.Record
	if at := r.expiry(); at == 0 || at > c.now {
		return
	}
	if r.Session.Sliding() {
		c.sessionOver(r.endOf(), p)
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
	r.RefreshAt, r.WarnAt, r.OnceAt, r.Session.CountdownAt = 0, 0, 0, 0
	c.event(EventReauthRequired, StateReauthRequired, reason)
}

// Advance stores what the passing of time alone has brought: an expiry, a
// coming limit. It reports false if there is nothing of the kind.
//
// A session that runs out while it is being extended is only told to be expired:
// whether it is over is for that call to say.
func Advance(h Held, p Policy, nonce Nonce, now Millis) (Write, bool) {
	if !Due(h.Record, h.Attempt, now).Advance {
		return Write{}, false
	}
	c := beginChange(h, nonce, BySchedule, now)
	r := &c.write.Record
	if r.WarnAt != 0 && r.WarnAt <= now {
		r.WarnAt = 0
		c.event(EventExpiring, r.State, r.Reason)
	}
	c.countdown()
	if at := r.expiry(); h.Attempt != nil && r.Session.Sliding() && at != 0 && at <= now {
		r.Session.CountdownAt = 0
		r.RefreshAt = now
		c.event(EventExpired, StateExpired, r.endOf())
		return c.done(h.Attempt), true
	}
	c.expire(r.Reason, p)
	if c.write.Erase {
		return c.done(nil), true
	}
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
	c.write.Spent = inTheAir(h)
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
