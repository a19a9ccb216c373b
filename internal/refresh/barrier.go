package refresh

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	// rejoinWait is how long nothing is begun on a new run of the store: whoever
	// works on it has registered again by then, should the store have lost that.
	rejoinWait = 3 * time.Second
	// ownFirst is how long a dead neighbour's journal waits for those who live
	// to put their own writes back: they know more of them than it does. So long
	// does whoever waits for others stay with that, too, once all of them wait.
	ownFirst = rejoinWait / 2
	// knownWait is how old a heartbeat has to be before its owner begins
	// anything, where the store may lose the last writes: whoever finds it
	// restarted has to know whom to wait for.
	knownWait = 2 * time.Second
	// barrierStep is the time between two looks while the gate is closed.
	barrierStep = 200 * time.Millisecond
	// mostLooks is how often a process looks through what it knows at once, as long
	// as it finds something to put back.
	mostLooks = 3
)

// barrier stands between this process and a run of the store that may lack the
// last writes. Nothing is written there until this process has put back what it
// knows, and nothing begun until every process that may hold an attempt has, or
// is proven dead.
type barrier struct {
	engine *Engine
	kick   chan struct{} // holds a token when somebody has met another run

	one        sync.Mutex                   // a pass
	born       time.Duration                // boot time of the first heartbeat
	noticed    time.Duration                // boot time at which the present run was found
	unlisted   bool                         // whose journals are in this folder could not be told
	tried      time.Duration                // boot time of the last look through what this process knows
	ready      bool                         // what this process knows is in the present run
	round      uint64                       // of the roster, when it looked for the last time before it was ready
	forced     bool                         // it has put back what has a gap before it, for nobody could fill it
	counted    map[string]bool              // whose deaths have been counted in the present run
	came       bool                         // from another run, and has not counted the round on in the present one
	apart      bool                         // somebody came from another run to the present one, which was left, not lost
	left       map[string]bool              // the runs that this process has had before the present one
	known      map[string]credential.Member // who was on the roster when it was read last
	introduced bool                         // they are on the roster of the present run
	waiting    bool                         // the rest of it waits for others
	heard      time.Duration                // boot time since when that is all; 0 while what may have been written is still to come
	owes       bool                         // what was never answered waits for who stands still
	stay       []string                     // the dead whose journals hold what cannot be put back, when the rest is
	told       string                       // who is waited for, as it was logged last
	loss       time.Duration                // what the store could lose when the run was last confirmed; negative if never

	run       atomic.Pointer[string]   // the present one; "" before the first is known
	said      atomic.Pointer[said]     // as it was last reported
	beaten    atomic.Int64             // boot time at which the last heartbeat was sent that was acknowledged
	missing   atomic.Pointer[[]string] // who is waited for and is silent
	unsettled atomic.Bool              // not everyone had put back what they know, when the roster was read last
	stirred   atomic.Bool              // something was put back since the round was counted
	mode      atomic.Int32             // a passing
	confirmed atomic.Int64             // boot time at which the run was last known to be this one
	ours      atomic.Bool              // the store held the installation of this process at the last pass
}

// said is how far this process is.
type said struct {
	ready, waiting string // runs
	round          uint64
}

// passing is what the gate lets through.
type passing int32

const (
	passNothing passing = iota
	passWrites
	passAll
)

func newBarrier(e *Engine) *barrier {
	b := &barrier{engine: e, kick: make(chan struct{}, 1), loss: -1, left: map[string]bool{}}
	b.run.Store(new(string))
	b.said.Store(new(said))
	b.missing.Store(new([]string))
	return b
}

func (b *barrier) passes() passing { return passing(b.mode.Load()) }

// met tells the barrier of an error: if it says that the store is another run,
// the next pass is made at once.
func (b *barrier) met(err error) {
	if _, ok := errors.AsType[anotherRun](err); ok {
		b.look()
	}
}

// look has the next pass made at once.
func (b *barrier) look() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// anotherRun is an error of the store which says that it is not the run that
// was named.
type anotherRun interface {
	error
	AnotherRun()
}

