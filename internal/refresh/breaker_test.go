package refresh

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// probeOfOne is when a client is probed with the only credential that there is.
const probeOfOne = credential.ProbeEvery + credential.StandBack

func refusedClient() credential.Outcome {
	return credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured}
}

// While a provider refuses the client itself there is one event, one probe a
// minute, and no credential is to blame.
func TestBreaker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	recovered := make(chan string, 10)
	n := b.node("one", func(o *Options) { o.OnClientRecovered = func(provider string) { recovered <- provider } })
	var ids []credential.ID
	for i := range 100 {
		ids = append(ids, credential.ID(fmt.Sprintf("user-%d", i)))
		b.put(n, ids[i])
	}
	b.due()
	b.provider.failing(refusedClient())
	let := b.provider.holding()
	done := start(func() (credential.BatchReport, error) { return n.RefreshBatch(t.Context(), acme, ids, "") })
	for range ids {
		soon(t, b.provider.entered, "an exchange")
	}
	let()
	got := soon(t, done, "the end of the batch")
	require.NoError(t, got.err)
	assert.Equal(t, credential.BatchReport{Failed: 100}, got.value)
	client := credential.ClientID(acme)
	assert.Equal(t, []credential.EventType{credential.EventClientMisconfigured}, b.events(n, client), "one of a hundred")
	assert.Equal(t, credential.StateActive, b.held(n, ids[7]).Record.State)

	// Nothing more goes out, but one a minute, whoever asks.
	for minute := 1; minute <= 3; minute++ {
		b.clock.advance(credential.ProbeEvery - time.Second)
		b.batch(n, ids...)
		_, err := n.Refresh(t.Context(), ids[0], 1)
		unavailable := new(UnavailableError)
		require.ErrorAs(t, err, &unavailable)
		assert.Equal(t, credential.ReasonClientMisconfigured, unavailable.Reason)
		b.clock.advance(time.Second)
		report := b.batch(n, ids...)
		assert.Equal(t, credential.BatchReport{Failed: 1, Skipped: 99}, report)
		assert.Equal(t, 100+minute, b.provider.calls())
	}
	assert.Len(t, b.events(n, client), 1)

	// The next probe succeeds, and the rest follows it.
	b.provider.ordinary()
	b.clock.advance(credential.ProbeEvery)
	assert.Equal(t, credential.BatchReport{Refreshed: 100}, b.batch(n, ids...))
	assert.Equal(t, acme, soon(t, recovered, "the word that the client recovered"))
	assert.Empty(t, recovered)
	assert.Equal(t, []credential.EventType{credential.EventClientMisconfigured, credential.EventClientRecovered}, b.events(n, client))
	for _, id := range ids {
		assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventRefreshed}, b.events(n, id))
	}
}

// What is not due any more is published although no call is made.
func TestExpiryBehindAnOpenBreaker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	b.provider.failing(refusedClient())
	b.batch(n, "alice")
	for range 5 {
		b.clock.advance(4 * time.Minute)
		b.batch(n, "alice") // the probe
	}
	calls := b.provider.calls()
	b.clock.advance(time.Second)
	b.batch(n, "alice")
	assert.Equal(t, calls, b.provider.calls())
	assert.Equal(t, credential.StateExpired, b.held(n, "alice").Record.State)
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventExpired}, b.events(n, "alice"))
	next, ok, err := n.store.NextDue(t.Context(), 0, acme)
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, b.clock.Now().Add(idlePause), next)
}

// What rests while its client is held back is looked at in time for its expiry.
func TestAnExpiryIsToldInTimeWhileItRests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	expiry := b.put(n, "alice").Record.ExpiresAt
	changed, err := n.PauseProvider(t.Context(), acme, true)
	require.NoError(t, err)
	require.True(t, changed)
	b.clock.advance(life - idlePause/3)
	b.batch(n, "alice")
	next, ok, err := n.store.NextDue(t.Context(), 0, acme)
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, expiry, next)
	b.clock.advance(idlePause / 3)
	b.batch(n, "alice")
	assert.Equal(t, credential.StateExpired, b.held(n, "alice").Record.State)
	assert.Zero(t, b.provider.calls())
}

