package refresh

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// rated limits a node's calls, and has its exchanges stand still for d right
// before they would be written.
func (n *node) rated(b *bundle, limits Limits, d time.Duration) {
	n.t.Helper()
	target := b.target()
	target.Limits = limits
	target.Exchanger = heldUp{b.provider, func() { b.clock.advance(d) }}
	n.SetTargets(n.t.Context(), []Target{target})
}

// takes returns how many permits of two can be had now.
func (n *node) takes(limits Limits) int {
	n.t.Helper()
	got, err := n.store.Take(n.t.Context(), acme, limits, 2, time.Hour)
	require.NoError(n.t, err)
	return got.Count
}

// Whoever comes with a permit that has lapsed calls in another place within the
// rate, which others do not have then.
func TestALapsedPermitIsRenewed(t *testing.T) {
	t.Parallel()
	limits := Limits{Concurrency: 8, PerSecond: 1} // a call in 1.25 s, of permits that are good for 0.2 s
	for name, late := range map[string]time.Duration{
		"in time":              200 * time.Millisecond,
		"late":                 1300 * time.Millisecond,
		"when two have passed": 4 * time.Second, // one is kept
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n, other := b.node("one"), b.node("two")
			n.rated(b, limits, late)
			b.put(n, "alice")
			b.due()
			assert.Equal(t, credential.BatchReport{Refreshed: 1}, b.batch(n, "alice"))
			assert.Zero(t, other.takes(limits))
			n.returns(1)
			b.clock.advance(1250 * time.Millisecond)
			assert.Equal(t, 1, other.takes(limits))
		})
	}
}

// It waits for it, and calls as soon as it may.
func TestALapsedPermitWaitsForItsPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	n.rated(b, Limits{Concurrency: 8, PerSecond: 1}, time.Second) // 0.25 s before there is another
	b.put(n, "alice")
	b.due()
	done := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	require.Eventually(t, func() bool {
		n.store.mu.Lock()
		defer n.store.mu.Unlock()
		return n.store.unplaced > 0
	}, patience, time.Millisecond)
	assert.Zero(t, b.provider.calls())
	b.clock.advance(250 * time.Millisecond)
	got := soon(t, done, "the end of the batch")
	require.NoError(t, got.err)
	assert.Equal(t, credential.BatchReport{Refreshed: 1}, got.value)
}

// A crowd that is late together is given its places together: the store is asked
// once for all who wait.
func TestACrowdOfLapsedPermits(t *testing.T) {
	t.Parallel()
	const crowd = 90
	b := setup(t)
	n := b.node("one")
	target := b.target()
	target.Limits = Limits{Concurrency: 1000, PerSecond: 10_000}
	n.SetTargets(t.Context(), []Target{target})
	slow := &slowPermits{Permits: n.permits, entered: make(chan int), let: make(chan struct{})}
	n.permits = slow
	lease := &permitLease{engine: n.Engine, target: &target, within: time.Second / 5, asked: b.clock.Boot()}
	b.clock.advance(time.Second)
	ends := make(chan error, crowd)
	for range crowd {
		start := lease.start(t.Context())
		go func() { ends <- start() }()
	}
	<-slow.entered
	require.Eventually(t, func() bool { return n.lapsed.places(acme).waiting() == crowd }, patience, time.Millisecond)
	var rest sync.WaitGroup
	rest.Go(func() {
		slow.let <- struct{}{}
		for range slow.entered {
			slow.let <- struct{}{}
		}
	})
	for range crowd {
		require.NoError(t, <-ends)
	}
	close(slow.entered)
	rest.Wait()
	assert.LessOrEqual(t, slow.calls.Load(), int32(3))
}

// slowPermits lets each question wait.
type slowPermits struct {
	Permits

	entered chan int
	let     chan struct{}
	calls   atomic.Int32
}

func (s *slowPermits) Take(ctx context.Context, provider string, limits Limits, want int, lease time.Duration) (Taken, error) {
	s.calls.Add(1)
	s.entered <- want
	<-s.let
	return s.Permits.Take(ctx, provider, limits, want, lease)
}

