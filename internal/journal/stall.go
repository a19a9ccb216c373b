package journal

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// What is under way on the disk for so many looks counts as stalled. A slow disk
// syncs within tenths of a second, and one that many share within two or three; and
// an attempt that has waited so long for its intent would mostly be too late to be
// sent. Looks are counted, and not time alone: a process that stood still itself makes
// one of them when it goes on, however long that was.
const (
	stallLook  = time.Second
	stallLooks = 5
)

// stall tells of what is under way on the disk and neither fails nor returns. It
// is asked without the journal's lock, which may be held meanwhile.
type stall struct {
	path      string
	onStalled func(error)
	onResumed func()
	now       atomic.Pointer[spell]

	mu       sync.Mutex
	standing int // steps that have stalled
}

// spell is a time in which the disk answers, until begun is closed.
type spell struct {
	begun chan struct{}
	err   error // set before begun is closed
}

func newStall(path string, onStalled func(error), onResumed func()) *stall {
	s := &stall{path: path, onStalled: onStalled, onResumed: onResumed}
	s.now.Store(&spell{begun: make(chan struct{})})
	return s
}

// trouble is nil while the disk answers.
func (s *stall) trouble() error {
	now := s.now.Load()
	select {
	case <-now.begun:
		return now.err
	default:
		return nil
	}
}

// step watches what is done to the disk from now on until end is called.
func (s *stall) step() (end func()) {
	one := &stallStep{stall: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	one.timer = time.AfterFunc(stallLook, one.look)
	return one.end
}

// stallStep is one thing that is done to the disk. Its stall's lock guards it.
type stallStep struct {
	stall *stall
	timer *time.Timer
	looks int
	over  bool
}

func (one *stallStep) look() {
	s := one.stall
	s.mu.Lock()
	defer s.mu.Unlock()
	if one.over {
		return
	}
	if one.looks++; one.looks < stallLooks {
		one.timer.Reset(stallLook)
		return
	}
	if s.standing++; s.standing > 1 {
		return
	}
	now := s.now.Load()
	now.err = fmt.Errorf("%w: %s: a write or a sync has not returned for %s", ErrStalled, s.path, stallLooks*stallLook)
	close(now.begun)
	if s.onStalled != nil {
		s.onStalled(now.err)
	}
}

func (one *stallStep) end() {
	s := one.stall
	s.mu.Lock()
	defer s.mu.Unlock()
	one.over = true
	one.timer.Stop()
	if one.looks < stallLooks {
		return
	}
	if s.standing--; s.standing > 0 {
		return
	}
	s.now.Store(&spell{begun: make(chan struct{})})
	if s.onResumed != nil {
		s.onResumed()
	}
}
