package refresh

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Store keeps credentials. Every method may be called concurrently and honours
// its context; an error means that nothing is known of what was done, and
// repeating the same call with the same nonces is safe.
type Store interface {
	// Begin answers one entry per request, in order.
	Begin(ctx context.Context, requests []credential.Begin) ([]credential.Begun, error)
	// Apply stores each write that finds what it expects, independently of
	// the others. Its error has a method NotMade where none was stored. It asks
	// the store once: whoever calls it again knows that a write may have been
	// stored before.
	Apply(ctx context.Context, writes []credential.Write) ([]credential.Status, error)
	// Load reads records with their secrets; nil where there is none.
	Load(ctx context.Context, ids ...credential.ID) ([]*credential.Held, error)
	// Release gives back IDs that were claimed from the due index: they are
	// due at the given moment, or at their own if that is later. 0 is their own
	// in any case.
	Release(ctx context.Context, provider string, ids []credential.ID, at credential.Millis) error
	// SpentBefore reports whether token is a refresh token that was replaced.
	SpentBefore(h credential.Held, token credential.Secret) bool
}

// Registry tells which owners hold open attempts, and which of them live.
type Registry interface {
	OpenOwners(ctx context.Context) (map[string][]credential.ID, error)
	// Beat counts this owner's heartbeat on, and notes for which run of the
	// store it has put back what it knows, and in which round it looked, and for
	// which it waits for others.
	Beat(ctx context.Context, ready string, round uint64, waiting string) error
	Roster(ctx context.Context) (credential.Roster, error)
	// Introduce puts an owner on the roster that is not on it, and whose journal is
	// in that place. It does not count as heard.
	Introduce(ctx context.Context, owner, place string) error
	// Forget takes an owner off the roster that will not come back.
	Forget(ctx context.Context, owner string) error
}

// Runs tells one run of the store from another: one that was restarted, or
// replaced by its replica, may lack the last writes. The errors of Begin, Apply
// and Restore have a method AnotherRun where the store is not the run that was
// named.
type Runs interface {
	// Run names the run that answers now.
	Run(ctx context.Context) (string, error)
	// HoldsInstallation reports whether what answers holds the installation that this process
	// started on, or another one; neither where it holds none any more.
	HoldsInstallation(ctx context.Context) (ours, another bool, err error)
	// Pass lets Begin and Apply pass on the runs that are named and on no
	// other; "" lets nothing pass.
	Pass(begins, writes string)
	// Restore is Apply on that run, whatever passes. again says that the writes
	// were made before, and are not judged by today's clock.
	Restore(ctx context.Context, run string, writes []credential.Write, again bool) ([]credential.Status, error)
	Rounds
}

// Rounds is how all who work on a run of the store find that nothing is missing.
type Rounds interface {
	// NextRound counts the round of the roster on.
	NextRound(ctx context.Context) error
	// Settle notes that everyone has put back what they knew into that run. That
	// holds until a round is counted after the one that is named.
	Settle(ctx context.Context, run string, round uint64) error
	// StandIn notes of owners who are dead, and whose journals are in this owner's
	// folder, that what they had written was put back into that run, and
	// that the rest of it waits for others. Without owners it does nothing.
	StandIn(ctx context.Context, run string, owners ...string) error
	// Inherited takes a dead owner off the roster and notes until then that what it
	// left was put back into that run.
	Inherited(ctx context.Context, owner, run string) error
}

// Folder is where this machine's processes have their journals.
type Folder interface {
	Place() string // its name on the roster; "" if this process has no journal
	// Owners lists whose journals are there.
	Owners() ([]string, error)
	// Look tells whether the owner's journal is there, and whether its lock is
	// held. An error tells neither.
	Look(owner string) (there, locked bool, err error)
}

// Permits shares a provider's limits among all replicas. A permit is leased:
// it comes back by itself when its holder dies.
type Permits interface {
	// Take leases up to want permits. A lease of 0 is for one whose permit has
	// lapsed: it is let through within limits.PerSecond alone, and has nothing to
	// return.
	Take(ctx context.Context, provider string, limits Limits, want int, lease time.Duration) (Taken, error)
	Return(ctx context.Context, provider, id string, n int) error
	// Reclaim returns all that an owner holds who is proven dead.
	Reclaim(ctx context.Context, provider, owner string) error
	// Free estimates how many permits could be taken within horizon, and how
	// many at the most if those that are out came back at once.
	Free(ctx context.Context, provider string, limits Limits, horizon time.Duration) (free, most int, err error)
	// Hold has none given out for a while, for the outcome of a call.
	Hold(ctx context.Context, provider string, lasts time.Duration, why credential.Outcome) error
}