// Where there is no place in time nothing is sent: not by the schedule, which
// gives it back as it is due, nor on demand, nor of a login that was just brought.
func TestALapsedPermitWithoutAPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	b.put(n, "alice")
	target := b.target()
	target.Limits = Limits{Concurrency: 8, PerSecond: 1}
	limited := credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited}
	late := func(until time.Duration) { // the provider is held by the time of the call
		target.Exchanger = heldUp{b.provider, func() {
			require.NoError(t, n.store.Hold(t.Context(), acme, until, limited))
			b.clock.advance(time.Second)
		}}
		n.SetTargets(t.Context(), []Target{target})
	}
	b.due()
	late(20 * time.Second)
	before := b.held(n, "alice")
	assert.Equal(t, credential.BatchReport{Returned: 1}, b.batch(n, "alice"))
	after := b.held(n, "alice")
	assert.Nil(t, after.Attempt)
	assert.Equal(t, before.Record.RefreshAt, after.Record.RefreshAt, "it keeps its place")
	assert.Empty(t, n.inJournal().Intents, "nothing was sent that could be in doubt")
	n.returns(1)

	b.clock.advance(20 * time.Second)
	_, err := n.Refresh(t.Context(), "alice", 0)
	unavailable := new(UnavailableError)
	require.ErrorAs(t, err, &unavailable)
	assert.Equal(t, credential.ReasonRateLimited, unavailable.Reason)
	assert.Greater(t, unavailable.RetryAfter, 15*time.Second)

	b.clock.advance(20 * time.Second)
	_, err = n.Put(t.Context(), signIn(password), Expect{})
	putOff := new(LoginPutOffError)
	require.ErrorAs(t, err, &putOff)
	assert.Equal(t, credential.ReasonRateLimited, putOff.Reason)
	assert.Zero(t, b.provider.calls())
	logins, _ := b.provider.counted()
	assert.Zero(t, logins)

	b.clock.advance(20 * time.Second)
	target.Exchanger = b.provider
	n.SetTargets(t.Context(), []Target{target})
	assert.Equal(t, credential.BatchReport{Refreshed: 1}, b.batch(n, "alice"))
}

// So it is where a token or a user is asked about.
func TestALapsedPermitAsksNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	target := b.target()
	target.Limits, target.Verify, target.Policy.AsksUserData = Limits{Concurrency: 8, PerSecond: 1}, true, true
	slow := heldUpQuestions{b.provider, func() { b.clock.advance(b.policy.Times.Send) }}
	target.Exchanger = slow
	n.SetTargets(t.Context(), []Target{target})
	_, refused, err := n.Verify(t.Context(), acme, []credential.ID{"alice"})
	require.NoError(t, err)
	assert.Zero(t, refused)
	require.ErrorAs(t, n.askUserData(t.Context(), &target, b.held(n, "alice"), credential.BySchedule), new(*UnavailableError))
	assert.Zero(t, b.provider.verified)
	assert.Zero(t, b.provider.profiled)
	n.returns(2)
}

// heldUpQuestions is heldUp for what is asked about a token.
type heldUpQuestions struct {
	*fakeProvider

	standStill func()
}

func (p heldUpQuestions) Verify(ctx context.Context, token credential.Token, subject string, start func() error) credential.Outcome {
	p.standStill()
	return p.fakeProvider.Verify(ctx, token, subject, start)
}

func (p heldUpQuestions) UserData(ctx context.Context, token credential.Token, subject string, start func() error) (credential.UserData, credential.Outcome) {
	p.standStill()
	return p.fakeProvider.UserData(ctx, token, subject, start)
}

// A permit lets one call through: a request that could not be written and is
// begun again needs another place, and so does everybody who has lost his.
func TestAPermitIsOneCall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	limits := Limits{Concurrency: 8, PerSecond: 1}
	n.rated(b, limits, 0)
	target, err := n.target(acme)
	require.NoError(t, err)
	permits, err := n.takePermits(t.Context(), target, 1)
	require.NoError(t, err)
	begin := permits.start(t.Context())
	require.NoError(t, begin())
	b.clock.advance(1250 * time.Millisecond)
	require.NoError(t, begin())
	assert.Zero(t, n.takes(limits), "it has taken the place of another call")

	n.store.set(func(s *faultyStore) { s.away = true })
	require.ErrorIs(t, begin(), errAway)
	n.store.set(func(s *faultyStore) { s.away = false })
	b.clock.advance(target.Policy.Times.Send)
	require.ErrorAs(t, begin(), new(*UnavailableError), "the call would be sent too late")

	n.rated(b, Limits{Concurrency: 8}, 0)
	target, err = n.target(acme)
	require.NoError(t, err)
	permits, err = n.takePermits(t.Context(), target, 1)
	require.NoError(t, err)
	assert.Nil(t, permits.start(t.Context()), "without a rate any time will do")
}

