package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Engine carries out what is asked for a credential. Every method may be
// called concurrently and honours its context. Errors that a caller can act on
// are of type [FaultError]; any other is answered with 500.
type Engine interface {
	// Token returns the credential with an access token that stays valid for
	// at least minTTL, refreshed where needed.
	Token(ctx context.Context, id credential.ID, minTTL time.Duration) (credential.Held, error)
	// Refresh brings a newer token than the generation that was rejected; 0
	// asks for a refresh whatever the generation.
	Refresh(ctx context.Context, id credential.ID, rejected uint64) (Refreshed, error)
	// Put stores a login.
	Put(ctx context.Context, login credential.Login, expect Expect) (Stored, error)
	// Logout erases the credential's secrets and keeps its record.
	Logout(ctx context.Context, id credential.ID, expect Expect) (credential.Held, error)
	// Delete removes the credential. With revoke its token is also ended at
	// the provider.
	Delete(ctx context.Context, id credential.ID, expect Expect, revoke bool) error
}

// Control carries out what changes no token: who uses a session, and what is
// to be refreshed when, or not for now. What holds for [Engine] holds here. With
// a subject, a credential of another one does not exist.
type Control interface {
	// Touch is told that sessions were used. It answers one entry per ID, in
	// order, and is cheap.
	Touch(ctx context.Context, ids []credential.ID) ([]credential.Touch, error)
	// SetPresence stores who uses a session from now on.
	SetPresence(ctx context.Context, id credential.ID, presence credential.Presence, subject string) (credential.Held, error)
	// PlanOnce asks for one refresh after a delay, beside what is planned. A
	// negative delay takes back what was asked for.
	PlanOnce(ctx context.Context, id credential.ID, after time.Duration, subject string) (credential.Held, error)
	// SetPaused holds a credential back, or lets it go on.
	SetPaused(ctx context.Context, id credential.ID, paused bool, subject string) (credential.Held, error)
	// PauseProvider holds a provider back, or lets it go on;
	// [credential.AllClients] is the whole service. It reports whether that
	// changed anything.
	PauseProvider(ctx context.Context, provider string, paused bool) (bool, error)
}

// Expect is a caller's condition on what is stored. It holds for the very
// version that is replaced.
type Expect struct {
	Absent  bool   // nothing must be stored (If-None-Match: *)
	Version uint64 // must be the stored version (If-Match); 0: any
	// Subject is the caller's: what is another's does not exist for him. To
	// store where another's is, is a [FaultError] of kind [FaultForbidden]. "" is
	// anybody's.
	Subject string
}

// conditional reports whether the caller himself named a condition.
func (e Expect) conditional() bool { return e.Absent || e.Version != 0 }

// Refreshed is what [Engine.Refresh] brought.
type Refreshed struct {
	Held   credential.Held
	Queued bool // nothing yet: this process may not refresh, and has asked one that may
}

// Stored is what [Engine.Put] stored.
type Stored struct {
	Held      credential.Held
	Created   bool
	Unchanged bool     // nothing was stored: it is the login that is stored already
	Missing   []string // what should tell when a token ends, and does not, and user data that is not kept, for people; no value of it
}

// Records reads credentials without their tokens.
type Records interface {
	// Record returns nil where nothing is stored.
	Record(ctx context.Context, id credential.ID) (*credential.Held, error)
	// OfSubject reports for each ID whether a credential of that subject is
	// stored under it. It is cheap where the answer is yes; where it is no,
	// nothing tells what is stored there instead.
	OfSubject(ctx context.Context, ids []credential.ID, subject string) ([]bool, error)
	// UserData is Record with the user data.
	UserData(ctx context.Context, id credential.ID) (*credential.Held, error)
	// List returns up to limit records in the order of their IDs, from where
	// cursor points to ("" is the first), and the cursor of the next page, ""
	// after the last. A cursor that was not handed out is a [FaultError] of
	// kind [FaultBadCursor]. Records of the page that cannot be read are an
	// error that has the method of [Unreadable]; the others hold then.
	List(ctx context.Context, want RecordFilter, cursor string, limit int) (records []credential.Held, next string, err error)
}

// Unreadable is the error of a list some of whose records cannot be read.
type Unreadable interface {
	error
	Failed() []credential.ID // whose records these are
}

// RecordFilter selects records. Every condition that is set must hold.
type RecordFilter struct {
	Provider string
	State    credential.State
	Labels   map[string]string // all must be there with that value
	Prefix   string            // of the ID
	// Subject is whose it is. With one, records that cannot be read are left out.
	Subject string
}

// Events gives access to the event log.
type Events interface {
	// Open places a reader behind the event that cursor names: "0" is the
	// start of the log, "" its end. A text that is no cursor is a
	// [FaultError] of kind [FaultBadCursor]; a filter that can select nothing
	// is one of kind [FaultBadFilter].
	Open(ctx context.Context, cursor string, want EventFilter) (EventReader, error)
	// Check is Open's refusal of what is no cursor, without a look at the log.
	Check(cursor string) error
	// Changed returns a channel that is closed when the next event arrives.
	// Taken before a read, it misses none.
	Changed() <-chan struct{}
}

