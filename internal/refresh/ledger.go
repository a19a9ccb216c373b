package refresh

import (
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// ledger knows the attempts that this process holds in memory, and the journal
// records that wait for their loss window to pass.
type ledger struct {
	mu       sync.Mutex
	open     map[credential.Nonce]struct{}
	retained []retained
}

// retained is a journal record whose commit has been acknowledged.
type retained struct {
	nonce credential.Nonce
	since time.Duration // boot time
}

func newLedger() *ledger { return &ledger{open: map[credential.Nonce]struct{}{}} }

func (l *ledger) begun(nonce credential.Nonce) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[nonce] = struct{}{}
}

// ended forgets an attempt that was settled in the store, or that never was
// begun.
func (l *ledger) ended(nonce credential.Nonce) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, nonce)
}

func (l *ledger) holds(nonce credential.Nonce) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.open[nonce]
	return ok
}

func (l *ledger) retains(nonce credential.Nonce) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.retained, func(r retained) bool { return r.nonce == nonce })
}

func (l *ledger) retain(now time.Duration, nonces ...credential.Nonce) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, nonce := range nonces {
		l.retained = append(l.retained, retained{nonce: nonce, since: now})
	}
}

// expired takes out the records that were committed at or before limit.
func (l *ledger) expired(limit time.Duration) []credential.Nonce {
	l.mu.Lock()
	defer l.mu.Unlock()
	var nonces []credential.Nonce
	for len(l.retained) > 0 && l.retained[0].since <= limit {
		nonces = append(nonces, l.retained[0].nonce)
		l.retained = l.retained[1:]
	}
	return nonces
}

// dropRetained forgets the journal's records that the store is known to hold.
func (e *Engine) dropRetained() {
	if nonces := e.ledger.expired(e.clock.Boot() - e.opts.Retain); len(nonces) > 0 {
		e.journal.Drop(nonces...)
	}
}
