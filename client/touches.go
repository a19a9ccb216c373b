package client

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultTouchInterval is how often uses of sessions are reported at most,
	// unless [Options] say otherwise. refreshd counts a use from when it hears
	// of it, so a report must not be late by more than a small part of the
	// shortest idle timeout.
	defaultTouchInterval = 10 * time.Second
	// touchTimeout bounds a report, for the same reason.
	touchTimeout = 5 * time.Second
	// touchesLimit is how many uses refreshd takes in one call.
	touchesLimit = 1000
)

// usages reports the uses of all credentials of a client.
type usages struct {
	interval time.Duration
	spawn    func(func(ctx context.Context)) bool
	// send reports that credentials were used, and returns what refreshd says
	// to each.
	send   func(ctx context.Context, ids []string) ([]touchAnswer, error)
	ending chan struct{} // closed when the client is to be closed

	mu      sync.Mutex
	byID    map[string]*usage
	due     []use         // since the last report
	done    chan struct{} // closed when the reporter that runs has ended; nil if none does
	stopped bool
}

// usage is what the transports of one credential have in common.
type usage struct {
	id    string
	login gate

	noted atomic.Bool // it is among those that are due
	// pointless is the generation of a token whose use refreshd did not want to
	// hear of: it is no session, or not this key's to touch.
	pointless atomic.Uint64
}

// use is a usage that is due to be reported, with the token that was used.
type use struct {
	*usage

	generation uint64
}

func newUsages(c *Client, interval time.Duration) *usages {
	return &usages{interval: interval, spawn: c.spawn, send: c.touchMany, ending: make(chan struct{}), byID: map[string]*usage{}}
}

// of returns the usage of a credential, a new one if there is none.
func (u *usages) of(id string) *usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.byID[id]
	if one == nil {
		one = &usage{id: id}
		u.byID[id] = one
	}
	return one
}

// note marks a credential as used with the token of that generation. The first
// use is reported at once, later ones together when the interval has passed.
func (u *usages) note(one *usage, generation uint64) {
	if one.noted.Load() || one.pointless.Load() == generation || !one.noted.CompareAndSwap(false, true) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stopped {
		return
	}
	u.due = append(u.due, use{usage: one, generation: generation})
	if u.done != nil {
		return
	}
	done := make(chan struct{})
	if u.spawn(func(ctx context.Context) { u.run(ctx, done) }) {
		u.done = done
	}
}

// run reports what is due until an interval has passed without a use, or the
// client is to be closed.
func (u *usages) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	pause := time.NewTimer(u.interval)
	defer pause.Stop()
	for u.report(ctx) {
		pause.Reset(u.interval)
		select {
		case <-pause.C:
		case <-u.ending:
		case <-ctx.Done():
			return
		}
	}
}

// report reports what is due; it returns false if nothing was, and the
// reporter is to end. A use whose report fails is not reported later: it
// would count as one of that time. The next will be, and if there is none
// refreshd extends the session itself.
func (u *usages) report(ctx context.Context) bool {
	u.mu.Lock()
	due := u.due
	u.due = nil
	if len(due) == 0 {
		u.done = nil
	}
	u.mu.Unlock()
	for _, one := range due {
		one.noted.Store(false)
	}
	ctx, cancel := context.WithTimeout(ctx, touchTimeout)
	defer cancel()
	for part := range slices.Chunk(due, touchesLimit) {
		ids := make([]string, len(part))
		for i, one := range part {
			ids[i] = one.id
		}
		answers, err := u.send(ctx, ids)
		if err != nil || len(answers) != len(part) {
			continue
		}
		for i, one := range part {
			if answers[i].ID == one.id && answers[i].pointless() {
				one.pointless.Store(one.generation)
			}
		}
	}
	return len(due) > 0
}

// finish reports what is due and ends the reporter, waiting no longer than a
// report may take.
func (u *usages) finish() {
	u.mu.Lock()
	if !u.stopped {
		u.stopped = true
		close(u.ending)
	}
	done := u.done
	u.mu.Unlock()
	if done == nil {
		return
	}
	late := time.NewTimer(touchTimeout)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// touchAnswer is what refreshd says to one touch.
type touchAnswer struct {
	ID     string `json:"id"`
	Result string `json:"result"`
}

// pointless reports whether there is no use in touching with the same token
// again.
func (a touchAnswer) pointless() bool {
	return a.Result == "no_session" || a.Result == "unknown" || a.Result == "forbidden"
}

func (c *Client) touchMany(ctx context.Context, ids []string) ([]touchAnswer, error) {
	in := struct {
		IDs []string `json:"ids"`
	}{ids}
	var out struct {
		Touches []touchAnswer `json:"touches"`
	}
	if err := c.call(ctx, http.MethodPost, "/v1/touches", in, &out); err != nil {
		return nil, err
	}
	return out.Touches, nil
}

// isUse reports whether a reply of that status shows that the backend took the
// request for a use of its session. One that does not count costs a call of
// refreshd's to extend the session; one that wrongly counts costs the session.
func isUse(status int) bool {
	return status/100 == 2 || status == http.StatusNotModified || status == http.StatusSwitchingProtocols
}
