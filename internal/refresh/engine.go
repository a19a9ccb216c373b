package refresh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

// Target is one configured provider.
type Target struct {
	Name      string
	Policy    credential.Policy
	Limits    Limits
	Exchanger Exchanger
	// CheckLogin reports why what a login brings could never be presented; nil
	// takes every one. Its error is passed on as it is.
	CheckLogin func(credential.Login) error
	LogsOut    bool // there is a call that ends a session, to be made at each log-out
	Verify     bool // there is a call for it, to be made at each fetch
	// Settings identifies the client's settings. When it changes, a breaker
	// that those settings opened is probed at once.
	Settings string
}

// Options are what an [Engine] is made of. All down to Silence are required.
type Options struct {
	Store    Store
	Registry Registry
	Runs     Runs
	Folder   Folder
	Permits  Permits
	Claims   Claims
	Resting  Resting
	Sessions Sessions
	Journal  Journal
	Clock    Clock
	Owner    string // a random ID of this process start
	Shards   int    // of the store
	Log      zerolog.Logger
	Metrics  *Metrics

	// Loss is the window in which the store may still lose what it has
	// acknowledged: for as long the journal keeps a record after its commit.
	Loss func() time.Duration
	// Silence is how long another machine's heartbeat must stand still, while
	// ours succeeds, before its owner is suspected dead.
	Silence time.Duration
	// Kept says that the store never comes back without what it has
	// acknowledged, or without a snapshot that its journals reach behind, and
	// is not replaced by another.
	Kept bool
	// Quarantine is how long an owner on another machine is given to come
	// back, or its journal, before its attempts count as sent and unknown.
	Quarantine time.Duration
	// OfflineReads is how long tokens are served from memory without the
	// store; negative means until they expire.
	OfflineReads time.Duration
	// Stalled, if set, tells why the journal can note nothing for as long as its disk
	// does not answer. It does not wait.
	Stalled func() error
	// Delegate, if set, is called instead of refreshing here: this process has
	// no journal, and asks one that has.
	Delegate func(ctx context.Context, id credential.ID, rejected uint64) error
	// OnClientRecovered is called when a provider accepts this client again, or
	// is resumed, and what rested meanwhile has its place in the due index again;
	// OnClientRetuned before, when a client that is refused got other settings
	// and is to be probed. Either way what was held back is to be looked at at
	// once.
	OnClientRecovered, OnClientRetuned func(provider string)
	// OnPolicyChanged is called when other settings are in force for a provider
	// that has sliding sessions, or had them before, or has a way to a new token that
	// it had not: what lives is to be seen to, by [Engine.Tune].
	OnPolicyChanged func(provider string)
	// OnDue is called when an owner's word has made a credential due now.
	OnDue func()
}

// Engine refreshes credentials. Create it with [New], then [Engine.Start];
// stop it with [Engine.Stop].
type Engine struct {
	store    Store
	registry Registry
	permits  Permits
	claims   Claims
	journal  Journal
	clock    Clock
	owner    string
	log      zerolog.Logger
	metrics  *Metrics
	opts     Options

	targets  atomic.Pointer[map[string]*Target]
	breakers *breakers
	commits  *committer
	touches  *toucher
	revoker  *revoker
	flights  *flights
	tokens   *tokenCache
	ledger   *ledger
	crew     *crew
	pace     *pace
	queues   *permitQueues
	barrier  *barrier
	watch    *watch
	unread   *unread
	missing  *missing
	brief    *brief
	signIns  *signIns
	stranded stranded
	asking   chan struct{}  // has an entry for each user who is asked about beside everything else
	mute     atomic.Bool    // the store said nothing, and is not asked for what can be served from memory
	asked    []atomic.Int64 // boot time at which each shard's event log was last asked for
	heard    []atomic.Int64 // the same, of the last answer that went to its end

	ctx      context.Context //nolint:containedctx // the engine's own life; work outlives whoever asked for it
	cancel   context.CancelCauseFunc
	loops    sync.WaitGroup // background loops
	gate     sync.RWMutex   // guards draining against new work
	draining bool
	work     sync.WaitGroup // begun attempts

	lapsed *lapsed

	adopting sync.Mutex
	adopted  []adoptedJournal
	toldLeft map[string]map[credential.ID]bool // by dead owner: of whom something stays in its journal, as it was logged
	// rolled is the run of the store into which what a dead owner left was put back
	// last: that is told once for each, however often its journal is looked at.
	rolled map[string]string
}

// tickEvery is the period of the recovery passes.
const tickEvery = time.Second

// New returns an engine without targets.
func New(opts Options) *Engine {
	ctx, cancel := context.WithCancelCause(context.Background())
	e := &Engine{
		store: opts.Store, registry: opts.Registry, permits: opts.Permits, claims: opts.Claims, journal: opts.Journal,
		clock: opts.Clock, owner: opts.Owner, log: opts.Log, metrics: opts.Metrics, opts: opts,
		asked: make([]atomic.Int64, opts.Shards), heard: make([]atomic.Int64, opts.Shards), flights: newFlights(), tokens: newTokenCache(), ledger: newLedger(), crew: newCrew(), lapsed: newLapsed(), pace: newPace(), queues: newPermitQueues(),
		watch: newWatch(opts.Silence), unread: newUnread(), missing: newMissing(opts.Log, opts.Metrics), brief: newBrief(opts.Log), signIns: newSignIns(), toldLeft: map[string]map[credential.ID]bool{}, rolled: map[string]string{}, asking: make(chan struct{}, userDataAsks), ctx: ctx, cancel: cancel,
	}
	e.barrier = newBarrier(e)
	e.commits = newCommitter(e.apply, opts.Log, e.barrier.met)
	e.touches = newToucher(e)
	e.revoker = newRevoker(e)
	e.breakers = newBreakers(e)
	e.targets.Store(&map[string]*Target{})
	return e
}

