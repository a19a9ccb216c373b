package refresh

import (
	"sync"
	"time"
)

// fastest bounds from below how long a permit is taken to be in use.
const fastest = 5 * time.Millisecond

// pace remembers how long each provider's exchanges take of late, which tells
// how often a permit comes free.
type pace struct {
	mu  sync.Mutex
	now map[string]time.Duration // a moving average
}

func newPace() *pace { return &pace{now: map[string]time.Duration{}} }

// saw notes one exchange. The newest weighs an eighth.
func (p *pace) saw(provider string, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, ok := p.now[provider]
	if !ok {
		before = took
	}
	p.now[provider] = before + (took-before)/8
}

// turnover estimates how many exchanges there is room for at a provider within
// horizon, however many are in the air now; 0 if nothing is known of it yet.
func (p *pace) turnover(provider string, limits Limits, horizon time.Duration) int {
	p.mu.Lock()
	took, ok := p.now[provider]
	p.mu.Unlock()
	if !ok || limits.Concurrency == 0 {
		return 0
	}
	return int(float64(limits.Concurrency) * horizon.Seconds() / max(took, fastest).Seconds())
}
