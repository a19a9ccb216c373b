package refresh

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// places are handed out to those whose permits for one provider have lapsed. One
// of them asks for all who wait: when a whole crowd is late, each asking for
// himself would keep the others late.
type places struct {
	turn chan struct{} // held by the one who asks

	mu   sync.Mutex
	line []place // of those who wait, in order
}

// place is told the boot time at which it was asked for.
type place chan time.Duration

// lateAtOnce is how many places are asked for together: so many calls can be
// written before the places lapse as well.
const lateAtOnce = 100

var errNoPlace = errors.New("no place within the rate in time")

// lapsed is where those wait whose permits have lapsed, by provider.
type lapsed struct {
	mu sync.Mutex
	of map[string]*places
}

func newLapsed() *lapsed { return &lapsed{of: map[string]*places{}} }

func (l *lapsed) places(provider string) *places {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.of[provider]
	if p == nil {
		p = &places{turn: make(chan struct{}, 1)}
		l.of[provider] = p
	}
	return p
}

func (p *places) join(mine place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = append(p.line, mine)
}

func (p *places) leave(mine place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at := slices.Index(p.line, mine); at >= 0 {
		p.line = slices.Delete(p.line, at, at+1)
	}
}

func (p *places) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.line)
}

// give hands places that were asked for at a moment to the first in the line.
func (p *places) give(count int, asked time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(count, len(p.line))
	for _, one := range p.line[:n] {
		one <- asked // it has room, and is in the line once
	}
	p.line = slices.Delete(p.line, 0, n)
}

// renew waits for another place within the rate, no longer than until the call
// would be sent too late. The error is an [UnavailableError] if there is none by
// then, or somebody has paused the client meanwhile.
func (l *permitLease) renew(ctx context.Context) error {
	e := l.engine
	last := l.asked + l.target.Policy.Times.Send
	left := last - e.clock.Boot()
	if left <= 0 {
		return crowded(0)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, left, errNoPlace)
	defer cancel()
	p, mine := e.lapsed.places(l.target.Name), make(place, 1)
	p.join(mine)
	defer p.leave(mine)
	for {
		select {
		case asked := <-mine:
			if e.clock.Boot()-asked <= l.within {
				return e.breakers.onHold(ctx, l.target.Name)
			}
			p.join(mine) // it has lapsed as well
			continue
		default:
		}
		select {
		case asked := <-mine:
			mine <- asked
		case p.turn <- struct{}{}:
			err := l.askFor(ctx, p, mine, last)
			<-p.turn
			if err != nil {
				return noPlace(err)
			}
		case <-ctx.Done():
			return noPlace(context.Cause(ctx))
		}
	}
}

// askFor asks for places for all who wait, until mine has come.
func (l *permitLease) askFor(ctx context.Context, p *places, mine place, last time.Duration) error {
	e, t := l.engine, l.target
	for len(mine) == 0 {
		want := min(p.waiting(), lateAtOnce)
		asked := e.clock.Boot()
		if asked >= last {
			return errNoPlace
		}
		got, err := e.permits.Take(ctx, t.Name, Limits{PerSecond: t.Limits.PerSecond}, want, 0)
		if err != nil {
			return &outageError{err: err}
		}
		p.give(got.Count, asked)
		if len(mine) > 0 || got.Count == want {
			continue
		}
		wait := max(got.Wait, time.Millisecond)
		if wait > last-e.clock.Boot() {
			return crowded(wait)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// noPlace says for whoever asked that there was no place in time.
func noPlace(err error) error {
	if errors.Is(err, errNoPlace) {
		return crowded(0)
	}
	return err
}
