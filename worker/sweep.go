package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/tasks"
)

const (
	pageSize = 500 // keys looked at per page
	healers  = 8   // scores compared at once
	// verifyChunk is how many tokens are asked about between two signs of life.
	verifyChunk = 100
	// slotLease is how long a sweep that says nothing counts as alive.
	slotLease = 15 * time.Second
	// endTimeout bounds storing how a sweep ended.
	endTimeout = tasks.Grace / 2

	firstAgain = 200 * time.Millisecond
	lastAgain  = 5 * time.Second
)

// How a sweep can end.
const (
	outcomeFinished    = "finished"
	outcomeTimedOut    = "timed_out"
	outcomeInterrupted = "interrupted" // the process stops, or asynq took the task away; somebody resumes it
	outcomeLost        = "lost"        // somebody has resumed it already
)

// The kinds of counts.
const (
	countSeen       = "seen"
	countLive       = "live"       // refreshes are made for it
	countDead       = "dead"       // no call is made: the user has to log in, or has logged out
	countDue        = "due"        // of the live ones: now
	countHealed     = "healed"     // an index was wrong about it
	countVerified   = "verified"   // the provider was asked whether it still takes the token
	countRefused    = "refused"    // of the verified ones: it does not
	countTuned      = "tuned"      // credentials that were planned by other settings of session than there are
	countUnreadable = "unreadable" // stored, and not to be read by this version or keyset
)

// sweep looks at every credential of a provider once.
type sweep struct {
	walker  Walker
	verify  Verifier
	tuner   Tuner
	slots   Slots
	clock   Clock
	metrics *metrics
	log     zerolog.Logger

	task     tasks.Sweep
	owner    string // of this run alone: a process may be given the slot again
	progress Progress
}

func (p *Pool) fetchSweep(ctx context.Context, payload []byte) (about string, err error) {
	task, err := tasks.DecodeSweep(payload)
	if err != nil {
		return "", err
	}
	ctx, cancel := p.allowed(ctx, 0)
	defer cancel()
	s := &sweep{
		walker: p.walker, verify: p.verifier, tuner: p.tuner, slots: p.slots, clock: p.clock, metrics: p.metrics, task: task,
		owner: p.owner + "/" + rand.Text()[:8],
		log:   p.log.With().Str("provider", task.Provider).Int64("slot", task.Slot).Int("resume", task.Resume).Logger(),
	}
	return task.Provider, s.run(ctx)
}

// run sweeps from the stored cursor to the end, or as far as it comes.
func (s *sweep) run(ctx context.Context) error {
	started := time.Now()
	if s.task.Next != 0 && s.clock.Now() >= credential.Millis(s.task.Next*1000) {
		s.log.Info().Msg("fetch left out: it waited until the next one was due")
		return nil
	}
	mine, err := s.start(ctx)
	if err != nil || !mine {
		return err
	}
	s.log.Info().Bool("resumed", s.progress.Cursor != "").Msg("fetch started")
	err = s.walk(ctx)
	outcome := outcomeOf(ctx, err)
	counts := s.progress.Counts
	s.metrics.fetched(s.task.Provider, outcome, time.Since(started), counts)
	level := zerolog.InfoLevel
	if outcome != outcomeFinished {
		level = zerolog.WarnLevel
	}
	s.log.WithLevel(level).AnErr("cause", err).Str("outcome", outcome).Stringer("took", time.Since(started)).
		Int64(countSeen, counts[countSeen]).Int64(countLive, counts[countLive]).Int64(countDead, counts[countDead]).
		Int64(countDue, counts[countDue]).Int64(countVerified, counts[countVerified]).Int64(countRefused, counts[countRefused]).Int64(countHealed, counts[countHealed]).Int64(countTuned, counts[countTuned]).Int64(countUnreadable, counts[countUnreadable]).
		Msg("fetch ended")
	return s.end(ctx, outcome)
}

func outcomeOf(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return outcomeFinished
	case errors.Is(err, ErrSlotLost):
		return outcomeLost
	case errors.Is(context.Cause(ctx), errAllowed):
		return outcomeTimedOut
	default:
		return outcomeInterrupted
	}
}

// start takes the slot. An extra sweep has none.
func (s *sweep) start(ctx context.Context) (mine bool, err error) {
	if s.task.Slot == 0 {
		s.progress.Counts = map[string]int64{}
		return true, nil
	}
	err = s.insist(ctx, "a slot could not be started", func() error {
		s.progress, mine, err = s.slots.StartSlot(ctx, tasks.SlotName(s.task.Provider), s.task.Slot, s.owner, slotLease)
		if err == nil {
			err = failpoint.Hit(failpoint.TaskSlot)
		}
		return err
	})
	if s.progress.Counts == nil {
		s.progress.Counts = map[string]int64{}
	}
	return mine, err
}

