package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/test/harness"
	"github.com/refreshd/refreshd/test/oracle"
)

// sabotageJournal deletes the journals of a host whose process was killed.
const sabotageJournal = "journal"

// settleLimit is longer than what is promised, so that it can be told by how
// much the promise was missed.
const settleLimit = 90 * time.Second

// catchUpLimit bounds the time until subscribers have everything: after two
// failures in a row a webhook's delivery waits for five minutes.
const catchUpLimit = 6 * time.Minute

// settleInLimit bounds the time until all replicas run and all users are stored.
const settleInLimit = time.Minute

// longLife is that of access tokens issued at the end.
const longLife = 2 * time.Hour

// options are those of one campaign.
type options struct {
	Seed      uint64        `json:"seed"`
	Redis     string        `json:"redis"`
	Faults    int           `json:"faults"`
	Rotations int64         `json:"rotations"`
	Duration  time.Duration `json:"duration"`
	Users     int           `json:"users"` // at the strict provider and at that with grace; a third of that at each other
	Sabotage  string        `json:"sabotage,omitempty"`
	Latency   time.Duration `json:"latency"`        // of the providers
	Acts      []act         `json:"acts,omitempty"` // instead of those that follow from the seed

	Only *regexp.Regexp `json:"-"`
}

// done is an act and what came of it.
type done struct {
	act

	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	Err   string    `json:"error,omitempty"`
}

// campaign is one run.
type campaign struct {
	options

	sabotage  string
	t         *testing.T
	dir       string
	house     *house
	owners    *owners
	plans     plans
	pulse     *pulse
	followers []*harness.Follower // of the replicas
	readers   []*reader

	mu       sync.Mutex
	plan     []act
	done     []done
	notes    []string
	problems []oracle.Violation
	kinds    []string // that are to occur at least once each
	injected map[string]int
	faults   int // that were injected; owners' changes are none
	armed    int // rules that were to kill a process
	settled  time.Duration
}

func newCampaign(t *testing.T, o options) *campaign {
	t.Helper()
	testproc.SkipWithoutRedis(t)
	out := option[string](t, flagOut)
	if out != "" {
		require.NoError(t, absolute(flagOut, out))
		require.NoError(t, os.MkdirAll(out, 0o700), "the folder that -out names")
	}
	dir, err := os.MkdirTemp(out, fmt.Sprintf("chaos-%s-%d-", o.Redis, o.Seed)) //nolint:usetesting // it is kept where a promise was broken
	require.NoError(t, err)
	c := &campaign{options: o, sabotage: o.Sabotage, t: t, dir: dir, owners: &owners{}, pulse: &pulse{}, injected: map[string]int{}}
	t.Cleanup(c.tidy) // after everything that is in it has ended
	c.house = buildHouse(t, dir, o.Redis)
	return c
}

func (c *campaign) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = append(c.notes, time.Now().Format(time.TimeOnly)+" "+fmt.Sprintf(format, args...))
}

// complain notes what broke a promise and shows nowhere else.
func (c *campaign) complain(promise, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, oracle.Violation{Promise: promise, What: fmt.Sprintf(format, args...)})
}

// settleIn stores the first tokens and waits until all are there.
func (c *campaign) settleIn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleInLimit)
	defer cancel()
	for _, r := range c.house.replicas {
		if err := r.start(ctx); err != nil {
			return err
		}
	}
	for _, name := range providerNames() {
		count := c.Users
		if name == plain || name == lasting {
			count /= 3
		}
		for n := range count {
			c.owners.users = append(c.owners.users, &user{id: fmt.Sprintf("%s:%d", name, n), provider: name, number: n})
		}
	}
	var logins sync.WaitGroup
	slots := make(chan struct{}, 8)
	errs := make([]error, len(c.owners.users))
	for n, u := range c.owners.users {
		slots <- struct{}{}
		logins.Go(func() {
			defer func() { <-slots }()
			_, errs[n] = c.login(ctx, u)
		})
	}
	logins.Wait()
	return errors.Join(errs...)
}

// rotations counts what the providers rotated so far.
func (c *campaign) rotations() int64 {
	var sum int64
	for _, p := range c.house.providers {
		sum += p.Summary().Rotations
	}
	return sum
}

