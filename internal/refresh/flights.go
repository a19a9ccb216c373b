package refresh

import (
	"sync"

	"github.com/refreshd/refreshd/internal/credential"
)

// flights makes sure that one process works on a credential once at a time:
// whoever comes second waits for what the first one finds.
type flights struct {
	mu  sync.Mutex
	now map[credential.ID]*flight
}

type flight struct {
	done   chan struct{}
	result settled // valid once done is closed

	stalled  chan struct{}   // closed when the store does not take what came of it
	promised credential.Held // valid once stalled is closed; zero where no token came
}

func newFlights() *flights { return &flights{now: map[credential.ID]*flight{}} }

// join returns the flight of id, and whether the caller leads it and has to
// [flights.land] it.
func (f *flights) join(id credential.ID) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.now[id]; ok {
		return fl, false
	}
	fl := &flight{done: make(chan struct{}), stalled: make(chan struct{})}
	f.now[id] = fl
	return fl, true
}

// stall tells whoever waits for id's flight that it may last as long as the store
// is away. promised is what is served meanwhile, if a token has come.
func (f *flights) stall(id credential.ID, promised credential.Held) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl, ok := f.now[id]
	if !ok {
		return
	}
	select {
	case <-fl.stalled: // told before
	default:
		fl.promised = promised
		close(fl.stalled)
	}
}

func (f *flights) land(id credential.ID, fl *flight, result settled) {
	f.mu.Lock()
	delete(f.now, id)
	f.mu.Unlock()
	fl.result = result
	close(fl.done)
}