// EventReader reads the log for one subscriber. It is used by one goroutine.
type EventReader interface {
	// Reset reports whether events behind the cursor that was asked for are
	// gone: the reader stands at what is left.
	Reset() bool
	// Read looks at the next events, up to about most of them and until those
	// that are wanted, which it returns, have come to so many bytes. Where there
	// is one it returns one, however long it is. atEnd is true if there was
	// nothing more to look at. [ErrLogReplaced] says that what comes next is of
	// another log: it takes another reader to be told of that.
	Read(ctx context.Context, most, bytes int) (events []StreamedEvent, atEnd bool, err error)
	// Cursor names the last event that was looked at.
	Cursor() string
}

// ErrLogReplaced says that the event log is not any more the one that a reader
// was opened on: the store has lost what it held, or has it back.
var ErrLogReplaced = errors.New("the event log has been replaced")

// EventFilter selects events. Every condition that is set must hold.
type EventFilter struct {
	Types    []string // globs over types; any may match
	Provider string
	Prefix   string            // of the credential's ID
	Subject  string            // whose the credential is; what is no credential's is nobody's
	Labels   map[string]string // all must be there with that value
}

// StreamedEvent is one event as it goes out.
type StreamedEvent struct {
	Cursor string          // to read on behind it
	Type   string          // as in the event
	JSON   json.RawMessage // a [CloudEvent], in one line
}

// Keys stores API keys. Only the hash of a key is kept.
type Keys interface {
	// Find returns the key of that hash; nil where there is none.
	Find(ctx context.Context, hash [sha256.Size]byte) (*Key, error)
	// Create stores a key.
	Create(ctx context.Context, hash [sha256.Size]byte, key Key) error
	List(ctx context.Context) ([]Key, error)
	// Revoke removes the key with that ID and reports whether there was one.
	Revoke(ctx context.Context, id string) (bool, error)
}

// Tickets keeps tickets for the event stream. Only the hash of a ticket is kept.
type Tickets interface {
	// Issue stores a ticket for as long as life. Where its key has made most of
	// them within such a time, it stores nothing and tells how long to wait.
	Issue(ctx context.Context, hash [sha256.Size]byte, ticket Ticket, life time.Duration, most int) (again time.Duration, err error)
	// Take uses a ticket up; nil where there is none (any more). Of all who ask
	// for one, on all replicas, one gets it.
	Take(ctx context.Context, hash [sha256.Size]byte) (*Ticket, error)
}

// Ticket is what a ticket lets see: what its key may, as far as that passes the
// filter. Limits of the key are not in the filter.
type Ticket struct {
	Key    [sha256.Size]byte // hash of the key that it was made with
	Filter EventFilter
}

// Subscriptions keeps who is told of events. One that does not exist is a
// [FaultError] of kind [FaultNoSubscription], a change of one that stands in
// config.yaml of kind [FaultManagedByConfig], settings that cannot be of kind
// [FaultInvalid].
type Subscriptions interface {
	List(ctx context.Context) ([]Subscription, error)
	Find(ctx context.Context, name string) (Subscription, error)
	// Create adds one that is signed with a secret; without one, it draws it
	// and returns it.
	Create(ctx context.Context, set SubscriptionSettings, secret credential.Secret) (Subscription, credential.Secret, error)
	// Replace changes everything but the secrets.
	Replace(ctx context.Context, set SubscriptionSettings) (Subscription, error)
	Delete(ctx context.Context, name string) error
}

// Endpoints acts on where the events of subscriptions go. What holds for
// [Subscriptions] holds here; only Rotate is a change.
type Endpoints interface {
	// Verify delivers a stream.verification event now, past all others.
	Verify(ctx context.Context, name string) (VerificationResult, error)
	// Replay delivers again from a place in the log: a cursor, "0", or a time
	// in RFC 3339. It reports whether events behind that place are gone.
	Replay(ctx context.Context, name, from string) (reset bool, err error)
	// Enable goes on with one that is disabled or turned off.
	Enable(ctx context.Context, name string) (Subscription, error)
	// Rotate has deliveries signed with a secret, drawn and returned if none
	// is given; the old one signs beside it for as long as overlap says.
	Rotate(ctx context.Context, name string, secret credential.Secret, overlap time.Duration) (Subscription, credential.Secret, error)
	// Deliveries returns the last ones, the newest first.
	Deliveries(ctx context.Context, name string, limit int) ([]Delivery, error)
}

// Service tells how the service is.
type Service interface {
	// Ready is answered without a key: it must not tell secrets.
	Ready(ctx context.Context) Readiness
	Status(ctx context.Context) (Status, error)
	// Providers lists the configured ones, and tells whether the whole service
	// is paused.
	Providers(ctx context.Context) (list []Provider, paused bool, err error)
}