// run carries the whole campaign out.
func (c *campaign) run() {
	c.t.Helper()
	ctx := c.t.Context()
	began := time.Now()
	if c.Latency > 0 {
		for _, p := range c.house.providers {
			_, err := p.Configure(practice.SettingsPatch{Latency: &c.Latency})
			require.NoError(c.t, err)
		}
	}
	watching, enough := context.WithCancel(ctx)
	var watchers, readers sync.WaitGroup
	defer func() { enough(); watchers.Wait(); readers.Wait() }()
	watchers.Go(func() { c.house.redis.record(watching) })
	watchers.Go(func() {
		if err := c.pulse.measure(watching, c.dir); err != nil {
			c.note("the disk's pulse: %v", err)
		}
	})
	require.NoError(c.t, c.settleIn(ctx))
	c.t.Logf("%s: %d credentials, ready after %s", c.Redis, len(c.owners.users), time.Since(began).Round(time.Millisecond))
	reading, noMore := context.WithCancel(watching)
	defer noMore()
	for _, r := range c.house.replicas {
		c.followers = append(c.followers, harness.Follow(c.t, r.streams))
		one := &reader{at: r, providers: c.house.providers}
		for _, u := range c.owners.users {
			one.ids = append(one.ids, u.id)
		}
		c.readers = append(c.readers, one)
		readers.Go(func() { one.read(reading) })
	}
	began = time.Now()
	before := c.rotations()
	returning, nobody := context.WithCancel(ctx)
	var owners sync.WaitGroup
	owners.Go(func() { c.comeBack(returning) })
	for range planners {
		owners.Go(func() { c.planAhead(returning) })
	}
	c.inflict(ctx)
	nobody()
	owners.Wait()
	took, rotated := time.Since(began), c.rotations()-before
	c.t.Logf("%s: %d faults and %d rotations in %s", c.Redis, c.faults, rotated, took.Round(time.Second))
	c.settle(ctx)
	c.calm(ctx)
	if c.sabotage == "" { // what is lost then shows without
		c.catchUp(ctx)
	}
	noMore()
	readers.Wait()
	enough()
	watchers.Wait()
	c.judge(ctx, took)
}

// inflict injects faults, step by step, until there were enough.
func (c *campaign) inflict(ctx context.Context) {
	c.t.Helper()
	limited, cancel := context.WithTimeout(ctx, c.Duration)
	defer cancel()
	ctx, over := context.WithCancel(limited)
	lanes := map[string]chan act{}
	var workers sync.WaitGroup
	defer func() {
		over()
		for _, lane := range lanes {
			close(lane)
		}
		workers.Wait()
	}()
	tick := time.NewTicker(stepLength)
	defer tick.Stop()
	next := c.source()
	step := 0
	for {
		a, more := next()
		if !more {
			over = func() {} // the acts of a given plan end by themselves
			return
		}
		for ; step < a.Step; step++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		if c.enough() {
			return
		}
		lane := lanes[a.Lane]
		if lane == nil {
			lane = make(chan act)
			lanes[a.Lane] = lane
			workers.Go(func() {
				for a := range lane {
					c.carryOut(ctx, a)
				}
			})
		}
		if !c.hand(ctx, lane, a) {
			return
		}
	}
}

// laneLimit is how long all steps wait for a lane that is behind: it has a
// process that does not come up, and the others are not to stand still.
const laneLimit = 5 * time.Second

// hand gives an act to its lane. It is false when the time is over.
func (c *campaign) hand(ctx context.Context, lane chan<- act, a act) bool {
	late := time.NewTimer(laneLimit)
	defer late.Stop()
	select {
	case lane <- a:
		return true
	case <-late.C:
		c.mu.Lock()
		defer c.mu.Unlock()
		now := time.Now()
		c.plan = append(c.plan, a)
		c.done = append(c.done, done{act: a, Began: now, Ended: now, Err: laneBusy})
		return true
	case <-ctx.Done():
		return false
	}
}

// source gives the acts: those of a given plan, or those of the seed.
func (c *campaign) source() func() (act, bool) {
	if c.Acts != nil {
		n := -1
		return func() (act, bool) {
			if n++; n >= len(c.Acts) {
				return act{}, false
			}
			return c.Acts[n], true
		}
	}
	planner := newPlanner(c.Seed, c.Redis, c.Only)
	require.True(c.t, slices.ContainsFunc(planner.habits, func(h habit) bool { return !ofOwners(h.kind) }), "-only %s names no kind of fault", c.Only)
	if c.Faults >= 2*len(planner.habits) {
		for _, h := range planner.habits {
			c.kinds = append(c.kinds, h.kind)
		}
	}
	return func() (act, bool) { return planner.next(), true }
}

func (c *campaign) enough() bool {
	c.mu.Lock()
	faults, missing := c.faults, c.missing()
	c.mu.Unlock()
	return c.Acts == nil && faults >= c.Faults && len(missing) == 0 && c.rotations() >= c.Rotations
}

// missing are the kinds of faults that are still to occur. The caller holds mu.
func (c *campaign) missing() []string {
	return slices.DeleteFunc(slices.Clone(c.kinds), func(kind string) bool { return c.injected[kind] > 0 })
}

func (c *campaign) carryOut(ctx context.Context, a act) {
	c.mu.Lock()
	c.plan = append(c.plan, a)
	c.mu.Unlock()
	one := done{act: a, Began: time.Now()}
	err := c.inject(ctx, a)
	one.Ended = time.Now()
	c.came(one, err)
}

// came notes what came of an act.
func (c *campaign) came(one done, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.Kind == kindPointKill {
		c.armed++
	}
	switch {
	case err == nil:
		c.injected[one.Kind]++
		if !ofOwners(one.Kind) {
			c.faults++
		}
	case errors.Is(err, errNothingDone):
		one.Err = err.Error()
	default:
		one.Err = err.Error()
		c.notes = append(c.notes, fmt.Sprintf("%s: %v", one.act, err))
	}
	c.done = append(c.done, one)
}

