package journal

import (
	"errors"
	"fmt"
)

// The errors that callers tell apart. Each is wrapped with what and where.
var (
	// ErrNoRoom says that the disk has no room for a record, or for the reply
	// that an intent announces. Nothing was written; the journal goes on.
	ErrNoRoom = errors.New("no room for the journal")
	// ErrBroken says that a write or a sync has failed. What the disk holds
	// since is unknown and syncing again would not tell (fsync(2)), so the
	// journal takes nothing more until it has moved to another file.
	ErrBroken = errors.New("the journal is broken")
	// ErrStalled says that a write or a sync has neither failed nor returned for
	// some seconds. The journal takes nothing new until it has, and goes on by
	// itself then.
	ErrStalled = errors.New("the disk of the journal does not answer")
	// ErrClosed says that the journal was closed.
	ErrClosed = errors.New("the journal is closed")
	// ErrInvalid says that a record could not be written as it is.
	ErrInvalid = errors.New("not a valid journal record")
	// ErrInUse says that another process, or another journal of this one,
	// has a journal of the same owner.
	ErrInUse = errors.New("the journal is in use")
	// ErrNetworkFS says that the folder is on a network file system, where a
	// lock proves nothing.
	ErrNetworkFS = errors.New("journals cannot be on a network file system")
	// ErrNewer says that a file was written by a newer version.
	ErrNewer = errors.New("the journal was written by a newer version of refreshd")
)

// CorruptError reports a stretch of a journal that cannot be read although
// sound records follow it, or although it is where the file's first record
// must be. It was skipped. Because what it held is unknown, a journal with one
// does not prove that a nonce it does not mention was never sent.
type CorruptError struct {
	Path   string
	Offset int64 // of the first byte that was skipped
	Length int64 // how many were
	Reason string
}

// Error names the file and the stretch.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal %s: %d bytes at offset %d skipped: %s", e.Path, e.Length, e.Offset, e.Reason)
}

// UnreadError says which journals could not be taken up, and what else was wrong with
// single files. Their owners may be dead or alive.
type UnreadError struct {
	owners map[string]error
	err    error
}

// Add notes that the owner's journal could not be taken up.
func (e *UnreadError) Add(owner string, err error) {
	if e.owners == nil {
		e.owners = map[string]error{}
	}
	e.owners[owner] = errors.Join(e.owners[owner], err)
	e.err = errors.Join(e.err, err)
}

// Unread returns, by owner, what keeps each journal from being taken up.
func (e *UnreadError) Unread() map[string]error { return e.owners }

// Error tells of every file.
func (e *UnreadError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong with all of them.
func (e *UnreadError) Unwrap() error { return e.err }

// OrNil returns e if anything was wrong, and nil otherwise.
func (e *UnreadError) OrNil() error {
	if e.err == nil {
		return nil
	}
	return e
}
