package scheduler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/robfig/cron/v3"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/schedule"
	"github.com/refreshd/refreshd/tasks"
)

const (
	// tickTimeout bounds one look at one schedule.
	tickTimeout = 20 * time.Second
	// idsPerTick is how many IDs of one slot are looked through at once for
	// one that is free.
	idsPerTick = 16
)

// periodic opens the slots of the fetch schedules. robfig's cron says when to
// look; what to do is decided from what is stored, so a replica that was away
// catches up, and ticks of many replicas, or repeated ones, do nothing twice.
type periodic struct {
	ctx     context.Context //nolint:containedctx // the scheduler's own life: cron's ticks have no context
	queue   tasks.Enqueuer
	tasks   TaskInfo
	slots   Slots
	clock   Clock
	allowed time.Duration
	log     zerolog.Logger
	metrics *metrics

	cron *cron.Cron

	mu      sync.Mutex
	started bool
	entries map[string]*entry
	ticks   sync.WaitGroup // ticks that cron did not start
}

// entry is one provider's schedule.
type entry struct {
	provider string
	schedule schedule.Schedule
	id       cron.EntryID
	ticking  atomic.Bool
	instead  int64 // the slot in whose place a sweep was made; by the tick alone
}

func newPeriodic(ctx context.Context, opts Options, m *metrics) *periodic {
	log := cronLog{opts.Logger}
	return &periodic{
		ctx: ctx, queue: opts.Queue, tasks: opts.Tasks, slots: opts.Slots, clock: opts.Clock,
		allowed: opts.FetchWithin, log: opts.Logger, metrics: m,
		// Cron's own SkipIfStillRunning stays locked after a panic.
		cron:    cron.New(cron.WithLocation(time.UTC), cron.WithLogger(log), cron.WithChain(cron.Recover(log))),
		entries: map[string]*entry{},
	}
}

func (p *periodic) set(schedules map[string]schedule.Schedule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for provider, e := range p.entries {
		if next, ok := schedules[provider]; !ok || next.String() != e.schedule.String() {
			p.cron.Remove(e.id)
			delete(p.entries, provider)
		}
	}
	for _, provider := range slices.Sorted(maps.Keys(schedules)) {
		if _, ok := p.entries[provider]; ok {
			continue
		}
		e := &entry{provider: provider, schedule: schedules[provider]}
		p.entries[provider] = e
		if e.schedule.IsZero() {
			continue
		}
		e.id = p.cron.Schedule(capped{e.schedule, p.clock}, cron.FuncJob(func() { p.tick(e) }))
		if p.started {
			p.tickAside(e)
		}
	}
}

func (p *periodic) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = true
	p.cron.Start()
	p.tickAllAside()
}

// stop waits until no tick runs any more. The scheduler's context has ended.
func (p *periodic) stop() {
	p.mu.Lock()
	p.started = false
	p.mu.Unlock()
	<-p.cron.Stop().Done()
	p.ticks.Wait()
}

// catchUp looks at all schedules now.
func (p *periodic) catchUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started {
		p.tickAllAside()
	}
}

func (p *periodic) tickAllAside() {
	all := slices.Collect(maps.Values(p.entries))
	p.ticks.Go(func() {
		for _, e := range all {
			p.tick(e)
		}
	})
}

func (p *periodic) tickAside(e *entry) { p.ticks.Go(func() { p.tick(e) }) }

func (p *periodic) providers() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.entries))
}

// tick looks at one schedule, unless that is being done.
func (p *periodic) tick(e *entry) {
	if e.schedule.IsZero() || p.ctx.Err() != nil || !e.ticking.CompareAndSwap(false, true) {
		return
	}
	defer e.ticking.Store(false)
	ctx, cancel := context.WithTimeout(p.ctx, tickTimeout)
	defer cancel()
	if err := p.look(ctx, e); err != nil && p.ctx.Err() == nil {
		p.log.Warn().Err(err).Str("provider", e.provider).Msg("a fetch schedule could not be looked at, again within 30 s")
	}
}