// settle ends all faults and waits until every credential is fresh, terminal
// or in quarantine.
func (c *campaign) settle(ctx context.Context) {
	c.t.Helper()
	h := c.house
	for _, one := range h.ways.all {
		if err := one.mend(); err != nil {
			c.complain("", "the end: %v", err)
		}
	}
	for _, p := range h.providers {
		p.ClearFaults()
	}
	for _, r := range h.replicas {
		if err := errors.Join(r.dropRules(""), r.check(ctx, false)); err != nil {
			c.complain("P8", "the end: %v", err)
		}
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	err := await(limited, func() error { return c.unsettled(limited) })
	c.settled = time.Since(began)
	if err != nil {
		c.settled = -1
		c.note("not settled: %v", err)
	}
	c.t.Logf("%s: settled after %s (%v)", c.Redis, time.Since(began).Round(time.Millisecond), err)
}

// unsettled says what is not yet as it should be.
func (c *campaign) unsettled(ctx context.Context) error {
	for _, r := range c.house.replicas {
		api, _ := r.reach()
		if api == nil {
			return fmt.Errorf("%s does not answer", r.name())
		}
		all, err := api.List(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name(), err)
		}
		waiting := map[string]int{}
		example := ""
		for id, one := range all {
			fresh := one.State == "active" && one.ExpiresAt.After(time.Now()) && !one.InDoubt
			if !fresh && one.State != "reauth_required" && one.State != "logged_out" {
				waiting[fmt.Sprintf("%s, in doubt %t", one.State, one.InDoubt)]++
				example = id
			}
		}
		if len(waiting) > 0 {
			return fmt.Errorf("%s: %v, such as %s", r.name(), waiting, example)
		}
	}
	return nil
}

// calm gives the tokens to come long lives and waits until all have one: from
// then on nothing changes any more, and what is read at the end fits together.
func (c *campaign) calm(ctx context.Context) {
	c.t.Helper()
	for _, p := range c.house.providers {
		_, err := p.Configure(practice.SettingsPatch{AccessTTL: new(longLife)})
		require.NoError(c.t, err)
	}
	limited, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	err := await(limited, func() error {
		api := c.house.anyone(0)
		if api == nil {
			return errors.New("nobody answers")
		}
		all, err := api.List(limited)
		if err != nil {
			return err
		}
		for id, one := range all {
			if one.State == "active" && time.Until(one.ExpiresAt) < longLife/2 {
				return fmt.Errorf("%s has no long life yet", id)
			}
		}
		return nil
	})
	if err != nil {
		c.complain("P8", "the end: %v", err)
	}
}

// subscribers are all that hear of events, by name.
func (c *campaign) subscribers() map[string]subscriber {
	all := map[string]subscriber{"the webhook": c.house.receiver}
	for n, f := range c.followers {
		all["the follower of "+laneReplica(n)] = f
	}
	return all
}

// catchUp waits until every subscriber has the newest version of all.
func (c *campaign) catchUp(ctx context.Context) {
	c.t.Helper()
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	api := c.house.anyone(0)
	if api == nil {
		return
	}
	now, err := api.List(limited)
	if err != nil {
		c.complain("P8", "the end: %v", err)
		return
	}
	err = await(limited, func() error {
		for name, s := range c.subscribers() {
			if n := behind(s, now); n > 0 {
				return fmt.Errorf("%s is behind on %d credentials", name, n)
			}
		}
		return nil
	})
	if err != nil {
		c.complain("P4", "%v", err)
	}
	c.t.Logf("%s: subscribers had everything after %s", c.Redis, time.Since(began).Round(time.Millisecond))
}

func TestCampaign(t *testing.T) {
	if folder := option[string](t, flagReplay); folder != "" {
		o := replayed(t, folder)
		newCampaign(t, o).run()
		return
	}
	kinds := []string{everysec, always}
	if one := option[string](t, flagRedis); one != "both" {
		kinds = []string{one}
	}
	var only *regexp.Regexp
	if text := option[string](t, flagOnly); text != "" {
		only = regexp.MustCompile(text)
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			newCampaign(t, options{
				Seed: option[uint64](t, flagSeed), Redis: kind, Only: only, Sabotage: option[string](t, flagSabotage),
				Faults: option[int](t, flagFaults) / len(kinds), Rotations: int64(option[int](t, flagRotations) / len(kinds)),
				Duration: option[time.Duration](t, flagDuration), Users: option[int](t, flagUsers),
			}).run()
		})
	}
}

// replayed reads the plan of an earlier run.
func replayed(t testing.TB, folder string) options {
	t.Helper()
	require.NoError(t, absolute(flagReplay, folder))
	data, err := os.ReadFile(filepath.Join(folder, "plan.json"))
	require.NoError(t, err)
	return readPlan(t, data)
}