// pass finds out which run of the store answers and does what is to be done
// about it. With an error nothing is known of the store.
func (b *barrier) pass(ctx context.Context) error {
	b.one.Lock()
	defer b.one.Unlock()
	e := b.engine
	asked := e.clock.Boot()
	run, err := e.opts.Runs.Run(ctx)
	if err != nil {
		return err
	}
	ours, another, err := e.opts.Runs.HoldsInstallation(ctx)
	if err != nil {
		return err
	}
	if another {
		b.mode.Store(int32(passNothing))
		e.opts.Runs.Pass("", "")
		return errAnotherInstallation
	}
	if was := b.ours.Swap(ours); ours && !was {
		e.watch.forget() // who was refused at his start meanwhile could not be heard
	}
	e.mute.Store(false)
	if run != *b.run.Load() {
		b.notice(run, asked)
	}
	if err := b.come(ctx); err != nil {
		return err
	}
	if err := b.report(ctx, run); err != nil {
		return err
	}
	if b.born == 0 {
		b.born = max(asked, 1)
	}
	roster, err := b.roster(ctx)
	if err == nil && b.passes() == passAll && b.unsettled.Load() {
		b.again(asked)
		roster, err = b.roster(ctx)
	}
	if err != nil {
		return err
	}
	e.watch.look(roster, e.clock.Boot())
	b.known = roster.Members
	if b.passes() == passAll {
		b.confirm(asked)
		b.loss = e.opts.Loss()
		return nil
	}
	return b.advance(ctx, run, roster)
}

// confirm notes that the run was this one. A store that came back without its
// installation confirms nothing: it may be another one, in place of the one with
// the data, and what is kept for that must not be dropped.
func (b *barrier) confirm(now time.Duration) {
	if b.ours.Load() {
		b.confirmed.Store(int64(now))
	}
}

// notice closes the gate before a run that this process has not seen.
func (b *barrier) notice(run string, now time.Duration) {
	e := b.engine
	if before := *b.run.Load(); before != "" {
		e.log.Warn().Str("before", before).Str("run", run).Stringer("may_lack", e.opts.Loss()).
			Msg("redis is another run: it was restarted or replaced and may lack the last writes; nothing is written until what is known was put back")
		e.metrics.anotherRun()
		b.left[before] = true
		b.came = b.left[run] || !e.opts.Kept && (b.loss != 0 || e.opts.Loss() != 0)
	}
	b.run.Store(&run)
	b.counted, b.apart = map[string]bool{}, b.left[run]
	b.stirred.Store(false)
	b.close(now)
}

// close has everything put back anew before anything is begun or written.
func (b *barrier) close(now time.Duration) {
	b.mode.Store(int32(passNothing))
	b.engine.opts.Runs.Pass("", "")
	b.noticed, b.ready, b.forced, b.waiting, b.heard, b.stay, b.told = now, false, false, false, 0, nil, ""
	b.introduced = false
	b.missing.Store(new([]string))
}

// come counts the round on for a process that comes from another run. The present
// one may be older than that: the address of the store led elsewhere for a while,
// and back. Then what it says of who is ready, and that it is settled, is from
// before; others may stand still with what they have done elsewhere.
func (b *barrier) come(ctx context.Context) error {
	if !b.came {
		return nil
	}
	if err := b.engine.opts.Runs.NextRound(ctx); err != nil {
		return err
	}
	b.came = false
	return nil
}

// again closes the gate on a run that is not settled any more, though this process
// has never left it: somebody has come back to it, or it was emptied.
func (b *barrier) again(now time.Duration) {
	b.engine.log.Warn().Str("run", *b.run.Load()).
		Msg("redis is the same run, but what was settled there does not hold any more: a process came from another redis, or the data are gone; nothing is written until what is known was put back")
	b.apart = true
	b.close(now)
}

// report counts the heartbeat on, with how far this process is.
func (b *barrier) report(ctx context.Context, run string) error {
	s := said{round: b.round}
	switch {
	case b.ready:
		s.ready = run
	case b.waiting:
		s.waiting = run
	}
	b.said.Store(&s)
	return b.beat(ctx)
}

