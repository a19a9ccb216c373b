//go:build failpoints

package failpoint

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrInjected is wrapped by every error that Hit returns.
var ErrInjected = errors.New("injected by a failpoint")

// An Error says at which point it was injected.
type Error struct {
	// Point is where.
	Point Point
	// Cause is what the place may look for beside ErrInjected, such as
	// ENOSPC. It may be nil.
	Cause error
}

func (e *Error) Error() string {
	text := string(e.Point) + ": " + ErrInjected.Error()
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns ErrInjected and the cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{ErrInjected}
	}
	return []error{ErrInjected, e.Cause}
}

// process is what the environment arms in this process. It is read at the first
// hit.
//
//nolint:gochecknoglobals // places all over the program share the one environment
var process = sync.OnceValue(func() *armoury {
	a, err := newArmoury(os.Getenv(variable), os.Getenv(variable+"_FILE"), os.Getenv(variable+"_LOG"))
	if err != nil {
		panic(err)
	}
	return a
})

// Hit does what the rules of the point say. It returns an error that wraps
// [ErrInjected] where a rule says so, nil otherwise. It is safe for concurrent
// use; a delay or a stop does not hold up other points.
func Hit(p Point) error {
	rules, err := process().due(p)
	if err != nil {
		panic(err)
	}
	for _, r := range rules {
		if err := act(p, r); err != nil {
			return err
		}
	}
	return nil
}

// Offset returns by how much the clock of the point is off.
func Offset(p Point) time.Duration {
	rules, err := process().due(p)
	if err != nil {
		panic(err)
	}
	var sum time.Duration
	for _, r := range rules {
		sum += r.span
	}
	return sum
}

func act(p Point, r rule) error {
	switch r.action {
	case kill:
		end(syscall.SIGKILL)
	case stop:
		end(syscall.SIGSTOP)
	case delay:
		<-time.After(r.span)
	case fail:
		return &Error{Point: p}
	case full:
		return &Error{Point: p, Cause: syscall.ENOSPC}
	case jump:
	}
	return nil
}

// variable is the environment variable that arms points; those with a suffix
// name files.
const variable = "REFRESHD_FAILPOINTS"

// Reads reports whether this package reads the environment variable.
func Reads(name string) bool {
	return name == variable || name == variable+"_FILE" || name == variable+"_LOG"
}
