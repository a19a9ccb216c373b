package scheduler

import (
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/schedule"
)

// openedAt returns the Unix time at which the slot of now was opened, 0 if
// none ever was. "@every d" counts its slots, a cron expression names them by
// their moment; as moments they stay comparable when a schedule is replaced by
// one of the other kind.
func openedAt(s schedule.Schedule, now time.Time) int64 {
	slot, unix := s.Slot(now), now.Unix()
	every := int64(s.Interval() / time.Second)
	if at := slot * every; at <= unix && unix-at < every {
		return at
	}
	return slot
}

// step is what a look at a schedule leads to.
type step int

const (
	stepNone   step = iota // the slot is done, or somebody works on it
	stepOpen               // nobody has begun the slot
	stepResume             // whoever worked on the slot is dead
	stepExtra              // what is stored is of the future: the clock was ahead
)

// decide tells what to do about the slot that was opened at slot; next is when
// the following one will be. Slots before it that were missed are not done any
// more.
func decide(stored Slot, slot, next int64, now credential.Millis) step {
	switch {
	case slot == 0:
		return stepNone // the schedule never fired yet
	case stored.Done > next, stored.Running > next:
		// The store goes no further back than this, so until the clock has
		// come there again, sweeps are made without it.
		return stepExtra
	case stored.Done >= slot:
		return stepNone
	case stored.Running != 0 && stored.Until > now:
		return stepNone // also for an earlier slot: it ends before long
	case stored.Running == slot:
		return stepResume
	default:
		return stepOpen
	}
}

// within returns how long a sweep on this schedule may take.
func within(s schedule.Schedule, most time.Duration) time.Duration {
	if interval := s.Interval(); interval > 0 {
		return min(interval, most)
	}
	return most
}

// capped is a schedule as robfig's cron sees it. Cron sleeps on the monotonic
// clock until the next fire, which may be hours ahead and is reached too late
// after a suspension; so it is woken every 30 s, and whether something is to be
// done is decided by slot. Moments are the store's, for replicas to agree.
type capped struct {
	schedule schedule.Schedule
	clock    Clock
}

const longestSleep = 30 * time.Second

// Next returns when to look again, after t on the wall clock.
func (c capped) Next(t time.Time) time.Time {
	wait := longestSleep
	now := c.clock.Now().Time()
	if at := c.schedule.Next(now); !at.IsZero() {
		wait = min(wait, at.Sub(now))
	}
	return t.Add(max(wait, time.Millisecond))
}
