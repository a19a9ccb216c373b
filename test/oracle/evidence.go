package oracle

import (
	"time"

	"github.com/refreshd/refreshd/internal/practice"
)

// Grace says what the provider does when a refresh token is presented.
type Grace struct {
	Rotates bool
	Grace   time.Duration // how long a spent token still works; 0: strict
	Life    time.Duration // of the access tokens that a refresh brings; 0: unknown
}

// Kill is the end of a process that had no time for anything: kill -9, also by
// itself, or a stop from which it only came back to be killed.
type Kill struct {
	Owner string
	At    time.Time
	// Kept are the credentials whose last reply is known to have been in the
	// journal by then: the kill excuses nothing about them.
	Kept []string
	// Slow is for how long the fault injector held back what the process had to
	// hand to the kernel by then: so much longer a reply may have died with it. A
	// disk that only syncs slowly holds nothing back.
	Slow time.Duration
}

// Event is an event as a subscriber, or the reader of the log, saw it.
type Event struct {
	ID, Credential, Type, State, PreviousState, Reason string
	Version, Previous                                  uint64
	At                                                 time.Time
	ExpiresAt                                          time.Time // of the access token after it, as it tells; zero for none
}

// Final is a credential as it is at the end.
type Final struct {
	ID, State, Reason   string
	Version, Generation uint64
	InDoubt             bool
	AccessToken         string // as served, "" if none
	ExpiresAt           time.Time
	Grant               string // the provider's ID of the grant that was stored last
}

// Read is one answer to a program that asked for a token.
type Read struct {
	Process, ID         string
	Version, Generation uint64
	At                  time.Time // when it was asked
	ExpiresAt           time.Time
	Err                 string // "" for a token
	// Looked is when the provider was asked about the token right after, zero if
	// it was not; Ends is when it ends by the provider's own record, zero if it
	// was not good any more.
	Looked, Ends time.Time
}

// The kinds of an owner's change.
const (
	KindLogin  = "login"
	KindLogout = "logout"
	KindDelete = "delete"
	KindPause  = "pause"
	KindResume = "resume"
)

// Change is what the owner of a credential did, and was told to be done.
type Change struct {
	Credential, Kind string
	Grant            string    // of a login: the provider's ID
	Version          uint64    // that the answer told; 0 where it told none
	At               time.Time // it was answered; of a resume, it was about to be asked
	ExpiresAt        time.Time // of a login's access token, as it was stored
}

// Evidence is all that was seen of a run.
type Evidence struct {
	Provider Grace
	Ledger   []practice.Entry
	Grants   []practice.GrantState
	Kills    []Kill
	// Made tells which owner made a call, by the ledger's sequence number, as
	// far as that is known: only that one's kill explains anything about it.
	Made map[uint64]string
	// Calls tells, likewise, when calls were made and left. Those of which it is
	// not known are in order as the provider looked at them.
	Calls map[uint64]Call
	// Reasons says why replies did not arrive, where that was watched; nil: it
	// was not.
	Reasons  *Reasons
	Cut      map[uint64]bool    // ledger's sequence numbers whose reply was cut or replaced on its way, so that its token did not come whole
	Log      []Event            // the event log from its start, read at the end
	Seen     map[string][]Event // by subscriber, in order of first arrival
	Reads    []Read             // in order, per process
	Final    []Final
	Acked    []Change // in order, per credential
	Canaries []string // places where a secret was found, named without it
	// Settled is how long it took from the end of faults until all due
	// credentials were fresh, terminal or in quarantine; negative: never.
	Settled time.Duration
	// Live asks the provider whether an access token is live.
	Live func(accessToken string) bool
	// Holds asks the provider which generation of which grant a live access
	// token belongs to; optional.
	Holds func(accessToken string) (grant string, generation uint32)
	// Send is how long after its begin an exchange may still be sent; 0 is 5 s.
	Send time.Duration
}

// Reasons are, by the ledger's sequence numbers, those for which replies did not
// arrive. One that has none of a fault was given up by the program itself.
type Reasons struct {
	Known map[uint64]string // the injected fault
	Else  map[uint64]string // what happened to it without a fault
}

// Violation is a promise that was broken.
type Violation struct {
	Promise    string // "P1" to "P9"
	Credential string // or the provider's grant, where no credential is known
	What       string
}

// String is the violation in one line.
func (v Violation) String() string { return v.Promise + " " + v.Credential + ": " + v.What }
