package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// slot keeps the token of one credential. Reading a token that is good takes no
// lock; everything that asks refreshd is single-flight.
type slot struct {
	client *Client
	id     string
	held   atomic.Pointer[held]
	// pinned is set for a slot that a source or a transport holds: it stays the
	// only one of its credential.
	pinned atomic.Bool

	mu      sync.Mutex
	flights map[errand]*flight
	// era grows when the credential is stored anew or ended: an answer to what
	// was asked before that is not kept.
	era uint64
	// floor is the least version that a token may have to be kept for long:
	// another replica of refreshd may answer from a second ago.
	floor uint64
	// settled is the last rejection that brought no new generation, as that of
	// a session whose backend takes it after all.
	settled settled
}

// errand is what a flight is for: to fetch a token, or to replace the one of a
// rejected generation.
type errand struct {
	replace  bool
	rejected uint64
}

// flight is one errand under way, for all who wait for it. held and err are
// set before done closes.
type flight struct {
	done chan struct{}
	held *held
	err  error
}

type settled struct {
	rejected uint64
	at       time.Time
}

// settledFor is how long the answer to a rejection serves those who come late
// with the same one, when it brought no new generation.
const settledFor = 5 * time.Second

// patient is how long a caller waits at the most for a better token while the
// one in hand is still valid.
const patient = 2 * time.Second

// good returns a token that is good enough, without waiting if there is one in
// hand.
func (s *slot) good(ctx context.Context) (*held, error) {
	now := time.Now()
	h := s.held.Load()
	if h != nil && !h.next.passed(now) {
		return h, nil
	}
	if h == nil || h.dead.passed(now) {
		return s.await(ctx, errand{})
	}
	if h.until.passed(now) {
		return s.awaitBriefly(ctx, h)
	}
	if h.ahead.passed(now) && h.asked.CompareAndSwap(false, true) {
		// Nobody waits for it: if the client is closed, the token in hand has to
		// do until its end.
		_, _ = s.fly(errand{})
	}
	return h, nil
}

// replace returns a token of another generation than the rejected one, or one
// of the same that refreshd has just seen to be taken.
func (s *slot) replace(ctx context.Context, rejected uint64) (*held, error) {
	if h := s.replaced(rejected); h != nil {
		return h, nil
	}
	return s.await(ctx, errand{replace: true, rejected: rejected})
}

// replaced returns the token in hand if it answers a rejection already.
func (s *slot) replaced(rejected uint64) *held {
	now := time.Now()
	h := s.held.Load()
	if rejected == 0 || h == nil || h.dead.passed(now) {
		return nil
	}
	if h.token.Generation > rejected {
		return h
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled.rejected == rejected && h.token.Generation == rejected && now.Sub(s.settled.at) < settledFor {
		return h
	}
	return nil
}

// await joins or begins a flight and waits for it, no longer than ctx.
func (s *slot) await(ctx context.Context, e errand) (*held, error) {
	if err := ctx.Err(); err != nil {
		return nil, ended(ctx, err)
	}
	f, ok := s.fly(e)
	if !ok {
		return nil, ErrClosed
	}
	select {
	case <-f.done:
		return f.held, f.err
	case <-ctx.Done():
		return nil, ended(ctx, ctx.Err())
	}
}

// awaitBriefly waits for a better token than the one in hand, which is still
// valid. A refreshd that does not answer must not hold up those who could go
// on with that.
func (s *slot) awaitBriefly(ctx context.Context, h *held) (*held, error) {
	brief, cancel := context.WithTimeoutCause(ctx, patient, errSlow)
	defer cancel()
	better, err := s.await(brief, errand{})
	if err == nil || !errors.Is(err, errSlow) {
		return better, err
	}
	now := time.Now()
	if h.dead.passed(now) {
		return s.await(ctx, errand{})
	}
	// The others need not wait; what is under way goes on.
	s.held.CompareAndSwap(h, h.postponed(now, 0))
	return h, nil
}

// fly returns the flight for an errand, which it begins if there is none; false
// if the client is closed.
func (s *slot) fly(e errand) (*flight, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[e]; f != nil {
		return f, true
	}
	f, era := &flight{done: make(chan struct{})}, s.era
	if !s.client.spawn(func(ctx context.Context) { s.land(ctx, e, f, era) }) {
		return nil, false
	}
	if s.flights == nil {
		s.flights = make(map[errand]*flight, 1)
	}
	s.flights[e] = f
	return f, true
}

// land does an errand and tells all who wait.
func (s *slot) land(ctx context.Context, e errand, f *flight, era uint64) {
	if e.replace {
		f.held, f.err = s.askRefresh(ctx, e.rejected, era)
	} else {
		f.held, f.err = s.askToken(ctx, era)
	}
	if f.err != nil && context.Cause(ctx) != nil {
		f.err = ErrClosed
	}
	s.mu.Lock()
	if s.flights[e] == f {
		delete(s.flights, e)
	}
	s.mu.Unlock()
	close(f.done)
}

// askToken fetches a token. One that is valid serves on where refreshd has no
// better one.
func (s *slot) askToken(ctx context.Context, era uint64) (*held, error) {
	fresh, err := s.client.fetch(ctx, s.id, s.client.minTTL)
	switch {
	case err == nil:
		return s.keep(fresh, era), nil
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrLoggedOut):
		s.forget(era)
		return nil, err
	case errors.Is(err, ErrUnavailable):
		if h := s.goOn(err, era); h != nil {
			return h, nil
		}
	default:
	}
	if shorter(err) {
		// Whatever is valid at all will do; the first answer tells why if not.
		if fresh, less := s.client.fetch(ctx, s.id, 0); less == nil {
			return s.keep(fresh, era), nil
		}
	}
	if h := s.goOn(err, era); h != nil {
		return h, nil
	}
	return nil, err
}

