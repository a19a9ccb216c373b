package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// reconnectFirst is the wait after a first failure, unless a stream has
	// told another.
	reconnectFirst = time.Second
	// reconnectLeast bounds what a stream can tell from below.
	reconnectLeast = 100 * time.Millisecond
	// reconnectMost bounds the waits that double from failure to failure.
	reconnectMost = 30 * time.Second
)

// backoff says how long to wait before what failed is done again.
type backoff struct {
	told     time.Duration // the first wait, as a stream has told it; 0 if none has
	failures int           // since something last went well
}

// next returns the wait after another failure. It doubles with each in a row,
// is never shorter than asked for with Retry-After, and up to a half longer
// than it has to be, so that those who failed together do not come back
// together. random is from 0 to 1.
func (b *backoff) next(err error, random float64) time.Duration {
	wait := reconnectFirst
	if b.told > 0 {
		wait = max(b.told, reconnectLeast)
	}
	most := max(wait, reconnectMost)
	for range min(b.failures, 16) {
		wait = min(2*wait, most)
	}
	b.failures++
	if away, ok := errors.AsType[*UnavailableError](err); ok {
		wait = max(wait, away.RetryAfter)
	}
	return wait + time.Duration(random*float64(wait)/2)
}

// pause waits as long as next says, and reports false if ctx was done before.
func (b *backoff) pause(ctx context.Context, err error) bool {
	timer := time.NewTimer(b.next(err, rand.Float64())) //nolint:gosec // spreads load, guards nothing
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lasting reports whether doing the same again cannot help. What is no answer
// of refreshd's own, but of something in front of it, only counts as that
// where refreshd was not reached before: then the URL is wrong.
func lasting(err error, reached bool) bool {
	if errors.Is(err, ErrUnavailable) {
		return false
	}
	if answer, ok := errors.AsType[*Error](err); ok && answer.Code == "" {
		return !reached
	}
	return true
}