// Whoever finds every permit out waits for one to come back, in a queue of which
// only the first asks.
func TestAPermitThatComesBackIsWaitedFor(t *testing.T) {
	t.Parallel()
	const crowd = 5
	b := setup(t)
	n, other := b.node("one"), b.node("two")
	limits := Limits{Concurrency: 1}
	n.rated(b, limits, 0)
	names := make([]credential.ID, crowd)
	for i := range names {
		names[i] = credential.ID(fmt.Sprintf("user%d", i))
		b.put(n, names[i])
	}
	held, err := other.store.Take(t.Context(), acme, limits, 1, time.Hour)
	require.NoError(t, err)
	require.Equal(t, 1, held.Count)
	counted := &countedPermits{Permits: n.permits}
	n.permits = counted
	ends := make(chan error, crowd)
	for _, id := range names {
		go func() {
			_, err := n.Refresh(t.Context(), id, 0)
			ends <- err
		}()
	}
	require.Eventually(t, func() bool { return counted.asked.Load() > crowd }, patience, time.Millisecond, "they ask again")
	assert.Zero(t, b.provider.calls())
	require.NoError(t, other.store.Return(t.Context(), acme, held.ID, held.Count))
	for range crowd {
		require.NoError(t, <-ends)
	}
	assert.Equal(t, crowd, b.provider.calls())
}

// Whoever waits for a permit while somebody pauses what he waits for gets none, and
// is told of the pause.
func TestAPauseIsForThoseWhoWait(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]func(t *testing.T, n *node) error{
		"the credential": func(t *testing.T, n *node) error {
			t.Helper()
			_, err := n.SetPaused(t.Context(), "alice", true, "")
			return err
		},
		"the provider": func(t *testing.T, n *node) error {
			t.Helper()
			_, err := n.PauseProvider(t.Context(), acme, true)
			return err
		},
		"all": func(t *testing.T, n *node) error {
			t.Helper()
			_, err := n.PauseProvider(t.Context(), credential.AllClients, true)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n, other := b.node("one"), b.node("two")
			limits := Limits{Concurrency: 1}
			n.rated(b, limits, 0)
			b.put(n, "alice")
			held, err := other.store.Take(t.Context(), acme, limits, 1, time.Hour)
			require.NoError(t, err)
			counted := &countedPermits{Permits: n.permits}
			n.permits = counted
			end := make(chan error, 1)
			go func() {
				_, err := n.Refresh(t.Context(), "alice", 0)
				end <- err
			}()
			require.Eventually(t, func() bool { return counted.asked.Load() > 1 }, patience, time.Millisecond, "it waits")
			require.NoError(t, pause(t, n))
			require.NoError(t, other.store.Return(t.Context(), acme, held.ID, held.Count))
			unavailable := new(UnavailableError)
			require.ErrorAs(t, <-end, &unavailable)
			assert.Equal(t, credential.ReasonPaused, unavailable.Reason)
			assert.Equal(t, time.Minute, unavailable.RetryAfter)
			assert.Zero(t, b.provider.calls())
			assert.Equal(t, 1, n.takes(limits), "its permit came back")
		})
	}
}

type countedPermits struct {
	Permits

	asked atomic.Int32
}

func (c *countedPermits) Take(ctx context.Context, provider string, limits Limits, want int, lease time.Duration) (Taken, error) {
	c.asked.Add(1)
	return c.Permits.Take(ctx, provider, limits, want, lease)
}