func (p *periodic) look(ctx context.Context, e *entry) error {
	now := p.clock.Now()
	slot, next := openedAt(e.schedule, now.Time()), e.schedule.Next(now.Time()).Unix()
	stored, err := p.slots.Slot(ctx, tasks.SlotName(e.provider))
	if err != nil {
		return err
	}
	sweep := tasks.Sweep{Provider: e.provider, Slot: slot, Next: next}
	switch decide(stored, slot, next, now) {
	case stepNone:
		return nil
	case stepOpen:
		return p.open(ctx, e, sweep)
	case stepResume:
		sweep.Resume = stored.Resumes + 1
		return p.open(ctx, e, sweep)
	case stepExtra:
		return p.standIn(ctx, e, slot)
	}
	return nil
}

// standIn enqueues a sweep in place of a slot that cannot be stored.
func (p *periodic) standIn(ctx context.Context, e *entry, slot int64) error {
	if e.instead == slot {
		return nil
	}
	task, err := tasks.NewExtra(e.provider, tasks.WhySlot, time.Unix(slot, 0), within(e.schedule, p.allowed))
	if err == nil {
		err = p.enqueue(ctx, e.provider, task)
	}
	if err == nil {
		e.instead = slot
	}
	return err
}

// open enqueues the task for a slot, under the first ID that is free. If the
// ID is that of a task which waits or runs, there is nothing to do. If it is
// that of a task which ended without the slot being done, because its worker
// died, the ID stays taken for as long as asynq keeps it, and another is used.
func (p *periodic) open(ctx context.Context, e *entry, sweep tasks.Sweep) error {
	for range idsPerTick {
		task, err := tasks.NewSlot(sweep, within(e.schedule, p.allowed))
		if err != nil {
			return err
		}
		added, err := tasks.Enqueue(ctx, p.queue, task)
		if err == nil {
			err = failpoint.Hit(failpoint.DispatchSlot)
		}
		if err != nil {
			return err
		}
		if added {
			kind := kindSlot
			if sweep.Resume > 0 {
				kind = kindResume
			}
			p.metrics.enqueued(e.provider, kind)
			p.log.Info().Str("provider", e.provider).Int64("slot", sweep.Slot).Int("resume", sweep.Resume).Msg("fetch enqueued")
			return nil
		}
		lives, err := p.lives(sweep.ID())
		if err != nil || lives {
			return err
		}
		sweep.Resume++
	}
	return nil
}

// lives reports whether the task of that ID waits or runs.
func (p *periodic) lives(id string) (bool, error) {
	info, err := p.tasks.GetTaskInfo(tasks.QueueFetch, id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return info.State != asynq.TaskStateArchived && info.State != asynq.TaskStateCompleted, nil
}

// afterStep enqueues a sweep because a clock has jumped.
func (p *periodic) afterStep(ctx context.Context, provider string) error {
	p.mu.Lock()
	allowed := p.allowed
	if e, ok := p.entries[provider]; ok {
		allowed = within(e.schedule, allowed)
	}
	p.mu.Unlock()
	task, err := tasks.NewExtra(provider, tasks.WhyClockStep, p.clock.Now().Time(), allowed)
	if err != nil {
		return err
	}
	return p.enqueue(ctx, provider, task)
}

func (p *periodic) enqueue(ctx context.Context, provider string, task *asynq.Task) error {
	added, err := tasks.Enqueue(ctx, p.queue, task)
	if err != nil {
		return fmt.Errorf("sweep of %s: %w", provider, err)
	}
	if added {
		p.metrics.enqueued(provider, kindExtra)
		p.log.Info().Str("provider", provider).Msg("extra sweep enqueued")
	}
	return nil
}

// cronLog is cron's logger. What it does is of no interest; a panic of a tick
// is.
type cronLog struct{ log zerolog.Logger }

// Info drops cron's account of its own doings.
func (cronLog) Info(string, ...any) {}

// Error logs a panic that cron recovered.
func (c cronLog) Error(err error, msg string, _ ...any) {
	c.log.Error().Err(err).Msg("fetch schedule: " + msg)
}
