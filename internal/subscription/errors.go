package subscription

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Sentinels of this package.
var (
	// ErrNotFound says that there is no subscription of that name.
	ErrNotFound = errors.New("no subscription has this name")
	// ErrExists refuses a second subscription of one name.
	ErrExists = errors.New("a subscription of this name exists already")
	// ErrChanged says that somebody else changed a subscription meanwhile.
	ErrChanged = errors.New("the subscription was changed meanwhile")
)

// ManagedError refuses to change what stands in config.yaml.
type ManagedError struct{ Name string }

// Error names the remedy.
func (e *ManagedError) Error() string {
	return fmt.Sprintf("subscription %s stands in config.yaml: change it there, and send SIGHUP", e.Name)
}

// LeavingError refuses a name that was deleted a moment ago: deliveries of it
// may still be under way.
type LeavingError struct {
	Name  string
	Again time.Duration // when it is free
}

// Error says when the name is free.
func (e *LeavingError) Error() string {
	return fmt.Sprintf("subscription %s was just deleted, and deliveries of it may still be under way; its name is free again in %s", e.Name, e.Again.Round(time.Second))
}

// InvalidError refuses settings.
type InvalidError struct{ Problems []Problem }

// Error tells all that is wrong.
func (e *InvalidError) Error() string {
	said := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		said[i] = p.Field + ": " + p.Text
	}
	return strings.Join(said, "; ")
}

// UnreadableError says that some of what is stored cannot be read; the rest
// holds.
type UnreadableError struct{ Err error }

// Error tells what cannot be read.
func (e *UnreadableError) Error() string { return e.Err.Error() }

// Unwrap returns the store's own error.
func (e *UnreadableError) Unwrap() error { return e.Err }