// Claims is what all replicas have claimed and not begun.
type Claims interface {
	// ClaimsDone notes that n of a reservation wait no more: they have their permits,
	// or were put back.
	ClaimsDone(ctx context.Context, provider, reservation string, n int) error
}

// Taken are permits that were taken together.
type Taken struct {
	Count int
	ID    string // of the lease
	// Within is for how long after they were asked for they let a call be
	// written; 0 is for ever.
	Within time.Duration
	// Wait is, if there are none, how long there will be none; 0 where others have
	// them all and one may come back at any moment.
	Wait time.Duration
}

// Resting is what became due while its client was held back, and was given another
// moment to be looked at.
type Resting interface {
	// Wake has all that is due within a while due at its own moment again.
	Wake(ctx context.Context, provider string, within time.Duration) error
}

// Limits are those of one provider's client. Zero means no limit.
type Limits struct {
	Concurrency int
	PerSecond   float64
}

// Exchanger talks to one provider.
type Exchanger interface {
	// Prepare does what can fail before anything is sent, such as discovery.
	// A non-nil outcome means that an exchange is not possible now.
	Prepare(ctx context.Context) *credential.Outcome
	// Exchange presents a refresh token, a name and a password, or a session,
	// at most once: exactly once, unless the outcome is ClassNotSent or
	// ClassOperator. It is bounded by the provider's own timeout.
	Exchange(ctx context.Context, in credential.Presentation) credential.Outcome
	// Revoke asks the provider to end a token (RFC 7009, or a log-out).
	Revoke(ctx context.Context, token credential.Token) error
	// UserData asks what the provider tells of its user, Verify whether it
	// still takes the access token. Where the provider's settings have no such
	// call, the outcome is of ClassOK and nothing was asked.
	// start is as in a presentation.
	UserData(ctx context.Context, token credential.Token, subject string, start func() error) (credential.UserData, credential.Outcome)
	Verify(ctx context.Context, token credential.Token, subject string, start func() error) credential.Outcome
}

// Journal is the local write-ahead journal. What Intend and Note have
// acknowledged, and what Keep calls durable, survives a kill -9 and a power cut.
type Journal interface {
	Intend(ctx context.Context, intents []Intent) error
	// Keep returns when the end of this process cannot take kept away any more,
	// if that can be. durable returns when the end of the machine cannot either;
	// only then, and without an error, is it kept.
	Keep(kept Kept) (durable func() error)
	Note(ctx context.Context, changes ...Change) error
	// Drop forgets records that the store is known to hold.
	Drop(nonces ...credential.Nonce)
	// Adopt locks and reads the journals of dead processes of this machine. An
	// error that has a method Unread is about those that it returns, by owner; the
	// others are found all the same. Any other one is about the folder.
	Adopt(ctx context.Context) ([]Dead, error)
}

// Intent says that a generation is about to be presented.
type Intent struct {
	Nonce      credential.Nonce
	ID         credential.ID
	Generation uint64
	Grant      uint64
	At         credential.Millis
}

// Kept is what a provider answered: a token, or that the grant is dead.
type Kept struct {
	Intent // of the attempt that brought it; At is when the exchange was sent

	Method credential.Method // by which it was got
	Found  credential.Found
	// Ended is of ClassPermanent where the provider called the grant dead, and
	// zero otherwise.
	Ended credential.Outcome
}

// ChangeKind says what was done.
type ChangeKind uint8

// The kinds. They are stored.
const (
	ChangePut ChangeKind = iota + 1
	ChangeLogout
	ChangeDelete
	ChangeWrite // any write, as it was decided, where the store may lose it
)

// Change is what an owner did, which is journaled before it is acknowledged; or
// a write, before it is made.
type Change struct {
	Nonce credential.Nonce
	ID    credential.ID
	Kind  ChangeKind
	Grant uint64 // that it opens
	At    credential.Millis
	Login *credential.Login // for ChangePut
	Write *Written          // for ChangeWrite
}

// Written is a write together with what it leads to.
type Written struct {
	Write credential.Write
	After credential.Held
}

// Dead is the journal of a process that is proven dead: its lock was free.
type Dead struct {
	Owner   string
	Intents []Intent // without an answer
	Kept    []Kept
	Changes []Change
	Writes  []Written
	// Order has the nonces of Kept and Changes as they were written.
	Order []credential.Nonce
	// Damaged says that a part could not be read: an intent may be missing, so
	// every attempt that the owner left open may have been sent.
	Damaged bool
	// Remove deletes the journal; its records must be durable elsewhere.
	Remove func() error
	// Release leaves it for another adopter.
	Release func() error
}

// Clock tells the store's time and the machine's.
type Clock interface {
	Now() credential.Millis
	Boot() time.Duration
}
