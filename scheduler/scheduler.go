package scheduler

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/schedule"
	"github.com/refreshd/refreshd/tasks"
)

// Scheduler is one replica's part in deciding when. Create it with [New], give
// it providers with [Scheduler.SetSchedules], then [Scheduler.Start]; end it
// with [Scheduler.Stop].
type Scheduler struct {
	dispatcher   *dispatcher
	periodic     *periodic
	watch        *clockWatch
	housekeeping *housekeeping

	ctx    context.Context //nolint:containedctx // the scheduler's own life: its loops outlive whoever called Start
	cancel context.CancelFunc
	start  sync.Once
	loops  sync.WaitGroup
}

const (
	defaultPoll        = time.Second
	defaultFetchWithin = tasks.SweepWithin
)

// New returns a scheduler without providers and registers its metrics.
func New(opts Options) *Scheduler {
	if opts.Poll <= 0 {
		opts.Poll = defaultPoll
	}
	if opts.FetchWithin <= 0 {
		opts.FetchWithin = defaultFetchWithin
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := newMetrics(opts.Registerer)
	s := &Scheduler{
		dispatcher:   newDispatcher(opts, m),
		periodic:     newPeriodic(ctx, opts, m),
		housekeeping: &housekeeping{log: opts.Log, clock: opts.Clock, retention: opts.Retention, logger: opts.Logger},
		ctx:          ctx,
		cancel:       cancel,
	}
	s.watch = newClockWatch(opts.Clock, opts.Logger, m, s.stepped)
	return s
}

// SetSchedules replaces the providers and their fetch schedules. A provider
// whose schedule is new or changed has its present slot opened at once, unless
// it is done. One with the zero schedule is dispatched and never swept.
func (s *Scheduler) SetSchedules(schedules map[string]schedule.Schedule) {
	s.dispatcher.setProviders(slices.Sorted(maps.Keys(schedules)))
	s.periodic.set(schedules)
}

// Start begins to work and returns at once.
func (s *Scheduler) Start() {
	s.start.Do(func() {
		if s.ctx.Err() != nil {
			return
		}
		for shard := range s.dispatcher.nudges {
			s.loops.Go(func() { s.dispatcher.loop(s.ctx, shard) })
		}
		s.loops.Go(func() { s.watch.loop(s.ctx) })
		s.loops.Go(func() { s.housekeeping.loop(s.ctx) })
		s.periodic.start()
	})
}

// Stop ends all work and waits for it. What was claimed and could not be
// enqueued any more is given back. It may be called twice, and without Start.
func (s *Scheduler) Stop() {
	s.cancel()
	s.periodic.stop()
	s.loops.Wait()
}

// Nudge makes the dispatcher look at all due times at once. Nudges that come
// while it looks are one.
func (s *Scheduler) Nudge() { s.dispatcher.nudge() }

// Glance makes the dispatcher look at once for what is due where there was nothing
// when it last looked. It may be called for every single credential: those that
// come within a moment are one look, which reads no more than one score a
// provider.
func (s *Scheduler) Glance() { s.dispatcher.glance() }

// stepped handles a clock that jumped like a boot: what is overdue is claimed
// at once, the present slots are opened, and every score is looked at.
func (s *Scheduler) stepped(ctx context.Context, store bool) error {
	if store {
		s.housekeeping.rest()
	}
	s.dispatcher.nudge()
	s.periodic.catchUp() //nolint:contextcheck // a look goes on for as long as the scheduler lives, as one of cron's does
	var trouble error
	for _, provider := range s.periodic.providers() {
		trouble = errors.Join(trouble, s.periodic.afterStep(ctx, provider))
	}
	return trouble
}
