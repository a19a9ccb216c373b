package refresh

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	// permitWait is the longest that anyone waits for a permit.
	permitWait = time.Second
	// permitPoll is how often it is looked whether one of those that others have
	// has come back.
	permitPoll = 20 * time.Millisecond
	// permitSlack is how much longer than an attempt a permit is leased.
	permitSlack = 10 * time.Second
	// maxCapacity stands for "no limit".
	maxCapacity = 5000
)

// Capacity tells a dispatcher how many due credentials of a provider could be
// begun within horizon.
func (e *Engine) Capacity(ctx context.Context, provider string, horizon time.Duration) (int, error) {
	t, err := e.target(provider)
	if err != nil {
		return 0, err
	}
	if t.Limits == (Limits{}) {
		return maxCapacity, nil
	}
	free, most, err := e.permits.Free(ctx, provider, t.Limits, horizon)
	if err != nil {
		return 0, err
	}
	return min(max(free, e.pace.turnover(provider, t.Limits, horizon)), most), nil
}

// permitLease is a number of permits taken together.
type permitLease struct {
	engine  *Engine
	target  *Target
	id      string
	granted int
	asked   time.Duration // boot time just before they were asked for
	within  time.Duration // for how long after that each lets a call be written; 0: for ever

	mu      sync.Mutex
	done    int // not yet returned
	pending int // still in use, or never used
}

// takeProbe takes the probe, where that is what a breaker lets through. It is for
// whoever has all that the call needs; who comes too late for it is told that the
// client is refused. So is who would make it with settings that are not in use any
// more: it was let out for the new ones.
func (e *Engine) takeProbe(ctx context.Context, t *Target, allowed passage, id credential.ID) error {
	if allowed != oneProbe {
		return nil
	}
	if now, err := e.target(t.Name); err != nil || now != t {
		return clientRefused()
	}
	taken, err := e.breakers.probe(ctx, t.Name, id)
	if err == nil && !taken {
		err = clientRefused()
	}
	return err
}

// takeProbeFor takes the probe for turns that were begun. They are given up if it
// is gone: nothing was sent.
func (e *Engine) takeProbeFor(ctx context.Context, t *Target, allowed passage, turns []*turn) error {
	if len(turns) == 0 {
		return nil // it is left to whoever has a call to make
	}
	err := e.takeProbe(ctx, t, allowed, turns[0].held.Record.ID) // where one is let through, there is one
	for _, tn := range turns {
		tn.probe = allowed == oneProbe
		if err != nil {
			e.abandon(ctx, tn)
		}
	}
	return err
}

// takePermits leases up to want permits, waiting for the first at most
// permitWait. If there is none by then, or somebody has paused the client
// meanwhile, the error is an [UnavailableError]; so it is where the journal is
// stalled, for nothing that a permit lets through could be kept then.
func (e *Engine) takePermits(ctx context.Context, t *Target, want int) (*permitLease, error) {
	if err := e.stalled(); err != nil {
		return nil, err
	}
	if t.Limits == (Limits{}) {
		return &permitLease{granted: want}, nil
	}
	permits, wait, err := e.askPermits(ctx, t, want)
	if permits != nil || err != nil {
		return permits, err
	}
	deadline := time.Now().Add(permitWait)
	within, cancel := context.WithDeadlineCause(ctx, deadline, errCrowded)
	defer cancel()
	queue := e.queues.of(t.Name)
	select {
	case queue.first <- struct{}{}:
		defer func() { <-queue.first }()
	case <-within.Done():
		return nil, noPermit(within, wait)
	}
	for { // what was said of the wait is of another moment
		if permits, wait, err = e.askPermits(ctx, t, want); err != nil {
			return nil, err
		}
		if permits != nil {
			if err := e.breakers.onHold(ctx, t.Name); err != nil {
				permits.giveBack(ctx)
				return nil, err
			}
			return permits, nil
		}
		if wait > time.Until(deadline) {
			return nil, crowded(wait)
		}
		if queue.pause(within, wait) != nil {
			return nil, noPermit(within, wait)
		}
	}
}

// stalled tells as an [UnavailableError] that the journal is.
func (e *Engine) stalled() error {
	if e.opts.Stalled == nil {
		return nil
	}
	if err := e.opts.Stalled(); err != nil {
		return &UnavailableError{Reason: credential.ReasonStoreUnavailable, RetryAfter: time.Second, Err: err}
	}
	return nil
}

