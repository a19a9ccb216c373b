package oauth2

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	discoveryLasts  = time.Hour   // until the document is read again
	discoveryRest   = time.Minute // between two readings that succeeded
	firstPause      = 2 * time.Second
	longestPause    = 5 * time.Minute
	pauseDoublings  = 10
	discoveryFailed = "discovery failed; what was discovered before still counts"
)

// discovery keeps what a provider announces about itself.
type discovery struct {
	fetch func(context.Context) (endpoints, *failed)
	log   zerolog.Logger

	mu       sync.Mutex
	known    bool
	found    endpoints     // the last that were read
	next     time.Time     // no reading before this
	earliest time.Time     // what suspect can move next forward to
	failures int           // in a row
	failure  *failed       // of the last reading; nil if it succeeded
	flight   chan struct{} // closed when the reading that is under way ends; nil if none is
}

// last returns the endpoints that were read last, without waiting.
func (d *discovery) last() endpoints {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found
}

// get returns the endpoints. Of several callers one reads the document; the
// others wait for it, unless they can be served with what was read before.
// After a failure all of them get its error until it is time for another
// reading.
func (d *discovery) get(ctx context.Context) (endpoints, *failed) {
	for {
		d.mu.Lock()
		now := time.Now()
		switch {
		case d.known && (now.Before(d.next) || d.flight != nil):
			defer d.mu.Unlock()
			return d.found, nil
		case d.flight != nil:
			flight := d.flight
			d.mu.Unlock()
			select {
			case <-flight:
			case <-ctx.Done():
				return endpoints{}, calledOff(ctx)
			}
		case d.failure != nil && now.Before(d.next):
			defer d.mu.Unlock()
			again := *d.failure
			again.outcome.RetryAfter = d.next.Sub(now)
			return endpoints{}, &again
		default:
			d.flight = make(chan struct{})
			d.mu.Unlock()
			return d.read(ctx)
		}
	}
}

// calledOff is the failure of a caller that did not wait.
func calledOff(ctx context.Context) *failed {
	return &failed{
		outcome: credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonUnavailable},
		err:     context.Cause(ctx),
	}
}

// read reads the document for all who wait.
func (d *discovery) read(ctx context.Context) (endpoints, *failed) {
	defer d.land()
	found, failure := d.fetch(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if failure != nil && ctx.Err() != nil {
		return endpoints{}, calledOff(ctx) // the caller's end, which says nothing of the provider
	}
	d.settle(found, failure, time.Now())
	if !d.known {
		return endpoints{}, d.failure
	}
	return d.found, nil
}

// land ends the flight, whatever became of it, and wakes those who wait.
func (d *discovery) land() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.flight)
	d.flight = nil
}

// settle takes what a reading brought. d.mu is held.
func (d *discovery) settle(found endpoints, failure *failed, now time.Time) {
	d.failure = failure
	if failure == nil {
		d.known, d.found, d.failures = true, found, 0
		d.next, d.earliest = now.Add(discoveryLasts), now.Add(discoveryRest)
		return
	}
	d.failures++
	d.next = now.Add(max(pause(d.failures), failure.outcome.RetryAfter))
	d.earliest = d.next
	if d.known {
		d.log.Warn().Str("class", string(failure.outcome.Class)).Str("detail", failure.outcome.Detail).
			AnErr("cause", failure.err).Time("next", d.next).Msg(discoveryFailed)
	}
}

// suspect has the document read again soon: a call hints that it has changed.
func (d *discovery) suspect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known && d.earliest.Before(d.next) {
		d.next = d.earliest
	}
}

// pause returns how long to wait after so many failures in a row: from 2 s it
// doubles to 5 min.
func pause(failures int) time.Duration {
	return min(firstPause<<min(failures-1, pauseDoublings), longestPause)
}