// beat counts the heartbeat on, with what was last reported.
func (b *barrier) beat(ctx context.Context) error {
	s, asked := b.said.Load(), b.engine.clock.Boot()
	err := b.engine.registry.Beat(ctx, s.ready, s.round, s.waiting)
	if err == nil {
		b.beaten.Store(int64(asked))
	}
	return err
}

// beforeBegin has a heartbeat that is not old counted before anything is begun. Who
// was cut off from the store for a while has not been heard meanwhile: without it
// others would count his silence from before, and take for dead who has just begun.
func (b *barrier) beforeBegin(ctx context.Context) error {
	e := b.engine
	if e.clock.Boot()-time.Duration(b.beaten.Load()) <= e.opts.Silence/2 {
		return nil
	}
	run, err := e.opts.Runs.Run(ctx)
	if err == nil && run != *b.run.Load() {
		b.look()
		err = errFellBack // and may be somebody else's
	}
	if err != nil {
		return err
	}
	return b.beat(ctx)
}

// keepBeating counts the heartbeat on until stop, which waits for its end: what
// takes long in a pass must not look like a death. A beat that does not get
// through is left to the next pass, which tells of it.
func (b *barrier) keepBeating(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var loop sync.WaitGroup
	loop.Go(func() {
		for pause(ctx, tickEvery) == nil {
			if err := b.beat(ctx); err != nil && ctx.Err() == nil {
				b.engine.log.Debug().Err(err).Msg("no heartbeat while journals are taken up")
			}
		}
	})
	return func() {
		cancel()
		loop.Wait()
	}
}

// advance takes the next step towards the open gate.
func (b *barrier) advance(ctx context.Context, run string, roster credential.Roster) error {
	e := b.engine
	settled := roster.Settled == run
	if b.ready && (b.bereaved(roster, run) || !settled && b.round != roster.Round || b.owes && !b.others(roster, run, true, credential.Standing.Quiet)) {
		b.ready = false
	}
	for tries := 1; !b.ready; tries++ {
		stirred, err := b.lookThrough(ctx, run, roster)
		if err != nil {
			return err
		}
		if err := b.report(ctx, run); err != nil {
			return err
		}
		if !b.ready && (!stirred || tries == mostLooks) {
			if now := e.clock.Boot(); !settled && now-b.noticed >= rejoinWait {
				b.miss(slices.DeleteFunc(b.awaited(roster, run, e.quarantine()), func(owner string) bool {
					return e.watch.silent(owner, now) < e.opts.Silence // it puts its own back
				}))
			}
			return nil
		}
		if roster, err = b.roster(ctx); err != nil {
			return err
		}
	}
	now := e.clock.Boot()
	begins, writes := b.open(roster, run, now)
	if !writes {
		return nil
	}
	if b.passes() == passNothing {
		e.opts.Runs.Pass("", run)
		b.mode.Store(int32(passWrites))
	}
	if !begins {
		return nil
	}
	if !settled && !b.lossless(roster) && b.giveUp(roster, run) {
		return e.opts.Runs.NextRound(ctx)
	}
	if err := failpoint.Hit(failpoint.BarrierOpen); err != nil {
		return err
	}
	if !settled {
		if err := e.opts.Runs.Settle(ctx, run, roster.Round); err != nil {
			return err
		}
	}
	e.opts.Runs.Pass(run, run)
	b.confirm(now)
	e.tokens.believe()
	b.mode.Store(int32(passAll))
	e.log.Info().Str("run", run).Stringer("after", now-b.noticed).Msg("rolled forward: everyone has put back what they knew, refreshes go on")
	return nil
}