// askPermits asks once. If there are none, wait says when there may be another, as
// [Taken] does.
func (e *Engine) askPermits(ctx context.Context, t *Target, want int) (permits *permitLease, wait time.Duration, err error) {
	asked := e.clock.Boot()
	got, err := e.permits.Take(ctx, t.Name, t.Limits, want, t.Policy.Times.Attempt()+permitSlack)
	if err != nil {
		return nil, 0, &outageError{err: err}
	}
	if got.Count == 0 {
		return nil, got.Wait, nil
	}
	return &permitLease{
		engine: e, target: t, id: got.ID, granted: got.Count, pending: got.Count, asked: asked, within: got.Within,
	}, 0, nil
}

// permitQueue is where those wait who have found every permit of a provider out.
// Only the first of them goes on asking: a crowd that did would keep the store from
// those who give permits back.
type permitQueue struct {
	first    chan struct{} // holds one
	returned chan struct{} // has one when this process has given permits back
}

// pause lets the first in the queue wait before it asks again: for as long as there
// will be no permit, or until one may have come back.
func (q *permitQueue) pause(ctx context.Context, wait time.Duration) error {
	if wait > 0 {
		return pause(ctx, wait)
	}
	timer := time.NewTimer(permitPoll)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-q.returned:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// gaveBack tells the first in the queue, or who will be it, to look again.
func (q *permitQueue) gaveBack() {
	select {
	case q.returned <- struct{}{}:
	default: // it has been told
	}
}

// permitQueues are those of all providers.
type permitQueues struct {
	mu   sync.Mutex
	each map[string]*permitQueue
}

func newPermitQueues() *permitQueues { return &permitQueues{each: map[string]*permitQueue{}} }

func (q *permitQueues) of(provider string) *permitQueue {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := q.each[provider]
	if one == nil {
		one = &permitQueue{first: make(chan struct{}, 1), returned: make(chan struct{}, 1)}
		q.each[provider] = one
	}
	return one
}

var errCrowded = errors.New("waited for a permit for too long")

// noPermit says for whoever waited until ctx ended why there is no permit.
func noPermit(ctx context.Context, wait time.Duration) error {
	if err := context.Cause(ctx); !errors.Is(err, errCrowded) {
		return err
	}
	return crowded(wait)
}

// crowded says that the limits leave no room for a call before wait has passed.
func crowded(wait time.Duration) *UnavailableError {
	return &UnavailableError{Reason: credential.ReasonRateLimited, RetryAfter: max(wait, time.Second)}
}

// start returns what is asked right before a call is written, one for each
// permit of the lease; nil where that may be at any time. A permit that is used
// long after it was given makes a second fuller than those who count permits
// know. So it lapses, and whoever comes with it then, or once more, waits here for
// another place within the rate: all else that the call needs, he has.
func (p *permitLease) start(ctx context.Context) func() error {
	if p.within == 0 {
		return nil
	}
	used := false
	return func() error {
		late := used || p.engine.clock.Boot()-p.asked > p.within
		used = true
		if !late {
			return nil
		}
		return p.renew(ctx)
	}
}

// doneOne returns a permit, together with others that are done.
func (p *permitLease) doneOne(ctx context.Context) {
	if p.engine == nil {
		return
	}
	p.mu.Lock()
	p.done++
	p.pending--
	n := 0
	if p.done >= max(p.granted/4, 1) || p.pending == 0 {
		n, p.done = p.done, 0
	}
	p.mu.Unlock()
	if n > 0 {
		// Whoever is done has better to do than to wait for the store.
		p.engine.crew.run(func() { p.giveN(ctx, n) })
	}
}

// giveBack returns what is left of the lease.
func (p *permitLease) giveBack(ctx context.Context) {
	if p.engine == nil {
		return
	}
	p.mu.Lock()
	n := p.done + p.pending
	p.done, p.pending = 0, 0
	p.mu.Unlock()
	p.giveN(ctx, n)
}

func (p *permitLease) giveN(ctx context.Context, n int) {
	if n == 0 {
		return
	}
	if failpoint.Hit(failpoint.PermitReturn) != nil {
		return // the lease ends by itself
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitDeadline)
	defer cancel()
	defer p.engine.queues.of(p.target.Name).gaveBack()
	if err := p.engine.permits.Return(ctx, p.target.Name, p.id, n); err != nil {
		p.engine.log.Warn().Err(err).Str("provider", p.target.Name).Int("permits", n).
			Msg("permits could not be returned, their lease will end by itself")
	}
}
