package scheduler

import (
	"sync"
	"time"
)

// longestWindow is how far back claims are remembered.
const longestWindow = 2 * time.Second

// account knows what this process lately claimed of one provider, over all
// shards. A claim shows in the provider's capacity only once a worker has
// begun it; until then it is subtracted here.
type account struct {
	mu     sync.Mutex
	claims []*reservation // oldest first
}

// reservation is a claim, before it is made and after.
type reservation struct {
	at time.Time
	n  int
}

// reserve takes up to want of a capacity, of which what was claimed within
// window is gone already.
func (a *account) reserve(now time.Time, window time.Duration, capacity, want int) *reservation {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.claims) > 0 && now.Sub(a.claims[0].at) >= longestWindow {
		a.claims = a.claims[1:]
	}
	for _, c := range a.claims {
		if now.Sub(c.at) < window {
			capacity -= c.n
		}
	}
	r := &reservation{at: now, n: max(min(want, capacity), 0)}
	if r.n > 0 {
		a.claims = append(a.claims, r)
	}
	return r
}

// settle notes how much of a reservation was claimed.
func (a *account) settle(r *reservation, claimed int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.n = claimed
}