// shorter reports whether refreshd may still have a token for somebody who asks
// for less time.
func shorter(err error) bool {
	told, ok := errors.AsType[*Error](err)
	return ok && (told.Code == "unavailable" || told.Code == "min_ttl" || errors.Is(err, ErrReauthRequired) || errors.Is(err, ErrNotRefreshable))
}

// goOn returns the token in hand, put off as err says, if it is still valid.
func (s *slot) goOn(err error, era uint64) *held {
	var wait time.Duration
	if away, ok := errors.AsType[*UnavailableError](err); ok {
		wait = away.RetryAfter
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	old := s.held.Load()
	if s.era != era || old == nil || old.dead.passed(now) {
		return nil
	}
	later := old.postponed(now, wait)
	s.held.Store(later)
	return later
}

// askRefresh tells refreshd that a generation was rejected.
func (s *slot) askRefresh(ctx context.Context, rejected, era uint64) (*held, error) {
	if h := s.replaced(rejected); h != nil {
		return h, nil // it came between the question and the flight
	}
	least := rejected
	if h := s.held.Load(); h != nil {
		least = max(least, h.token.Generation)
	}
	fresh, err := s.client.exchange(ctx, s.id, rejected, least)
	switch {
	case err == nil:
		fresh = s.keep(fresh, era)
		s.mu.Lock()
		defer s.mu.Unlock()
		if rejected != 0 && fresh.token.Generation == rejected && s.era == era {
			s.settled = settled{rejected: rejected, at: time.Now()}
		}
		return fresh, nil
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrLoggedOut), errors.Is(err, ErrReauthRequired):
		// The token in hand is the rejected one or an older.
		s.forget(era)
	case errors.Is(err, ErrConflict):
		// refreshd has never handed out that generation: it was put back to an
		// earlier state. What it has now is what counts.
		s.forget(era)
		return s.askToken(ctx, era)
	default:
	}
	return nil, err
}

// keep puts a token into the slot, unless a newer one is there or the
// credential has changed hands since it was asked for; it returns the one to
// hand out.
func (s *slot) keep(fresh *held, era uint64) *held {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.era != era {
		return fresh // for those who asked then
	}
	now := time.Now()
	if fresh.token.Version < s.floor {
		fresh = fresh.timed(now.Add(aheadLeast), now.Add(aheadLeast))
	}
	if old := s.held.Load(); old != nil && old.token.Version > fresh.token.Version && !old.until.passed(now) {
		old = old.left(now)
		s.held.Store(old)
		return old
	}
	s.held.Store(fresh)
	return fresh
}

// forget drops the token in hand after refreshd has said that it is none any
// more.
func (s *slot) forget(era uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.era == era {
		s.held.Store(nil)
	}
}

// renounce drops what is in hand and what is under way: the credential was
// stored anew or ended, at that version if it is known.
func (s *slot) renounce(version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.era++
	s.floor = max(s.floor, version)
	s.settled = settled{}
	clear(s.flights)
	s.held.Store(nil)
}

// suspect makes sure that refreshd is asked before what is in hand is used
// again: the credential may have been stored anew or ended. If it cannot be
// asked, the token in hand serves on.
func (s *slot) suspect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.era++
	clear(s.flights)
	if h := s.held.Load(); h != nil {
		s.held.Store(h.doubted(time.Now()))
	}
}

// idle reports whether nothing would be lost with the slot.
func (s *slot) idle(now time.Time) bool {
	if s.pinned.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held.Load()
	return len(s.flights) == 0 && (h == nil || h.dead.passed(now))
}
