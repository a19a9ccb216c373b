package refresh

import (
	"sync"
	"time"
)

// crewIdle is how long a goroutine waits for more work before it ends.
const crewIdle = 5 * time.Second

// crew runs functions on goroutines that stay for the next one. An exchange
// needs a deep stack; a goroutine of its own for each would grow one every
// time, which was measured to cost an eighth of the processor time of a
// refresh.
type crew struct {
	work chan func()
	quit chan struct{}
	once sync.Once
	all  sync.WaitGroup
}

func newCrew() *crew { return &crew{work: make(chan func()), quit: make(chan struct{})} }

// run runs f soon, on a goroutine that waits or on a new one.
func (c *crew) run(f func()) {
	select {
	case c.work <- f:
	default:
		c.all.Go(func() { c.member(f) })
	}
}

func (c *crew) member(f func()) {
	idle := time.NewTimer(crewIdle)
	defer idle.Stop()
	for {
		f()
		idle.Reset(crewIdle)
		select {
		case f = <-c.work:
		case <-idle.C:
			return
		case <-c.quit:
			return
		}
	}
}

// stop ends the goroutines and waits for what they run.
func (c *crew) stop() {
	c.once.Do(func() { close(c.quit) })
	c.all.Wait()
}
