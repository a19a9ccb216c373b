package credential

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Nonce is a random 128-bit number that makes a write or an attempt unique
// and its repetition recognisable.
type Nonce [16]byte

// String returns 32 hex digits.
func (n Nonce) String() string { return hex.EncodeToString(n[:]) }

// MarshalText returns what [Nonce.String] does.
func (n Nonce) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads what [Nonce.MarshalText] wrote.
func (n *Nonce) UnmarshalText(text []byte) error {
	var err error
	*n, err = ParseNonce(string(text))
	return err
}

// Short returns the first 8 hex digits.
func (n Nonce) Short() string { return hex.EncodeToString(n[:4]) }

// IsZero reports whether n was never drawn.
func (n Nonce) IsZero() bool { return n == Nonce{} }

var errNonce = errors.New("a nonce is 32 hex digits")

// ParseNonce reads what [Nonce.String] wrote.
func ParseNonce(s string) (Nonce, error) {
	var n Nonce
	if len(s) != hex.EncodedLen(len(n)) {
		return Nonce{}, fmt.Errorf("%w, not %d characters", errNonce, len(s))
	}
	if _, err := hex.Decode(n[:], []byte(s)); err != nil {
		return Nonce{}, fmt.Errorf("%w: %w", errNonce, err)
	}
	return n, nil
}

// Attempt is the sole right to present one generation of a credential's
// refresh token. It is stored before anything is sent and has no expiry of
// its own: if its owner dies, it stays as a doubt until someone proves what
// became of it.
type Attempt struct {
	Nonce      Nonce
	Owner      string // the process that holds it
	Generation uint64 // that is presented
	Grant      uint64 // under which it was begun
	BegunAt    Millis
	Deadline   Millis // when others start to ask about it; never a permission to present again

	// Doubt is set once the request may have been processed and no reply was
	// read. RecoverAt is then the earliest moment at which the same
	// generation may be presented once more; FirstSent is when it was first
	// presented, which is where a provider's grace starts.
	Doubt     bool
	RecoverAt Millis
	FirstSent Millis

	// Recovery marks an attempt that presents a generation for which an
	// earlier attempt ended in doubt.
	Recovery bool
}

// ending is a way in which an attempt is settled without its token.
type ending uint64

const (
	endFailed ending = iota + 1
	endAbandoned
	endDoubted
	endPostponed
)

// endNonce returns the nonce of the write that settles a on that revision of
// its record. It is not the attempt's own, which is that of the write that
// installs the token: the store takes a write whose nonce is the last one's
// for done, and a token that arrives after a doubt would be dropped as stored.
// It differs in the bytes that are part of an event's ID, so that two events
// of one attempt never share theirs, even where the store fell back and a
// version came up twice.
func (a Attempt) endNonce(e ending, revision uint64) Nonce {
	n := a.Nonce
	head := n[:8]
	binary.LittleEndian.PutUint64(head, binary.LittleEndian.Uint64(head)^(revision<<8|uint64(e)))
	return n
}

// ended reports whether a write was the one that settled a, or installed its
// token: half of the attempt's nonce is in it.
func (a Attempt) ended(write Nonce) bool { return [8]byte(write[8:]) == [8]byte(a.Nonce[8:]) }

// Begin asks the store for the sole right to present the current generation.
type Begin struct {
	ID         ID
	Nonce      Nonce
	Owner      string
	Lasts      time.Duration // from the store's now to the attempt's deadline
	Force      bool          // not being due is no ground for a refusal
	Generation uint64        // when not 0, refuse unless it is the current one
}

// Refusal says why a [Begin] was not granted.
type Refusal string

// The refusals.
const (
	RefusedNot       Refusal = ""          // granted
	RefusedUnknown   Refusal = "unknown"   // no such credential
	RefusedMoved     Refusal = "moved"     // the generation is not the current one
	RefusedTerminal  Refusal = "terminal"  // no call is made in this state
	RefusedNotDue    Refusal = "not_due"   // nothing to do yet
	RefusedOver      Refusal = "over"      // the session's clock has run out, which is to be told first
	RefusedOpen      Refusal = "open"      // another attempt is open
	RefusedAlternate Refusal = "alternate" // a received token waits to be installed first
	RefusedNoRefresh Refusal = "no_token"  // there is nothing to present, or it is paused
)

// Held is a record as it was read from the store, with its secrets opened.
type Held struct {
	Record     Record
	Token      Token
	Attempt    *Attempt // nil if none is open
	Alternates []Alternate
	SignIn     SignIn   // the zero SignIn if none is held
	UserData   UserData // nil if none is held
}

// Begun is the store's answer to one [Begin]. Where Refusal is RefusedNot the
// attempt is stored and Held.Attempt is it. Otherwise Held has the
// record and the open attempt, as far as they exist, and no token.
type Begun struct {
	ID      ID
	Refusal Refusal
	Held    Held
	Now     Millis // the store's clock at the time of the answer
	// Durable says of a granted attempt that no crash and no failover of the
	// store takes it back. Where it is false the attempt is stored all the
	// same, and may be forgotten by a store that comes back from either.
	Durable bool
	Err     error // this credential's own trouble, such as a record that cannot be opened; nothing is begun then
}
