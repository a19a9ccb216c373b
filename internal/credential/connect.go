package credential

import (
	"maps"
	"time"
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
	UserData         UserData      // nil if none is told
	AskedAt          Millis        // when the backend was asked for it, or was to be; 0 if the token was brought
	RefreshExpiresIn time.Duration // of the refresh token; 0 if unknown

	// Missing is what the reply that brought the token did not have; see [Outcome].
	Missing []Absence
	// Failed is what came of a login with SignIn that brought no token, for now. It
	// has only a reason, and no class, where none was made: that is what stood in the
	// way. It is zero where none was to be made.
	Failed Outcome
}

// Connect stores a login. before is what is stored under that ID, nil if
// nothing is; a tombstone's numbers are continued. Whatever attempt is open is
// closed: its reply belongs to an earlier grant and will not come back to
// life. A pause stays: whoever logs in is not the one who holds it back.
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
	switch {
	case in.AskedAt != 0:
		r.GrantedAt = min(in.AskedAt, now)
	default:
		r.GrantedAt = now
		if p.CanLogin {
			r.Acts++
		}
	}
	r.AskedAt = r.GrantedAt
	r.Failures = 0
	r.Rotations = Rotated{}
	r.LastAttempt = Attempts{}
	r.RefreshOnly, r.Rejected = 0, 0
	r.Learned = Learned{}
	if r.Presence == PresenceBackground {
		r.Presence = "" // somebody has just logged in
	}
	r.HasLogin = !in.SignIn.IsZero()
	r.HasRefresh = !in.Token.Refresh.IsZero()
	r.setLimit(now, in.RefreshExpiresIn, p)
	r.setToken(in.Token, now, in.life(p, now), p)
	r.useRefresh(now, in.RefreshExpiresIn, 0)
	if in.ExpiresAt != 0 && (!r.Session.Sliding() || in.ExpiresAt <= now) {
		r.ExpiresAt = min(r.ExpiresAt, in.ExpiresAt) // one that is past stays where it was
	}
	if in.UserData.tooLong() {
		in.UserData = nil
	}
	if in.UserData == nil && in.SameUser(h) {
		in.UserData = h.UserData
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
		if r.Refreshable = p.CanReplace(*r); r.Refreshable {
			r.RefreshAt = now
		}
	}
	if known && state != StatePending { // nobody has authorised that one yet
		kind = EventReauthorized
	}
	c.event(kind, state, in.Failed.Reason)
	switch {
	case state != StateActive && !r.Refreshable:
		c.reauth(ReasonNotRefreshable)
	case in.Failed.Class != "":
		c.fail(in.Failed, p) // it was made once, just now
	case in.Failed.Reason != ReasonNone:
		r.LastAttempt = Attempts{FailedAt: now, Failure: in.Failed.Reason} // nothing to back off from: it stays due
	}
	return c.done(nil)
}

// SameUser reports whether the login is known to be that of the user whose
// credential is stored: by the name that both logged in with, else by the subject.
// What is known of him then stays until it is told anew: told again as it was, it is
// no change.
func (in Login) SameUser(h Held) bool {
	r, name := h.Record, in.SignIn.Username
	if r.Provider != in.Provider || in.Subject != "" && r.Subject != "" && in.Subject != r.Subject {
		return false
	}
	if name.IsZero() || h.SignIn.Username.IsZero() {
		return in.Subject != "" && in.Subject == r.Subject
	}
	return name.Equal(h.SignIn.Username)
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
	if p.Sessions.Idle > 0 {
		r.Refreshable = p.Sessions.Extend || p.CanReplace(*r)
		r.Session.TokenEndsAt = 0
		r.openSession(issued, p)
		return
	}
	r.setLife(issued, life, p)
}

// setLife makes the record's token one that was issued at issued for life, and is no
// session.
func (r *Record) setLife(issued Millis, life time.Duration, p Policy) {
	r.Session = Session{}
	life = r.Learned.of(life)
	r.IssuedAt = issued
	r.Lifetime = life
	r.ExpiresAt = issued.Add(life)
	r.Refreshable = p.CanReplace(*r)
	r.RefreshAt = 0
	if r.Refreshable {
		r.RefreshAt = p.PlanRefresh(r.ID, r.Version+1, issued, life)
	}
}

// useRefresh brings the planned refresh forward, before the half of the life that
// a refresh token was told to have from a moment on, and before its end would be
// announced, but no sooner than that long after it.
func (r *Record) useRefresh(at Millis, told, soonest time.Duration) {
	if r.RefreshAt != 0 && r.HasRefresh && !r.Session.Sliding() && told > 0 {
		r.RefreshAt = min(r.RefreshAt, at.Add(max(told/5*2, soonest)))
	}
}

// Rolls reports whether the end of the refresh token, which is limit after its use
// at a moment, moves with its use, and is no fixed one that nothing puts off.
func (r Record) Rolls(limit, at Millis) bool {
	used := at.Sub(max(r.IssuedAt, r.GrantedAt))
	return limit.Sub(r.LimitAt) > used/2
}

// setLimit sets the absolute end of what was granted at a moment: that of a
// session by its provider's settings, that of a refresh token as the provider
// told, else by its settings.
func (r *Record) setLimit(at Millis, told time.Duration, p Policy) {
	total := p.RefreshAbsolute
	switch {
	case p.Sessions.Idle > 0:
		total = p.Sessions.Absolute
		r.Session = Session{StartedAt: at} // one of its own, whatever was told of the one before
	case !r.HasRefresh:
		total = 0
	case told > 0:
		total = told
	}
	r.setLimitAt(at, total, p)
}

// limitOf returns the end of what lasts for total from a moment on, 0 if it has
// none.
func limitOf(at Millis, total time.Duration) Millis {
	if total <= 0 {
		return 0
	}
	return at.Add(min(total, MaxRefreshLifetime))
}

// setLimitAt sets the absolute end of what lasts for total from a moment on, and
// when it is announced; 0 is none.
func (r *Record) setLimitAt(at Millis, total time.Duration, p Policy) {
	r.LimitAt, r.WarnAt = limitOf(at, total), 0
	if r.LimitAt != 0 {
		r.WarnAt = max(r.LimitAt.Add(-min(p.WarnBefore, total/2)), at+1)
	}
}
