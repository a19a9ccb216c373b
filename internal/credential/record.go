package credential

import (
	"maps"
	"time"
)

// MaxSpent is how many presented refresh tokens a record remembers by their
// keyed hash.
const MaxSpent = 16

// MAC is a keyed hash of a refresh token, cut to 16 bytes.
type MAC [16]byte

// MarshalText returns 32 hex digits.
func (m MAC) MarshalText() ([]byte, error) { return Nonce(m).MarshalText() }

// UnmarshalText reads what [MAC.MarshalText] wrote.
func (m *MAC) UnmarshalText(text []byte) error { return (*Nonce)(m).UnmarshalText(text) }

// Record is everything about a credential that is not secret.
//
// Six numbers count. Version grows by one with every change that has an
// event. Generation grows with every token that is installed. Grant grows
// with every login, logout and deletion, and where the end of a session is one.
// Acts grows with what an owner does that is no login at the backend: each logout
// and deletion, also of what is so already, and, where the provider's policy has a
// login, each token that is brought, also one that is stored already. A login that
// was given up before yields to them. Plans grows with what an owner says of when calls
// are made: a pause and its end, a refresh at a moment, the presence; it is the store's
// time of the last of them in milliseconds, or one more than before where that is not
// later; in older records it counts them alone. Revision grows
// with every write at all; it is what a write compares before it replaces. The last
// three are not shown.
type Record struct { //nolint:recvcheck // what fills one in takes a pointer, what reads one a copy
	ID       ID
	Provider string
	Subject  string            // the user's UID at the provider
	Labels   map[string]string // the owner's own

	State  State
	Reason Reason
	Since  Millis // when State was entered

	Version    uint64
	Revision   uint64
	Generation uint64
	Grant      uint64
	Acts       uint64
	Plans      uint64

	CreatedAt Millis
	UpdatedAt Millis
	GrantedAt Millis // when the last login was asked of the backend, by anybody, or its token was brought
	AskedAt   Millis // the same of the last login of the owner's

	IssuedAt    Millis        // when the exchange that brought the token was sent
	Lifetime    time.Duration // of the access token as issued
	ExpiresAt   Millis        // of the access token; 0 if there is none
	RefreshAt   Millis        // the next refresh, or the next attempt after a failure; 0 if none will be made
	LimitAt     Millis        // absolute end of the refresh token; 0 if unknown
	WarnAt      Millis        // when the coming LimitAt is announced; 0 once it was
	Refreshable bool          // there is a way to a new token; see [Policy.Method]

	HasRefresh bool    // a refresh token is held that is not known to be dead
	HasLogin   bool    // a name and a password are held
	Session    Session // the clock of a sliding session; zero for other tokens
	Presence   Presence
	Paused     bool   // no call is made; times pass all the same
	OnceAt     Millis // a refresh that was asked for at that moment; 0 if none
	Learned    Learned

	Failures    int      // attempts that failed since the last success
	Rotations   Rotated  // what the provider was seen to do
	LastAttempt Attempts // how the last attempts ended
	RefreshOnly uint64   // generations since the access token's: each brought a refresh token alone
	Rejected    uint64   // the generation that was installed because its predecessor was rejected

	Spent      []MAC                // of presented refresh tokens, newest first
	Refused    []ID                 // of a client's pseudo-record: with whose calls the provider refused the client and has not accepted it since, newest first
	LastEvents map[EventType]uint64 // version of the last event of each type
	LastWrite  Nonce                // of the write that produced this revision
}

// Rotated is what was seen of a provider's rotation of this credential.
type Rotated struct {
	Seen bool // a reply brought a new refresh token
	Kept int  // replies in a row that brought none, or the same
}

// Attempts tells how the last attempts ended.
type Attempts struct {
	SucceededAt Millis
	FailedAt    Millis
	Failure     Reason // of the failed one
	Detail      string // status and error code as the provider gave them; never a part of the body
}

// clone returns a copy that shares no map or slice with r.
func (r Record) clone() Record {
	r.Labels = maps.Clone(r.Labels)
	last := make(map[EventType]uint64, len(r.LastEvents)+1)
	maps.Copy(last, r.LastEvents)
	r.LastEvents = last
	r.Spent = append([]MAC(nil), r.Spent...)
	r.Refused = append([]ID(nil), r.Refused...)
	return r
}

// ValidAt reports whether the access token can be handed out at now and will
// stay valid for at least ttl.
func (r Record) ValidAt(now Millis, ttl time.Duration) bool {
	switch r.State {
	case StateActive, StateDegraded:
		return r.ExpiresAt > now.Add(max(ttl, 0))
	case StatePending, StateExpired, StateReauthRequired, StateLoggedOut, StateDeleted:
		return false
	}
	return false
}

// AccessGeneration returns the generation that brought the access token. It is not the
// current one after replies that had a new refresh token and no access token.
func (r Record) AccessGeneration() uint64 { return r.Generation - r.RefreshOnly }