// Who has not heard of a resumption yet puts nothing to rest that is due.
func TestWhatWasResumedDoesNotRest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	b.put(one, "alice")
	_, err := one.PauseProvider(t.Context(), acme, true)
	require.NoError(t, err)
	b.due()
	b.batch(two, "alice")
	_, err = one.PauseProvider(t.Context(), acme, false)
	require.NoError(t, err)
	b.batch(two, "alice")
	next, ok, err := two.store.NextDue(t.Context(), 0, acme)
	require.NoError(t, err)
	require.True(t, ok)
	assert.LessOrEqual(t, next, b.clock.Now())
	assert.Equal(t, credential.BatchReport{Refreshed: 1}, b.batch(two, "alice"))
}

// Changed settings are probed at once; the same ones are not.
func TestRetune(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	b.put(one, "alice")
	b.due()
	b.provider.failing(refusedClient())
	b.batch(one, "alice")
	one.SetTargets(t.Context(), []Target{b.target()})
	b.batch(one, "alice")
	require.Equal(t, 1, b.provider.calls())

	b.provider.ordinary()
	mended := b.target()
	mended.Settings = "second"
	one.SetTargets(t.Context(), []Target{mended})
	assert.Equal(t, credential.BatchReport{Refreshed: 1}, b.batch(one, "alice"))

	b.clock.advance(breakerFresh)
	b.due()
	assert.Equal(t, credential.BatchReport{Refreshed: 1}, b.batch(two, "alice"), "every process hears of it")
}

// An event of the client that is heard while a probe is in the air makes the
// breaker's state unknown, and its success counts all the same.
func TestProbeSucceedsWhileTheStateIsUnknown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	b.provider.failing(refusedClient())
	b.batch(n, "alice")
	b.provider.ordinary()
	b.clock.advance(probeOfOne)
	let := b.provider.holding()
	done := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	<-b.provider.entered // of the first batch
	soon(t, b.provider.entered, "the probe")
	n.Observe(credential.Event{ID: credential.ClientID(acme), Provider: acme, Version: 1})
	let()
	require.NoError(t, soon(t, done, "the end of the batch").err)
	assert.False(t, credential.BreakerOf(b.held(n, credential.ClientID(acme)).Record).Open)
}

// Permits: as many attempts as there are permits, and each comes back.
func TestPermits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	target := b.target()
	target.Limits = Limits{Concurrency: 3}
	n.SetTargets(t.Context(), []Target{target})
	var ids []credential.ID
	for i := range 10 {
		ids = append(ids, credential.ID(fmt.Sprintf("user-%d", i)))
		b.put(n, ids[i])
	}
	b.due()
	free, err := n.Capacity(t.Context(), acme, 2*time.Second)
	require.NoError(t, err)
	assert.Equal(t, 3, free)
	let := b.provider.holding()
	done := start(func() (credential.BatchReport, error) { return n.RefreshBatch(t.Context(), acme, ids, "") })
	for range 3 {
		soon(t, b.provider.entered, "an exchange")
	}
	assert.Equal(t, 3, b.provider.calls())
	free, err = n.Capacity(t.Context(), acme, 2*time.Second)
	require.NoError(t, err)
	assert.Zero(t, free)

	// What is not begun within the batch's budget goes back.
	b.clock.advance(batchBudget + time.Second)
	let()
	got := soon(t, done, "the end of the batch")
	require.NoError(t, got.err)
	assert.Equal(t, credential.BatchReport{Refreshed: 3, Returned: 7}, got.value)
	n.returns(3)
	assert.Equal(t, credential.BatchReport{Refreshed: 7}, b.batch(n, ids[3:]...))
	n.returns(10)
	assert.Equal(t, 1, b.provider.most())
	_, err = n.Capacity(t.Context(), "nobody", time.Second)
	require.ErrorIs(t, err, ErrUnknownProvider)
}

// returns waits until so many permits were given back: nobody else waits for
// that.
func (n *node) returns(permits int) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		n.store.mu.Lock()
		defer n.store.mu.Unlock()
		return n.store.returned == permits
	}, patience, time.Millisecond)
}

