// Package clock relates the clocks that refreshd lives by: the store's, which
// orders what replicas share, and CLOCK_BOOTTIME, which measures durations and
// goes on while the machine is suspended. The wall clock is used for neither.
package clock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// StepLimit is how far the store's clock may move against CLOCK_BOOTTIME
// before it counts as a step, which is handled like a boot.
const StepLimit = 30 * time.Second

// ErrSlowReading says that a step cannot be told from the time that its reading
// took, such as one during which the machine was suspended: where in it the
// source looked at its clock is not known. What was read before holds.
var ErrSlowReading = errors.New("the shared clock was read too slowly to tell a step")

// Source tells the shared time, usually Redis TIME.
type Source interface {
	Now(ctx context.Context) (credential.Millis, error)
}

// Clock tells the shared time between two readings of it. It is safe for
// concurrent use.
type Clock struct {
	source Source
	boot   func() time.Duration

	mu     sync.RWMutex
	at     credential.Millis // the store's time
	since  time.Duration     // at that boot time
	off    time.Duration     // by how much at may be wrong
	synced bool
}

// drift is how much two clocks may part, as a share of the time that passes: a good
// deal more than quartz does.
const drift = 1.0 / 10_000

// New returns a clock over source. boot is the time since the machine was
// booted, suspension included; [Boot] in production. Sync must succeed once
// before Now means anything.
func New(source Source, boot func() time.Duration) *Clock {
	return &Clock{source: source, boot: boot}
}

// Sync reads the source and returns by how much it had moved against what this
// clock expected; 0 for the first reading. The reading is taken to be as old
// as half its round trip, and may be wrong by as much: one that took longer than
// the one before, and does not contradict it, changes nothing.
func (c *Clock) Sync(ctx context.Context) (step time.Duration, err error) {
	before := c.boot()
	now, err := c.source.Now(ctx)
	if err != nil {
		return 0, err
	}
	after := c.boot()
	middle := before + (after-before)/2

	c.mu.Lock()
	defer c.mu.Unlock()
	off := (after-before)/2 + time.Millisecond // it has no finer unit
	if c.synced {
		step = now.Sub(c.at.Add(middle - c.since))
		if took := after - before; step.Abs() > StepLimit && step.Abs() <= took {
			return 0, fmt.Errorf("%w: it took %s", ErrSlowReading, took)
		}
	}
	known := c.off + time.Duration(float64(middle-c.since)*drift)
	if c.synced && known < off && step.Abs() <= off+known {
		return step, nil
	}
	c.at, c.since, c.off, c.synced = now, middle, off, true
	return step, nil
}

// Now returns the store's time as of this moment.
func (c *Clock) Now() credential.Millis {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.at.Add(c.boot() - c.since)
}

// Boot returns the machine's boot time as this clock measures it.
func (c *Clock) Boot() time.Duration { return c.boot() }
