package scheduler

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// fakeAccount is an Account in memory, and the workers besides: what is claimed
// they have begun after a moment, unless waits says that they tell.
type fakeAccount struct {
	mu     sync.Mutex
	claims map[string][]*reservation // by provider, the oldest first
	waits  bool
}

type reservation struct {
	at time.Time
	n  int
}

func (f *fakeAccount) ReserveClaims(_ context.Context, provider string, room, want int) (int, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	lasts := 100 * time.Millisecond
	if f.waits {
		lasts = claimLasts
	}
	for _, c := range f.claims[provider] {
		if now.Sub(c.at) < lasts {
			room -= c.n
		}
	}
	r := &reservation{at: now, n: max(min(want, room), 0)}
	f.claims[provider] = append(f.claims[provider], r)
	return r.n, strconv.Itoa(len(f.claims[provider]) - 1), nil
}

func (f *fakeAccount) SettleClaims(_ context.Context, provider, id string, claimed int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := strconv.Atoi(id)
	if err != nil {
		return err
	}
	f.claims[provider][i].n = claimed
	return nil
}

// done is what a worker tells of what it has begun of a reservation.
func (f *fakeAccount) done(provider, id string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, err := strconv.Atoi(id)
	if err != nil {
		return
	}
	c := f.claims[provider][i]
	c.n -= min(c.n, n)
}