// A provider that says when it wants to be called again is left alone until
// then: by other replicas, for other credentials, and whoever forces it.
func TestRetryAfterIsTheClients(t *testing.T) {
	t.Parallel()
	b := setup(t)
	target := b.target()
	target.Limits = Limits{Concurrency: 3, PerSecond: 100}
	one, two := b.node("one"), b.node("two")
	for _, n := range []*node{one, two} {
		n.SetTargets(t.Context(), []Target{target})
	}
	for _, id := range []credential.ID{"alice", "bob"} {
		b.put(one, id)
	}
	b.due()
	b.provider.failing(credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited, RetryAfter: credential.MaxRetryAfter})
	b.batch(one, "alice")
	require.Equal(t, 1, b.provider.calls())
	b.provider.ordinary()

	assert.Equal(t, credential.BatchReport{Returned: 1}, b.batch(two, "bob"))
	next, ok, err := two.store.NextDue(t.Context(), 0, acme)
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, b.held(two, "bob").Record.RefreshAt, next, "it keeps its place")
	for _, n := range []*node{one, two} {
		capacity, err := n.Capacity(t.Context(), acme, 2*time.Second)
		require.NoError(t, err)
		assert.Zero(t, capacity, "nothing is claimed, however fast its answers came")
	}
	for _, id := range []credential.ID{"alice", "bob"} {
		_, err = two.Refresh(t.Context(), id, 0)
		unavailable := new(UnavailableError)
		require.ErrorAs(t, err, &unavailable, id)
		assert.Equal(t, credential.ReasonRateLimited, unavailable.Reason)
		assert.Greater(t, unavailable.RetryAfter, maxHold-time.Minute)
		assert.LessOrEqual(t, unavailable.RetryAfter, maxHold+maxHold/10, "a wrong number keeps nobody for long")
	}
	assert.Equal(t, 1, b.provider.calls())
	held, err := two.Token(t.Context(), "bob", 0)
	require.NoError(t, err, "what lives is served")
	assert.EqualValues(t, 1, held.Record.Generation)
}

// Whoever asked for it is told how long, also where the token in hand ends before:
// its end brings no other one.
func TestRetryAfterIsToldBeyondTheTokensEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	login := b.login("alice")
	login.ExpiresIn = 5 * time.Minute
	_, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	const told = 15 * time.Minute
	b.provider.failing(credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited, RetryAfter: told})
	b.clock.advance(6 * time.Second)
	_, err = n.Refresh(t.Context(), "alice", 0)
	unavailable := new(UnavailableError)
	require.ErrorAs(t, err, &unavailable)
	assert.Equal(t, credential.ReasonRateLimited, unavailable.Reason)
	assert.GreaterOrEqual(t, unavailable.RetryAfter, told)
	assert.LessOrEqual(t, unavailable.RetryAfter, told+told/10)
	assert.Equal(t, credential.NextDue(b.held(n, "alice").Record, nil), b.clock.Now().Add(5*time.Minute-6*time.Second), "its end is told in time all the same")
}

// So it is where a login was answered so that its owner has just brought.
func TestRetryAfterOfASignIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	target := b.target()
	target.Limits = Limits{Concurrency: 3, PerSecond: 100}
	n.SetTargets(t.Context(), []Target{target})
	limited := credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited, RetryAfter: time.Minute}
	b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &limited } })
	_, err = n.Put(t.Context(), signIn(password), Expect{})
	require.ErrorAs(t, err, new(*LoginPutOffError))
	capacity, err := n.Capacity(t.Context(), acme, 2*time.Second)
	require.NoError(t, err)
	assert.Zero(t, capacity)
}

// A provider without limits asks nobody for permits.
func TestNoLimits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	free, err := n.Capacity(t.Context(), acme, time.Second)
	require.NoError(t, err)
	assert.Equal(t, maxCapacity, free)
}