// Remember puts mac in front of the spent refresh tokens.
func (r *Record) Remember(mac MAC) {
	spent := append([]MAC{mac}, r.Spent...)
	r.Spent = spent[:min(len(spent), MaxSpent)]
}

// Write is one change of one credential, decided in full before it is stored:
// the store compares and replaces, and knows nothing of the rules.
type Write struct {
	Nonce    Nonce  // makes its repetition recognisable, and is part of its events' IDs
	Revision uint64 // must be the stored one; 0: nothing may be stored, a tombstone excepted
	Attempt  Nonce  // if set: the attempt that must be open
	Alone    bool   // no attempt may be open

	Record     Record
	Token      *Token       // replaces the sealed token; nil leaves it
	Erase      bool         // erases every secret
	Spent      Secret       // a refresh token that was presented and is no longer the current one
	Close      bool         // closes the open attempt
	Open       *Attempt     // replaces the open attempt
	Alternates *[]Alternate // replaces the alternates; nil leaves them
	SignIn     *SignIn      // replaces what a login needs; nil leaves it, the zero SignIn erases it
	UserData   *UserData    // replaces the user data; nil leaves it, a nil UserData erases it
	Due        Millis       // the score in the due index; 0 takes it out
	Events     []Event      // appended in this order

	// Doubted says that what Open presented has come to be in doubt by this write:
	// it was sent, and what became of it is not known. It is for whoever makes the
	// write first, and neither stored nor journaled.
	Doubted bool
}

// beside has w stored only while open, nil if none, is still the attempt that is
// open: one is begun without a new revision.
func (w Write) beside(open *Attempt) Write {
	w.Attempt, w.Alone = Nonce{}, open == nil
	if open != nil {
		w.Attempt = open.Nonce
	}
	return w
}

// Result returns what is stored once w, which was decided on h, is written.
func (w Write) Result(h Held) Held {
	after := Held{Record: w.Record, Token: h.Token, Attempt: h.Attempt, Alternates: h.Alternates, SignIn: h.SignIn, UserData: h.UserData}
	if w.Token != nil {
		after.Token = *w.Token
	}
	if w.Erase {
		after.Token, after.SignIn, after.UserData = Token{}, SignIn{}, nil
	}
	if w.Close {
		after.Attempt = nil
	}
	if w.Open != nil {
		after.Attempt = w.Open
	}
	if w.Alternates != nil {
		after.Alternates = *w.Alternates
	}
	if w.SignIn != nil {
		after.SignIn = *w.SignIn
	}
	if w.UserData != nil {
		after.UserData = *w.UserData
	}
	return after
}

// Status is what became of a [Write].
type Status string

// The statuses.
const (
	StatusWritten Status = "written" // now, or by an earlier sending of the same write
	// StatusOvertaken is for a write that raised the grant: an earlier sending of it
	// was written, and others have written since. To decide it again would do it a
	// second time.
	StatusOvertaken Status = "overtaken"
	StatusMoved     Status = "moved" // revision or attempt is not what the write expected
)

// change collects what a transition does to a record.
type change struct {
	write Write
	now   Millis
	by    Initiator
	again Millis // after a failure: when the same can be done once more; 0 otherwise

	access    Secret // the access token that is stored
	refresh   Secret // the refresh token that is
	unfailing bool   // the failure is not the provider's
	doubted   bool   // the attempt was in doubt before
}

// begin starts a change of h.
func beginChange(h Held, nonce Nonce, by Initiator, now Millis) *change {
	record := h.Record.clone()
	record.Revision++
	record.UpdatedAt = now
	record.LastWrite = nonce
	return &change{
		write: Write{Nonce: nonce, Revision: h.Record.Revision, Record: record},
		now:   now,
		by:    by,

		access:  h.Token.Access,
		refresh: h.Token.Refresh,
		doubted: h.Attempt != nil && h.Attempt.Doubt,
	}
}

// event enters state for reason and appends the event that says so.
func (c *change) event(kind EventType, state State, reason Reason) {
	r := &c.write.Record
	previous := r.State
	if state != previous {
		r.Since = c.now
	}
	r.State = state
	r.Reason = reason
	r.Version++
	last := make(map[EventType]uint64, len(r.LastEvents))
	maps.Copy(last, r.LastEvents)
	c.write.Events = append(c.write.Events, Event{
		Type: kind, ID: r.ID, Version: r.Version, State: state, PreviousState: previous,
		Reason: reason, InitiatedBy: c.by, Nonce: c.write.Nonce, ExpiresAt: r.ExpiresAt,
		Provider: r.Provider, Subject: r.Subject, Labels: r.Labels, Last: last,
	})
	r.LastEvents[kind] = r.Version
}

// done computes the score and returns the write. open is the attempt that
// will be open afterwards.
func (c *change) done(open *Attempt) Write {
	c.write.Due = NextDue(c.write.Record, open)
	return c.write
}
