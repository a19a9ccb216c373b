package store

import (
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/internal/credential"
)

// Sentinels of this package.
var (
	// ErrLeaseLost says that a lane or a slot is no longer held by the caller.
	ErrLeaseLost = errors.New("the lease is no longer held")
	// ErrKeyNotFound says that there is no such API key.
	ErrKeyNotFound = errors.New("no such API key")
	// ErrEmptied says that Redis holds no installation any more: it came back
	// without its data.
	ErrEmptied = errors.New("this Redis has come back empty")
	// ErrReplaced says that Redis holds another installation than the one that
	// this process started on.
	ErrReplaced = errors.New("this Redis holds another installation than the one that this process started on")
	// ErrToldLess says that lanes were told of less than the caller believes: a
	// Redis came back without its last writes.
	ErrToldLess = errors.New("lanes were told of less than was thought")
	// ErrTicketNotFound says that there is no such ticket (any more).
	ErrTicketNotFound = errors.New("no such ticket")
	// ErrBadCursor says that a cursor was not made by this store.
	ErrBadCursor = errors.New("the cursor is not one that was handed out")
)

// SchemaError refuses what a newer version of refreshd has written.
type SchemaError struct {
	Key   string
	Found uint64
	Known uint64
}

// Error names both schemas.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("%s has schema %d, and this refreshd knows up to %d: run the version that wrote it, or a newer one", e.Key, e.Found, e.Known)
}

// ShardsError refuses another number of shards than the data were laid out for.
type ShardsError struct{ Stored, Configured int }

// Error names both numbers.
func (e *ShardsError) Error() string {
	return fmt.Sprintf("redis.shards is %d, but the data in this Redis are laid out in %d shards: set redis.shards to %d, or export, start with an empty Redis and import",
		e.Configured, e.Stored, e.Stored)
}

// KeysetError refuses a keyset that cannot open what is stored.
type KeysetError struct {
	Stored     string // fingerprint of the keyset that sealed last
	Configured string // fingerprint of ours
	Err        error
}

// Error names both fingerprints.
func (e *KeysetError) Error() string {
	return fmt.Sprintf("the keyset with fingerprint %s cannot open what the one with fingerprint %s sealed in this Redis: point keyset.file at that one, or at a rotation of it (%v)",
		e.Configured, e.Stored, e.Err)
}

// Unwrap returns the keyset's own error.
func (e *KeysetError) Unwrap() error { return e.Err }

// WrongTypeError says that a key under our prefix holds something else than we
// keep there.
type WrongTypeError struct{ Key, Got, Want string }

// Error names the key and the remedy.
func (e *WrongTypeError) Error() string {
	return fmt.Sprintf("key %q in Redis is a %s where refreshd keeps a %s: another program writes under the prefix %q; give refreshd a Redis or a database of its own, or rename that key",
		e.Key, e.Got, e.Want, prefix)
}

// ForeignKeyError says that a hash of somebody else lies where a record would.
type ForeignKeyError struct{ Key string }

// Error names the key and the remedy.
func (e *ForeignKeyError) Error() string {
	return fmt.Sprintf("key %q in Redis was not written by refreshd: another program writes under the prefix %q; give refreshd a Redis or a database of its own, or rename that key",
		e.Key, prefix)
}

// CorruptError says that something stored cannot be read. It never holds any
// of the content.
type CorruptError struct {
	Key   string
	Field string
	Err   error
}

// Error names the key and the field.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("key %q in Redis, field %q, cannot be read: %v", e.Key, e.Field, e.Err)
}

// Unwrap returns what was wrong with it.
func (e *CorruptError) Unwrap() error { return e.Err }

// FullError refuses a new credential beyond what this store is meant to hold.
type FullError struct{ Max int }

// Error names the limit and the remedy.
func (e *FullError) Error() string {
	return fmt.Sprintf("the store holds its limit of %d credentials: the in-process store is for trying refreshd out; install redis-server or set redis.url", e.Max)
}

// RunError says that Redis is not the run on which the caller may write: it was
// restarted or replaced, and may lack the last writes.
type RunError struct{ Expected, Found string }

// Error names both.
func (e *RunError) Error() string {
	if e.Expected == closed {
		return "nothing is begun or written yet: this process has just started, or redis was restarted or replaced, and every process puts back first what it knows"
	}
	return fmt.Sprintf("redis was restarted or replaced: it is run %s, not %s; nothing is written until every process has put back what it knows", e.Found, e.Expected)
}

// AnotherRun tells this error from an outage.
func (e *RunError) AnotherRun() {}

// NotMadeError says that Redis made none of the writes that it was asked for.
type NotMadeError struct{ Err error }

// Error quotes the reason.
func (e *NotMadeError) Error() string { return "apply: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *NotMadeError) Unwrap() error { return e.Err }

// NotMade tells this error from one after which each write may have been made.
func (e *NotMadeError) NotMade() {}

// NameError refuses a name that cannot be part of a key.
type NameError struct {
	What string // provider, subscription, slot or owner
	Len  int
	Byte byte // the offending one, 0 if the length is the trouble
	Pos  int
}

// Error tells what is allowed.
func (e *NameError) Error() string {
	if e.Byte != 0 {
		return fmt.Sprintf("name of a %s: byte %#02x at position %d; allowed are printable ASCII characters but space, { and }", e.What, e.Byte, e.Pos)
	}
	return fmt.Sprintf("name of a %s: %d bytes; 1 to %d are allowed", e.What, e.Len, maxName)
}

// ItemsError says which items of a list failed by themselves; what was
// returned for the others holds.
type ItemsError struct {
	IDs  []credential.ID // as in the call
	Errs []error         // by position in the call; nil where the item succeeded
}

// Error tells how many failed and quotes the first.
func (e *ItemsError) Error() string {
	failed, first := 0, ""
	for i, err := range e.Errs {
		if err == nil {
			continue
		}
		if failed == 0 {
			first = fmt.Sprintf("%s: %v", e.IDs[i], err)
		}
		failed++
	}
	return fmt.Sprintf("%d of %d credentials failed, the first: %s", failed, len(e.Errs), first)
}

// At returns what went wrong with the i-th item of the call, nil if nothing.
func (e *ItemsError) At(i int) error { return e.Errs[i] }

// Failed lists the items that failed, in the order of the call.
func (e *ItemsError) Failed() []credential.ID {
	var list []credential.ID
	for i, err := range e.Errs {
		if err != nil {
			list = append(list, e.IDs[i])
		}
	}
	return list
}

// Unwrap returns the errors of all items that failed.
func (e *ItemsError) Unwrap() []error {
	var list []error
	for _, err := range e.Errs {
		if err != nil {
			list = append(list, err)
		}
	}
	return list
}

// itemErrors returns an ItemsError if any of errs is one, else nil.
func itemErrors(ids []credential.ID, errs []error) error {
	for _, err := range errs {
		if err != nil {
			return &ItemsError{IDs: ids, Errs: errs}
		}
	}
	return nil
}
