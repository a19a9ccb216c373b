package practice

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// faults is the list of faults that were added. While none is active, asking
// costs one atomic load.
type faults struct {
	mu     sync.Mutex
	next   int
	all    []*activeFault
	active atomic.Int32
}

type activeFault struct {
	id    string
	fault Fault
	until time.Time // zero: no end
	hits  int
	draw  *rand.Rand
	over  bool
}

// hit is a fault that a call has taken.
type hit struct {
	*Fault
	number int // of the fault's hits, from 0
}

// AddFault adds a fault and returns its ID. Its errors wrap [ErrInvalid].
func (s *Server) AddFault(f Fault) (string, error) {
	if err := f.validate(); err != nil {
		return "", err
	}
	a := &activeFault{fault: f}
	if f.For > 0 {
		a.until = time.Now().Add(f.For)
	}
	if f.Probability > 0 {
		a.draw = rand.New(rand.NewPCG(f.Seed, 0)) //nolint:gosec // a repeatable sequence is the point; no secret comes from it
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.next++
	a.id = "f" + strconv.Itoa(s.faults.next)
	s.faults.all = append(s.faults.all, a)
	s.faults.active.Add(1)
	return a.id, nil
}

// RemoveFault removes one fault and reports whether there was one. Calls that
// have taken it already go on under it.
func (s *Server) RemoveFault(id string) bool {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	i := slices.IndexFunc(s.faults.all, func(a *activeFault) bool { return a.id == id })
	if i < 0 {
		return false
	}
	s.faults.end(s.faults.all[i])
	s.faults.all = slices.Delete(s.faults.all, i, i+1)
	return true
}

// ClearFaults removes all faults.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.all = nil
	s.faults.active.Store(0)
}

// Faults returns all faults in the order in which they were added.
func (s *Server) Faults() []FaultState {
	now := time.Now()
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	states := make([]FaultState, 0, len(s.faults.all))
	for _, a := range s.faults.all {
		s.faults.expire(a, now)
		states = append(states, FaultState{ID: a.id, Fault: a.fault, Hits: a.hits, Active: !a.over})
	}
	return states
}

func (fs *faults) end(a *activeFault) {
	if !a.over {
		a.over = true
		fs.active.Add(-1)
	}
}

func (fs *faults) expire(a *activeFault, now time.Time) {
	if !a.until.IsZero() && !now.Before(a.until) {
		fs.end(a)
	}
}

// take returns the first active fault that fits, or a hit without a fault.
func (fs *faults) take(grant, client string, now time.Time) hit {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, a := range fs.all {
		fs.expire(a, now)
		if a.over || a.fault.Grant != "" && a.fault.Grant != grant || a.fault.Client != "" && a.fault.Client != client {
			continue
		}
		if a.draw != nil && a.draw.Float64() >= a.fault.Probability {
			continue
		}
		number := a.hits
		a.hits++
		if a.hits == a.fault.Count {
			fs.end(a)
		}
		return hit{Fault: &a.fault, number: number}
	}
	return hit{}
}