// lookThrough looks once through what this process knows. It is ready if nothing is
// left that somebody else has to bring, and nothing was changed: whatever was put
// back may be what somebody missed who looked before, this process included. So the
// round is counted on, and everyone looks again, until nobody finds anything any
// more. Where everyone has put back what has a gap before it, that is the only way
// for an attempt in the air to find its record: it may be brought by anyone, and in
// any order.
func (b *barrier) lookThrough(ctx context.Context, run string, roster credential.Roster) (stirred bool, err error) {
	e := b.engine
	now := e.clock.Boot()
	settled := roster.Settled == run
	// Alone, or where everyone else is done, there is nobody to wait for.
	at := stage{
		journals: settled || now-b.noticed >= ownFirst || !b.others(roster, run, false, credential.Standing.Quiet),
		heard:    settled || !b.others(roster, run, true, credential.Standing.Unheard),
		everyone: settled || !b.others(roster, run, true, credential.Standing.Quiet),
		force:    b.forced || b.heard > 0 && now-b.heard >= ownFirst && b.idle(roster, run),
	}
	b.tried, b.owes = now, false
	done, stay, err := e.putBack(ctx, run, at)
	if !settled && b.stirred.Load() { // what has failed may have been made all the same
		if counted := e.opts.Runs.NextRound(ctx); counted != nil {
			return false, errors.Join(err, counted)
		}
		b.stirred.Store(false)
		stirred = true
	}
	if err != nil {
		return stirred, err
	}
	b.stay, b.forced = stay, at.force
	if b.ready = done && !stirred; b.ready {
		b.round = roster.Round
		e.ledger.anew(now)
		if err := failpoint.Hit(failpoint.BarrierReport); err != nil {
			return stirred, err
		}
	}
	b.waiting = at.journals && !done
	switch {
	case !b.waiting || !at.everyone:
		b.heard = 0
	case b.heard == 0:
		b.heard = max(now, 1)
	}
	return stirred, nil
}

// open reports what may pass on a run into which this process has put back what
// it knows.
func (b *barrier) open(roster credential.Roster, run string, now time.Duration) (begins, writes bool) {
	e := b.engine
	if b.lossless(roster) {
		return true, true
	}
	known := e.opts.Loss() == 0 || now-b.born >= knownWait || !b.company(roster)
	if roster.Settled == run {
		return known, true
	}
	if now-b.noticed < rejoinWait {
		return false, false
	}
	for _, owner := range b.awaited(roster, run, 0) {
		if e.watch.silent(owner, now) < e.opts.Silence {
			return false, false // it lives, and is putting its own back
		}
	}
	missing := b.awaited(roster, run, e.quarantine())
	b.miss(missing)
	// Who is not on the roster may have left a journal in a folder that cannot be looked
	// through: that is waited for like a process that is away.
	heirless := b.unlisted && now-b.noticed < e.opts.Silence+e.quarantine()
	return known && len(missing) == 0 && !heirless, true
}

// miss tells of those who are waited for and are silent.
func (b *barrier) miss(missing []string) {
	e := b.engine
	b.missing.Store(&missing)
	if list := strings.Join(missing, ","); list != b.told {
		b.told = list
		switch {
		case list == "":
		case !b.ours.Load():
			e.log.Warn().Strs("owners", missing).
				Msg("redis has lost its data, or is another one, and processes are missing that may know more than it: refreshes wait for them, and for no quarantine, because without the data they may be refused at their start. Bring the data of redis back; or, if they are gone for good, stop every refreshd, remove the file journal/installation in the data_dir of each, and start all of them again")
		default:
			e.log.Warn().Strs("owners", missing).Stringer("quarantine", e.opts.Quarantine).
				Msg("processes have not put back what they know; refreshes wait until they have, or are proven dead: those of this machine by their end, others by the quarantine. If one is stopped, let it go on (kill -CONT) or kill it; if a machine is away, bring it back")
		}
	}
}

// lossless reports whether the store cannot have lost anything between the run
// before and this one. What it promises now says nothing about that: it may be
// a replica that was promoted.
func (b *barrier) lossless(roster credential.Roster) bool {
	e := b.engine
	switch {
	case e.opts.Kept:
		return true
	case b.apart:
		return false
	case b.loss < 0:
		// The very first start. Who has found a dead one's journal has counted that.
		return roster.Settled == "" && roster.Round == 0 && len(roster.Members) <= 1
	case !b.ours.Load() && len(roster.Members) > 1:
		return false // it has lost all, whatever it promised, or is another one
	default:
		return b.loss == 0 && e.opts.Loss() == 0
	}
}
