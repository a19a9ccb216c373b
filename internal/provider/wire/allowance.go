package wire

import (
	"sync"
	"time"
)

// An allowance is used up in so many slices, none of them shorter than the
// shortest.
const (
	sliceCount = 10
	minSlice   = 50 * time.Millisecond
)

// allowance is the time that a call has, of which only that counts in which
// the process runs. A process that stood still (SIGSTOP, a paused machine)
// finds all its timers fired when it goes on, and the replies that came
// meanwhile unread in its sockets: a single timer would have it throw them
// away. So the time is measured in slices, each of which begins when the one
// before it was seen to end: standing still costs one at the most.
type allowance struct {
	mu    sync.Mutex
	left  time.Duration // with the current slice
	slice time.Duration
	held  bool // what the call waits for is in this process
	over  bool
	ended func()
	timer *time.Timer
}

// allow calls ended, in a goroutine of its own, once d was used up, unless the
// allowance was stopped before.
func allow(d time.Duration, ended func()) *allowance {
	a := &allowance{left: d, slice: max(d/sliceCount, minSlice), ended: ended}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(a.current(), a.used)
	return a
}

// current is how long the current slice is.
func (a *allowance) current() time.Duration { return min(a.slice, a.left) }

// used begins the next slice.
func (a *allowance) used() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return
	}
	if !a.held {
		a.left -= a.current()
	}
	if a.left > 0 {
		a.timer.Reset(a.current())
		return
	}
	a.over = true
	a.ended()
}

// hold stops the count while the request waits to be written, or the reply is
// there and waits for its turn: that time is ours and not the provider's. It may
// be called on nil.
func (a *allowance) hold(held bool) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held = held
}

// stop ends the count. What ended does has been done by then, or will not be.
func (a *allowance) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	a.timer.Stop()
}