// SetTargets replaces the configured providers. Exchanges under way finish
// with the ones they began with.
func (e *Engine) SetTargets(ctx context.Context, targets []Target) {
	next := make(map[string]*Target, len(targets))
	before := *e.targets.Load()
	var changed, tuned []string
	for _, t := range targets {
		next[t.Name] = &t
		e.metrics.expect(t.Name)
		if old, ok := before[t.Name]; ok && old.Settings != t.Settings {
			changed = append(changed, t.Name)
		}
		if old, ok := before[t.Name]; ok && old.Policy != t.Policy && (max(old.Policy.Sessions.Idle, t.Policy.Sessions.Idle) > 0 || t.Policy.Adds(old.Policy)) {
			tuned = append(tuned, t.Name)
		}
	}
	e.targets.Store(&next)
	for _, name := range changed {
		e.breakers.retune(ctx, name)
	}
	if e.opts.OnPolicyChanged != nil {
		for _, name := range tuned {
			e.opts.OnPolicyChanged(name)
		}
	}
}

func (e *Engine) target(name string) (*Target, error) {
	targets := *e.targets.Load()
	if t, ok := targets[name]; ok {
		return t, nil
	}
	return nil, fmt.Errorf("%w: %q; it has %s; if the name is right, put it there and send SIGHUP", ErrUnknownProvider, name, namesOf(targets))
}

// namesOf lists providers for people, and no more of them than are read.
func namesOf(targets map[string]*Target) string {
	const most = 10
	names := slices.Sorted(maps.Keys(targets))
	switch {
	case len(names) == 0:
		return "none at all"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	default:
		return strings.Join(names, ", ")
	}
}

// Start replays the journals that dead processes of this machine left, before
// anything is served or begun, and then begins the background loops. After an
// error only [Engine.Stop] may be called.
func (e *Engine) Start(ctx context.Context) error {
	e.commits.start(&e.loops)
	e.touches.start(&e.loops)
	e.revoker.start(&e.loops)
	if err := e.barrier.pass(ctx); err != nil {
		return fmt.Errorf("roll the store forward: %w", err)
	}
	if err := e.unread.found.Load().folder; err != nil {
		return fmt.Errorf("take up journals: %w", err) // later on it keeps nobody from anything else
	}
	e.loops.Go(e.watchOver)
	return nil
}

// watchOver makes one recovery pass a second, more often while the gate is
// closed, until the engine is stopped. One pass's failure is logged and the
// loop lives.
func (e *Engine) watchOver() {
	timer := time.NewTimer(tickEvery)
	defer timer.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-timer.C:
		case <-e.barrier.kick:
		}
		if err := e.tick(e.ctx); err != nil && e.ctx.Err() == nil {
			e.log.Warn().Err(err).Msg("recovery pass failed, next in a second")
		}
		next := tickEvery
		if e.barrier.passes() != passAll {
			next = barrierStep
		}
		timer.Reset(next)
	}
}

// tick is one recovery pass. Nobody is judged silent by a pass in which the
// store could not be reached: its outage makes nobody dead.
func (e *Engine) tick(ctx context.Context) error {
	if err := e.barrier.pass(ctx); err != nil {
		e.watch.forget()
		return err
	}
	if e.barrier.passes() != passAll {
		return nil // the barrier adopts what it needs, and nobody is questioned meanwhile
	}
	e.dropRetained()
	trouble := errors.Join(e.unstrand(ctx), e.adopt(ctx)) // of one journal is none of the rest's
	open, err := e.registry.OpenOwners(ctx)
	if err != nil {
		return errors.Join(trouble, err)
	}
	return errors.Join(trouble, e.closeOrphans(ctx, open[e.owner]), e.question(ctx, open))
}

// enter counts a piece of work in, unless the engine drains.
func (e *Engine) enter() (leave func(), err error) {
	e.gate.RLock()
	defer e.gate.RUnlock()
	if e.draining {
		return nil, ErrStopping
	}
	e.work.Add(1)
	return e.work.Done, nil
}

// Drain stops new work and waits until every begun attempt has been settled
// and stored, or ctx ends. What is left then is in the journal, and will be
// taken up from there.
func (e *Engine) Drain(ctx context.Context) error {
	e.gate.Lock()
	e.draining = true
	e.gate.Unlock()
	done := make(chan struct{})
	go func() {
		e.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		e.cancel(ErrStopping) // lets whoever still waits for the store give up
		<-done
		return fmt.Errorf("not every refresh could be stored, the journal keeps the rest: %w", context.Cause(ctx))
	}
}

// Stop drains, then ends the background loops.
func (e *Engine) Stop(ctx context.Context) error {
	err := e.Drain(ctx)
	e.dropRetained()
	e.cancel(ErrStopping)
	e.crew.stop()
	e.commits.stop()
	e.touches.stop()
	e.loops.Wait()
	if err == nil {
		// Nothing is open under this name any more. A heartbeat that stays
		// behind does no harm, so a store that is away is no failure.
		if forgot := e.registry.Forget(ctx, e.owner); forgot != nil {
			e.log.Debug().Err(forgot).Msg("the heartbeat stays behind")
		}
	}
	return errors.Join(err, e.releaseAdopted())
}

// newNonce draws a nonce.
func newNonce() credential.Nonce {
	var n credential.Nonce
	_, _ = rand.Read(n[:]) // never fails: crypto/rand ends the process instead
	return n
}