// What a batch has claimed counts as waiting until it has its permits, or was put
// back for want of them: as many others can be claimed then, by anyone. Who is only
// told something takes nobody's place.
func TestClaimsWaitUntilTheyHaveTheirPermits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n, other := b.node("one"), b.node("two")
	target := b.target()
	target.Limits = Limits{Concurrency: 2}
	n.SetTargets(t.Context(), []Target{target})
	ids := []credential.ID{"alice", "bob", "carol"}
	for _, id := range ids {
		b.put(n, id)
	}
	b.due()
	claim := func(room int) (int, string) {
		got, id, err := other.store.ReserveClaims(t.Context(), acme, room, room)
		require.NoError(t, err)
		return got, id
	}
	free := func(want int, of string) {
		t.Helper()
		require.Eventually(t, func() bool { got, _ := claim(4); return got == want }, patience, time.Millisecond, of)
	}
	got, reservation := claim(3)
	require.Equal(t, 3, got)
	got, _ = claim(4)
	require.Equal(t, 1, got)
	_, err := n.AdvanceBatch(t.Context(), acme, ids)
	require.NoError(t, err)
	got, _ = claim(4)
	assert.Zero(t, got, "nobody has begun them")

	refresh := func(ids ...credential.ID) credential.BatchReport {
		t.Helper()
		report, err := n.RefreshBatch(t.Context(), acme, ids, reservation)
		require.NoError(t, err)
		return report
	}
	assert.Equal(t, credential.BatchReport{Refreshed: 1}, refresh("alice"))
	free(1, "the one that has a permit")

	n.store.set(func(s *faultyStore) {
		s.scripted = func(int) (int, time.Duration) { return 0, time.Hour }
	})
	assert.Equal(t, credential.BatchReport{Returned: 2}, refresh("bob", "carol"))
	free(2, "those that were put back")
}

// However a batch ends, nothing of what it has claimed counts as waiting any more: that
// would keep every process from claiming others. What other batches have claimed on the
// same reservation still waits.
func TestABatchThatEndsHoldsNoRoom(t *testing.T) {
	t.Parallel()
	ids := []credential.ID{"alice", "bob", "carol"}
	for name, tt := range map[string]struct {
		limits  Limits
		trouble func(*bundle, *node) *node // who gets the batch then
		want    credential.BatchReport
		fails   bool
	}{
		"all of it is refreshed": {want: credential.BatchReport{Refreshed: 3}},
		"given back at a start": {
			trouble: func(b *bundle, n *node) *node {
				b.settle(n)
				return b.node("three", lossy)
			},
			want: credential.BatchReport{Returned: 3},
		},
		"given back for want of permits": {
			limits: Limits{Concurrency: 1},
			trouble: func(_ *bundle, n *node) *node {
				first := true
				n.store.set(func(s *faultyStore) {
					s.scripted = func(int) (int, time.Duration) {
						if first {
							first = false
							return 1, 0
						}
						return 0, time.Hour
					}
				})
				return n
			},
			want: credential.BatchReport{Refreshed: 1, Returned: 2},
		},
		"the client is paused": {
			trouble: func(b *bundle, n *node) *node {
				_, err := n.breakers.pause(b.t.Context(), acme, true)
				require.NoError(b.t, err)
				return n
			},
			want: credential.BatchReport{Skipped: 3},
		},
		"the provider is not configured": {
			trouble: func(b *bundle, n *node) *node {
				n.SetTargets(b.t.Context(), nil)
				return n
			},
			fails: true,
		},
		"the breaker cannot be read": {
			trouble: func(_ *bundle, n *node) *node {
				n.breakers.forget(acme)
				n.store.set(func(s *faultyStore) { s.away = true })
				return n
			},
			fails: true,
		},
		"permits cannot be taken": {
			limits: Limits{Concurrency: 1},
			trouble: func(b *bundle, n *node) *node {
				_, err := n.breakers.heldBack(b.t.Context(), acme)
				require.NoError(b.t, err)
				n.store.set(func(s *faultyStore) { s.away = true })
				return n
			},
			fails: true,
		},
		"some have permits and cannot be begun": {
			limits: Limits{Concurrency: 1},
			trouble: func(_ *bundle, n *node) *node {
				n.journal.set(func(j *testJournal) { j.intend = errFull })
				return n
			},
			fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n, other := b.node("one", lossy), b.node("two", lossy)
			target := b.target()
			target.Limits = tt.limits
			n.SetTargets(t.Context(), []Target{target})
			for _, id := range ids {
				b.put(n, id)
			}
			b.due()
			if tt.trouble != nil {
				n = tt.trouble(b, n)
			}
			const room = 5
			got, reservation, err := other.store.ReserveClaims(t.Context(), acme, room, room)
			require.NoError(t, err)
			require.Equal(t, room, got)

			report, err := n.RefreshBatch(t.Context(), acme, ids, reservation)
			require.Equal(t, tt.fails, err != nil, "%v", err)
			assert.Equal(t, tt.want, report)
			n.stop() // once it has said all that it has to say
			got, _, err = other.store.ReserveClaims(t.Context(), acme, room, room)
			require.NoError(t, err)
			assert.Equal(t, len(ids), got)
		})
	}
}
