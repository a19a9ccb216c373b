package wire

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// How many replies of one client may be read and not yet dealt with: as many
// as the processors can work on, and enough that a sync of the journal, which
// takes along all that wait for it, is worth its time. With 16 on two
// processors a burst of a thousand replies was dealt with as fast as without a
// gate, with 8 in twice the time.
const (
	minReplies     = 16
	repliesPerProc = 4
)

// maxWait is how long a reply is left unread for want of a place. That is far
// above what a sync of the journal takes. Where a disk stalls for longer, a
// reply that goes on waiting is lost for certain when its call's time is up,
// one that is read only if the process dies.
const maxWait = 2 * time.Second

var errOver = errors.New("the call is over")

// gate bounds how many replies have been taken from the network and are not
// yet dealt with. What was read exists only in this process until the caller
// has kept it, or was told of it as it came ([Request.Came]), which ends its place:
// the others are not to wait for the sync of a disk; what still lies in the kernel's buffer when the process dies is
// reset, by which the provider sees that it was not delivered. Without the
// gate a burst of answers would be read at once by as many goroutines, of which
// each then waits for all others before it can keep anything.
type gate struct {
	// taken holds a value for each place that is taken. Those who wait get
	// theirs in the order in which they came.
	taken    chan struct{}
	patience time.Duration // after which a reply is read without a place
	crowded  func(so uint64)
	without  atomic.Uint64 // replies that were
}

// newGate returns a gate. crowded, which may be nil, hears of each reply that
// was read without a place, and how many these were.
func newGate(places int, patience time.Duration, crowded func(so uint64)) *gate {
	return &gate{taken: make(chan struct{}, places), patience: patience, crowded: crowded}
}

// places is how many places a client's gate has.
func places() int { return max(minReplies, repliesPerProc*runtime.GOMAXPROCS(0)) }

// slot is one call's place in the gate. Its connection takes it before it
// reads a part of the reply, and gives it back while there is nothing to read,
// so that a slow provider holds up nobody; the call ends it. As no call has
// more than one, nobody waits for a place while holding one.
type slot struct {
	gate *gate
	done <-chan struct{} // the call's time is up, or it was called off
	time *allowance      // of the call; nil if it has no end

	mu      sync.Mutex // the connection's reader, and the call
	held    bool
	without bool // the reply is read without a place, to its end
	over    bool
}

// take returns once the slot is held, at once if it is, and goes without when
// none was to be had for too long. The error is errOver if the call ended
// instead: then nothing may be read for it.
func (s *slot) take() error {
	s.mu.Lock()
	ready, over := s.held || s.without, s.over
	s.mu.Unlock()
	if ready {
		return nil
	}
	if over {
		return errOver
	}
	select {
	case s.gate.taken <- struct{}{}:
		return s.taken()
	default:
	}
	s.time.hold(true)
	defer s.time.hold(false)
	timer := time.NewTimer(s.gate.patience)
	defer timer.Stop()
	select {
	case s.gate.taken <- struct{}{}:
		return s.taken()
	case <-s.done:
		return errOver
	case <-timer.C:
		return s.goWithout()
	}
}

// taken notes that a place was taken, or gives it back if the call has ended.
func (s *slot) taken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		<-s.gate.taken
		return errOver
	}
	s.held = true
	return nil
}

// goWithout notes that the reply is read without a place.
func (s *slot) goWithout() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return errOver
	}
	s.without = true
	so := s.gate.without.Add(1)
	if s.gate.crowded != nil {
		s.gate.crowded(so)
	}
	return nil
}

// giveBack lets others have the slot until it is taken again.
func (s *slot) giveBack() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
}

// end gives the slot back for good. It may be called more than once; on nil it
// does nothing.
func (s *slot) end() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.without = true, false
	s.release()
}

// release gives up what is held. It never blocks: the gate holds our value, or
// one that is as good.
func (s *slot) release() {
	if s.held {
		s.held = false
		<-s.gate.taken
	}
}