// While a provider asks to be left alone the probe of a refused client is not
// used up: nobody could make the call. Nor is it by whoever has no call to make
// for which a probe is meant.
func TestAProbeIsLeftToWhoeverCanMakeIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	target := b.target()
	target.Limits, target.Verify = Limits{Concurrency: 3, PerSecond: 100}, true
	n.SetTargets(t.Context(), []Target{target})
	b.put(n, "alice")
	b.due()
	b.provider.failing(refusedClient())
	b.batch(n, "alice")
	require.Equal(t, 1, b.provider.calls())
	b.clock.advance(probeOfOne)
	b.provider.ordinary()
	limited := credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited}
	require.NoError(t, n.store.Hold(t.Context(), acme, 20*time.Second, limited))

	assert.Equal(t, credential.BatchReport{Returned: 1}, b.batch(n, "alice"))
	_, err := n.Refresh(t.Context(), "alice", 0)
	unavailable := new(UnavailableError)
	require.ErrorAs(t, err, &unavailable)
	assert.Equal(t, credential.ReasonRateLimited, unavailable.Reason)
	_, err = n.Put(t.Context(), signIn(password), Expect{})
	putOff := new(LoginPutOffError)
	require.ErrorAs(t, err, &putOff)
	assert.Equal(t, credential.ReasonRateLimited, putOff.Reason)
	b.clock.advance(21 * time.Second)
	asked, _, err := n.Verify(t.Context(), acme, []credential.ID{"alice"})
	require.NoError(t, err)
	assert.Zero(t, asked)
	assert.Equal(t, 1, b.provider.calls())

	assert.Equal(t, credential.BatchReport{Refreshed: 1}, b.batch(n, "alice"), "the probe")
	assert.Equal(t, 2, b.provider.calls())
}

// Of two that have a permit one makes the probe, and the other gives its permit
// back, and what it has begun.
func TestOneOfTwoMakesTheProbe(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]func(b *bundle, two *node){
		"a batch": func(b *bundle, two *node) {
			assert.Equal(b.t, credential.BatchReport{Returned: 1}, b.batch(two, "bob"))
		},
		"on demand": func(b *bundle, two *node) {
			_, err := two.Refresh(b.t.Context(), "bob", 1)
			unavailable := new(UnavailableError)
			require.ErrorAs(b.t, err, &unavailable)
			assert.Equal(b.t, credential.ReasonClientMisconfigured, unavailable.Reason)
		},
		"a login": func(b *bundle, two *node) {
			put, err := two.Put(b.t.Context(), signIn(password), Expect{})
			putOff := new(LoginPutOffError)
			require.ErrorAs(b.t, err, &putOff, "%+v", put)
			assert.Equal(b.t, credential.ReasonClientMisconfigured, putOff.Reason)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.backend()
			one, two := b.node("one"), b.node("two")
			target := b.target()
			target.Limits = Limits{Concurrency: 3}
			for _, n := range []*node{one, two} {
				n.SetTargets(t.Context(), []Target{target})
			}
			b.put(one, "alice")
			b.put(one, "bob")
			b.due()
			b.provider.failing(refusedClient())
			b.batch(one, "alice")
			one.returns(1)
			b.clock.advance(probeOfOne)
			two.store.set(func(s *faultyStore) {
				s.scripted = func(int) (int, time.Duration) { // while it gets its permit, the other one makes the probe
					b.batch(one, "alice")
					return 1, 0
				}
			})
			late(b, two)
			two.returns(1)
			assert.Equal(t, 2, b.provider.calls())
			logins, _ := b.provider.counted()
			assert.Zero(t, logins)
			h := b.held(one, "bob")
			assert.Nil(t, h.Attempt)
			assert.Zero(t, h.Record.Failures)
			assert.True(t, credential.Due(h.Record, nil, b.clock.Now()).Refresh, "it is due as before")
		})
	}
}

