package journal

import (
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs f with a clock of its own. What f panics with is passed on:
// that is how a property tells of its failure.
func inBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	var failure any
	synctest.Test(t, func(t *testing.T) {
		defer func() { failure = recover() }()
		f(t)
	})
	if failure != nil {
		panic(failure)
	}
}

// pass lets time go by in a bubble.
func pass(d time.Duration) { <-time.After(d) }