// walk visits page after page and keeps the cursor after each, so that whoever
// resumes the sweep goes on from there.
func (s *sweep) walk(ctx context.Context) error {
	for {
		var counts map[string]int64
		var next string
		err := s.insist(ctx, "a page could not be read", func() (err error) {
			counts, next, err = s.page(ctx)
			return err
		})
		if err != nil {
			return err
		}
		for kind, n := range counts {
			s.progress.Counts[kind] += n
		}
		s.progress.Cursor = next
		if next == "" {
			return nil
		}
		err = s.insist(ctx, "progress could not be kept", func() error { return s.save(ctx, slotLease) })
		if err != nil {
			return err
		}
	}
}

// page looks at the credentials of one page.
func (s *sweep) page(ctx context.Context) (counts map[string]int64, next string, err error) {
	counts = map[string]int64{}
	list, next, err := s.walker.Walk(ctx, s.task.Provider, s.progress.Cursor, pageSize)
	if single, ok := errors.AsType[itemised](err); ok {
		s.log.Warn().Err(err).Msg("credentials cannot be read")
		counts[countUnreadable] = int64(len(single.Unwrap()))
	} else if err != nil {
		return nil, "", err
	}
	now := s.clock.Now()
	due := make([]credential.Millis, len(list))
	for i, h := range list {
		due[i] = credential.NextDue(h.Record, h.Attempt)
		counts[countSeen]++
		switch {
		case h.Record.State.Terminal():
			counts[countDead]++
		case due[i] != 0 && due[i] <= now:
			counts[countDue]++
			counts[countLive]++
		default:
			counts[countLive]++
		}
	}
	counts[countHealed], err = s.heal(ctx, list, due, now)
	if err == nil {
		var tuned int
		tuned, err = s.tuner.Tune(ctx, s.task.Provider, list)
		if tuned > 0 {
			counts[countTuned] = int64(tuned)
		}
	}
	if err == nil {
		err = s.verified(ctx, list, counts)
	}
	if err == nil {
		err = failpoint.Hit(failpoint.TaskPage)
	}
	return counts, next, err
}

// verified has the provider asked about a page's tokens, under the provider's
// limits. The slot is held meanwhile.
func (s *sweep) verified(ctx context.Context, list []credential.Held, counts map[string]int64) error {
	ids := make([]credential.ID, 0, len(list))
	for _, h := range list {
		if !h.Record.State.Terminal() {
			ids = append(ids, h.Record.ID)
		}
	}
	for chunk := range slices.Chunk(ids, verifyChunk) {
		asked, refused, err := s.verify.Verify(ctx, s.task.Provider, chunk)
		if asked > 0 {
			counts[countVerified] += int64(asked)
			counts[countRefused] += int64(refused)
		}
		if err == nil && asked > 0 {
			err = s.save(ctx, slotLease)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// heal puts the indexes right for the records of a page and returns for how
// many they were wrong.
func (s *sweep) heal(ctx context.Context, list []credential.Held, due []credential.Millis, now credential.Millis) (int64, error) {
	suspects, err := s.walker.Suspects(ctx, s.task.Provider, list, due, now)
	if err != nil {
		return 0, err
	}
	var healed atomic.Int64
	var group errgroup.Group
	group.SetLimit(healers)
	for i, suspect := range suspects {
		if !suspect {
			continue
		}
		group.Go(func() error {
			wrong, err := s.walker.Heal(ctx, list[i], due[i])
			if wrong {
				healed.Add(1)
			}
			return err
		})
	}
	err = group.Wait()
	return healed.Load(), err
}

// itemised is an error about single records of a page.
type itemised interface {
	error
	At(i int) error
	Unwrap() []error
}

func (s *sweep) save(ctx context.Context, lease time.Duration) error {
	if s.task.Slot == 0 {
		return nil
	}
	kept := Progress{Cursor: s.progress.Cursor, Counts: maps.Clone(s.progress.Counts)}
	return s.slots.SaveSlot(ctx, tasks.SlotName(s.task.Provider), s.task.Slot, s.owner, kept, lease)
}

// end stores how the sweep ended. One that is to be resumed gives up its
// lease.
func (s *sweep) end(ctx context.Context, outcome string) error {
	if s.task.Slot == 0 || outcome == outcomeLost {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	err := s.insist(ctx, "the end of a fetch could not be kept", func() error {
		if err := failpoint.Hit(failpoint.TaskFinish); err != nil {
			return err
		}
		if outcome == outcomeInterrupted {
			return s.save(ctx, time.Millisecond)
		}
		return s.slots.FinishSlot(ctx, tasks.SlotName(s.task.Provider), s.task.Slot, s.owner, s.progress.Counts, outcome)
	})
	if errors.Is(err, ErrSlotLost) {
		return nil
	}
	return err
}

// insist repeats what the store could not do until it can, or ctx ends: a
// store that is away for a minute is no reason to leave a slot undone.
func (s *sweep) insist(ctx context.Context, trouble string, do func() error) error {
	wait := firstAgain
	for {
		err := do()
		if err == nil || errors.Is(err, ErrSlotLost) {
			return err
		}
		if ctx.Err() == nil && wait == firstAgain {
			s.log.Warn().Err(err).Msg(trouble + ", again in a moment")
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(context.Cause(ctx), err)
		case <-timer.C:
		}
		wait = min(2*wait, lastAgain)
	}
}