// The probe is left to whoever has a call to make: a credential that is not due,
// or that is in other hands, takes none.
func TestAProbeIsNotForWhatNeedsNoCall(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]func(b *bundle, n *node){
		"not due": func(b *bundle, n *node) {
			assert.Equal(b.t, credential.BatchReport{Skipped: 1}, b.batch(n, "bob"))
		},
		"not due, before others": func(b *bundle, n *node) {
			assert.Equal(b.t, credential.BatchReport{Skipped: 1, Refreshed: 1}, b.batch(n, "bob", "alice"))
		},
		"looked at already": func(b *bundle, n *node) {
			fl, leads := n.flights.join("bob")
			require.True(b.t, leads)
			assert.Equal(b.t, credential.BatchReport{Skipped: 1}, b.batch(n, "bob"))
			n.flights.land("bob", fl, settled{})
		},
		"asked for, and moved on": func(b *bundle, n *node) {
			before := b.held(n, "alice")
			before.Record.Generation = 7
			_, err := n.advance(b.t.Context(), before, false)
			require.NoError(b.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			b.put(n, "alice")
			b.due()
			b.put(n, "bob")
			b.provider.failing(refusedClient())
			b.batch(n, "alice")
			require.Equal(t, 1, b.provider.calls())
			b.clock.advance(probeOfOne)
			b.provider.ordinary()
			look(b, n)
			b.batch(n, "alice")
			assert.Equal(t, 2, b.provider.calls(), "the probe is made")
			assert.Nil(t, b.held(n, "bob").Attempt)
		})
	}
}

// What is said of settings that were replaced meanwhile keeps nobody from the new
// ones.
func TestARefusalOfOldSettingsOpensNoBreaker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	b.provider.failing(refusedClient())
	let := b.provider.holding()
	done := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(t, b.provider.entered, "an exchange")
	mended := b.target()
	mended.Settings = "second"
	n.SetTargets(t.Context(), []Target{mended})
	let()
	require.Equal(t, credential.BatchReport{Failed: 1}, soon(t, done, "the end of the batch").value)
	assert.Empty(t, b.events(n, credential.ClientID(acme)))

	b.provider.ordinary()
	b.clock.advance(mended.Policy.Times.Send)
	assert.Equal(t, credential.BatchReport{Refreshed: 1}, b.batch(n, "alice"))
}

// Nor does it let anybody out with new ones that are refused.
func TestAnAcceptanceOfOldSettingsClosesNoBreaker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	for _, id := range []credential.ID{"alice", "bob", "carol", "dave"} {
		b.put(n, id)
	}
	b.due()
	done, let := b.inTheAir(n)
	refusing := newFakeProvider()
	refusing.failing(refusedClient())
	worse := b.target()
	worse.Settings, worse.Exchanger = "second", refusing
	n.SetTargets(t.Context(), []Target{worse})
	b.batch(n, "bob")
	require.True(t, b.breaker(n).Open)
	let()
	require.Equal(t, 1, soon(t, done, "the end of the batch").value.Refreshed)
	b.batch(n, "bob", "carol", "dave")
	assert.Equal(t, 1, refusing.calls())
	assert.Equal(t, []credential.EventType{credential.EventClientMisconfigured}, b.events(n, credential.ClientID(acme)))
}

// A probe that was let out because the client's settings have changed is not made
// with the old ones, which may be the ones that were refused.
func TestAProbeIsMadeWithTheNewSettings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	old := b.target()
	old.Limits = Limits{Concurrency: 1}
	n.SetTargets(t.Context(), []Target{old})
	b.put(n, "alice")
	b.due()
	b.provider.failing(refusedClient())
	b.batch(n, "alice")
	require.Equal(t, 1, b.provider.calls())
	b.clock.advance(time.Second)
	changed := newFakeProvider()
	changed.set(func(p *fakeProvider) { p.current = maps.Clone(b.provider.current) })
	n.store.set(func(s *faultyStore) {
		s.scripted = func(int) (int, time.Duration) { // while a call gets its permit
			next := old
			next.Settings, next.Exchanger = "second", changed
			n.store.set(func(s *faultyStore) { s.scripted = nil })
			n.SetTargets(t.Context(), []Target{next})
			return 1, 0
		}
	})
	b.clock.advance(probeOfOne)
	b.batch(n, "alice")
	assert.Equal(t, 1, b.provider.calls(), "nothing is sent with the old ones")
	b.batch(n, "alice")
	assert.Equal(t, 1, changed.calls())
}
