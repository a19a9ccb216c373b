package refresh

import (
	"maps"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// ledger knows the attempts that this process holds in memory, and what it has
// written that the store may still lose.
type ledger struct {
	mu       sync.Mutex
	open     map[credential.Nonce]*turn // nil until begin has answered
	retained []retained
	writes   []lately
	handed   map[credential.Nonce]*handed
	asides   map[string]aside // by what was changed
}

// retained is a journal record whose commit has been acknowledged.
type retained struct {
	nonce credential.Nonce
	since time.Duration // boot time
}

// lately is a write that the store has acknowledged.
type lately struct {
	Written

	since time.Duration // boot time
}

// handed is a write that was handed over to the store and has had no answer: it
// may have been stored.
type handed struct {
	lately // since: when it can have been stored last

	before bool // it had been handed over before, and that had no answer either
}

func newLedger() *ledger {
	return &ledger{open: map[credential.Nonce]*turn{}, handed: map[credential.Nonce]*handed{}, asides: map[string]aside{}}
}

// begun notes an attempt that is asked for.
func (l *ledger) begun(nonce credential.Nonce) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[nonce] = nil
}

// granted notes the turn that an attempt became.
func (l *ledger) granted(tn *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[tn.attempt.Nonce] = tn
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

// attempts returns the attempts that are held, by credential: of two for one
// credential the later one, by this machine's clock. The store's may fall back.
func (l *ledger) attempts() map[credential.ID]credential.Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make(map[credential.ID]credential.Attempt, len(l.open))
	asked := make(map[credential.ID]time.Duration, len(l.open))
	for _, tn := range l.open {
		if tn == nil {
			continue
		}
		id := tn.held.Record.ID
		if last, ok := asked[id]; !ok || last < tn.asked {
			list[id], asked[id] = tn.attempt, tn.asked
		}
	}
	return list
}

func (l *ledger) retains(nonce credential.Nonce) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.retained {
		if r.nonce == nonce {
			return true
		}
	}
	return false
}

func (l *ledger) retain(now time.Duration, nonces ...credential.Nonce) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, nonce := range nonces {
		l.retained = append(l.retained, retained{nonce: nonce, since: now})
	}
}

// hands notes writes that are about to be handed over to the store.
func (l *ledger) hands(now time.Duration, list []Written) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range list {
		_, before := l.handed[w.Write.Nonce]
		l.handed[w.Write.Nonce] = &handed{lately: lately{Written: w, since: now}, before: before}
	}
}

// unheard notes that no answer to writes will come.
func (l *ledger) unheard(now time.Duration, list []Written) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range list {
		if h := l.handed[w.Write.Nonce]; h != nil {
			h.since = now
		}
	}
}

// refused forgets a write that the store did not make this time, and reports
// whether it never can have made it.
func (l *ledger) refused(nonce credential.Nonce) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.handed[nonce]; h != nil && h.before {
		return false
	}
	delete(l.handed, nonce)
	return true
}

// wrote notes a write that was acknowledged.
func (l *ledger) wrote(now time.Duration, w Written) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.handed, w.Write.Nonce)
	l.writes = append(l.writes, lately{Written: w, since: now})
}

// acknowledged notes a change of what is no credential, in place of the one
// before.
func (l *ledger) acknowledged(what string, change aside) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asides[what] = change
}

// acknowledgedLately returns those changes that the store may have lost.
func (l *ledger) acknowledgedLately() map[string]aside {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.asides)
}

// lately returns the writes that the store has acknowledged and may have lost.
func (l *ledger) lately() chains {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make(chains)
	for _, w := range l.writes {
		list.add(w.Written)
	}
	return list
}

// unanswered returns the writes of which it is not known whether they were ever
// stored.
func (l *ledger) unanswered() chains {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make(chains)
	for _, h := range l.handed {
		list.add(h.Written)
	}
	return list
}

// anew has the time count from now for which what was put back may be lost again.
func (l *ledger) anew(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.retained {
		l.retained[i].since = now
	}
	for i := range l.writes {
		l.writes[i].since = now
	}
	for _, h := range l.handed {
		h.since = now
	}
	for what, change := range l.asides {
		change.since = now
		l.asides[what] = change
	}
}

// expired forgets what was acknowledged at or before limit, or had no answer by
// then, and returns the journal's records among it.
func (l *ledger) expired(limit time.Duration) []credential.Nonce {
	l.mu.Lock()
	defer l.mu.Unlock()
	var nonces []credential.Nonce
	n := 0
	for n < len(l.retained) && l.retained[n].since <= limit {
		nonces = append(nonces, l.retained[n].nonce)
		n++
	}
	l.retained = append([]retained(nil), l.retained[n:]...)
	maps.DeleteFunc(l.asides, func(_ string, change aside) bool { return change.since <= limit })
	n = 0
	for n < len(l.writes) && l.writes[n].since <= limit {
		n++
	}
	if n > 0 {
		l.writes = append([]lately(nil), l.writes[n:]...)
	}
	for nonce, h := range l.handed {
		if h.since <= limit {
			delete(l.handed, nonce)
			nonces = append(nonces, noteNonce(h.Write))
		}
	}
	return nonces
}

// horizon returns the boot time up to which whatever the store acknowledged
// cannot be lost any more: by then it was still the same run, and the loss
// window has passed. While the store is away, or another run, it stands still.
func (e *Engine) horizon() time.Duration {
	return time.Duration(e.barrier.confirmed.Load()) - e.opts.Loss()
}

// dropRetained forgets what the store is known to hold.
func (e *Engine) dropRetained() {
	nonces := e.ledger.expired(e.horizon())
	if len(nonces) == 0 || failpoint.Hit(failpoint.ReleaseBefore) != nil {
		return
	}
	e.journal.Drop(nonces...)
	_ = failpoint.Hit(failpoint.ReleaseDropped) // nobody waits for it
}
