package refresh

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestOneExchangeHoweverManyAsk(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.clock.advance(life)
	const callers = 100
	let := b.provider.holding()
	var all []<-chan result[credential.Held]
	for range callers {
		all = append(all, start(func() (credential.Held, error) { return n.Token(t.Context(), "alice", time.Minute) }))
	}
	soon(t, b.provider.entered, "the exchange")
	let()
	var first credential.Secret
	for _, one := range all {
		got := soon(t, one, "an answer")
		require.NoError(t, got.err)
		if first.IsZero() {
			first = got.value.Token.Access
		}
		assert.True(t, first.Equal(got.value.Token.Access))
	}
	assert.Equal(t, 1, b.provider.calls())
}

// Whoever asked may go; the exchange runs to its end.
func TestCallerGoesExchangeStays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.clock.advance(life)
	let := b.provider.holding()
	ctx, cancel := context.WithCancel(t.Context())
	done := start(func() (credential.Held, error) { return n.Token(ctx, "alice", 0) })
	soon(t, b.provider.entered, "the exchange")
	cancel()
	require.ErrorIs(t, soon(t, done, "the caller's end").err, context.Canceled)
	let()
	n.stop()
	assert.EqualValues(t, 2, b.held(n, "alice").Record.Generation)
	assert.Equal(t, 1, b.provider.calls())
}

func TestDemandJoinsABatch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.clock.advance(life)
	let := b.provider.holding()
	batch := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(t, b.provider.entered, "the batch's exchange")
	demand := start(func() (credential.Held, error) { return n.Token(t.Context(), "alice", time.Minute) })
	second := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	got := soon(t, second, "a second batch")
	require.NoError(t, got.err)
	assert.Equal(t, credential.BatchReport{Skipped: 1}, got.value)
	let()
	require.NoError(t, soon(t, batch, "the batch's end").err)
	token := soon(t, demand, "the token")
	require.NoError(t, token.err)
	assert.EqualValues(t, 2, token.value.Record.Generation)
	assert.Equal(t, 1, b.provider.calls())
}

// Of two processes on one store the second follows what the first does.
func TestTheSecondProcessFollows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	b.put(one, "alice")
	b.clock.advance(life)
	let := b.provider.holding()
	first := start(func() (credential.Held, error) { return one.Token(t.Context(), "alice", time.Minute) })
	soon(t, b.provider.entered, "the exchange")
	second := start(func() (credential.Held, error) { return two.Token(t.Context(), "alice", time.Minute) })
	soon(t, two.store.began, "the second one's begin")
	let()
	a, z := soon(t, first, "the first answer"), soon(t, second, "the second answer")
	require.NoError(t, a.err)
	require.NoError(t, z.err)
	assert.True(t, a.value.Token.Access.Equal(z.value.Token.Access))
	assert.Equal(t, 1, b.provider.calls())
}

// Whoever has followed an attempt for as long as one may take, and whose last look at
// it was cut short by that, is told of the attempt: a store that has answered every
// look until then is well.
func TestWhoHasFollowedInVainIsToldOfTheAttempt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		silent bool // its owner is not heard of: he is stopped
		reason credential.Reason
	}{
		{"in slow hands", false, credential.ReasonTimeout},
		{"in the hands of one who is stopped", true, credential.ReasonOwnerDied},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.node("one"), b.node("two")
			b.put(one, "alice")
			b.due()
			done, let := b.inTheAir(one)
			defer let()
			require.NoError(t, two.tick(t.Context()))
			b.seconds(3, two)
			if row.silent {
				b.seconds(6, two)
			}
			left := b.held(two, "alice").Attempt.Deadline.Sub(b.clock.Now())
			target := b.target()
			target.Policy.Times = credential.Times{Send: 4 * followPoll} // for so long two follows
			two.SetTargets(t.Context(), []Target{target})
			two.store.set(func(s *faultyStore) { s.lastLook = true })
			late := new(UnavailableError)
			_, err := two.Refresh(t.Context(), "alice", 0)
			require.ErrorAs(t, err, &late)
			assert.Equal(t, row.reason, late.Reason)
			assert.Equal(t, left, late.RetryAfter, "others ask about it at its deadline")
			let()
			require.NoError(t, soon(t, done, "the batch").err)
			assert.Equal(t, 1, b.provider.calls())
		})
	}
}

// Whoever follows an attempt of a credential that is deleted meanwhile is told
// so at once.
func TestFollowingEndsWithTheCredential(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one"), b.node("two")
	b.put(one, "alice")
	b.clock.advance(life)
	let := b.provider.holding()
	first := start(func() (credential.Held, error) { return one.Token(t.Context(), "alice", time.Minute) })
	soon(t, b.provider.entered, "the exchange")
	second := start(func() (credential.Held, error) { return two.Token(t.Context(), "alice", time.Minute) })
	require.NoError(t, one.Delete(t.Context(), "alice", Expect{}, false))
	require.ErrorIs(t, soon(t, second, "the follower's answer").err, ErrNotFound)
	let()
	require.ErrorIs(t, soon(t, first, "the leader's answer").err, ErrNotFound)
	assert.Len(t, b.provider.withdrawn(), 1, "the reply of an ended login is revoked")
}

func TestRejected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")

	held, err := n.Refresh(t.Context(), "alice", 1)
	require.NoError(t, err)
	assert.EqualValues(t, 2, held.Record.Generation)
	assert.Equal(t, 1, b.provider.calls())

	held, err = n.Refresh(t.Context(), "alice", 1)
	require.NoError(t, err, "an older one was refused")
	assert.EqualValues(t, 2, held.Record.Generation)
	assert.Equal(t, 1, b.provider.calls(), "no call")

	_, err = n.Refresh(t.Context(), "alice", 2)
	require.ErrorIs(t, err, ErrFreshRejected)
	assert.Equal(t, 1, b.provider.calls())

	b.clock.advance(suspectFor)
	held, err = n.Refresh(t.Context(), "alice", 2)
	require.NoError(t, err, "not just refreshed any more")
	assert.EqualValues(t, 3, held.Record.Generation)

	held, err = n.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 4, held.Record.Generation, "by force")
}

// A caller that names an old generation says nothing of the one that replaces
// the expired one.
func TestTheSuccessorOfAnotherGenerationIsNotSuspect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	_, err := n.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	b.clock.advance(life)
	held, err := n.Refresh(t.Context(), "alice", 1)
	require.NoError(t, err)
	require.EqualValues(t, 3, held.Record.Generation)
	held, err = n.Refresh(t.Context(), "alice", 3)
	require.NoError(t, err)
	assert.EqualValues(t, 4, held.Record.Generation)
}

// A token that has expired in the meantime is refused with good reason.
func TestTheSuccessorThatHasExpiredIsNotSuspect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			r := whole(rotate())
			r.found.ExpiresIn, r.outcome.ExpiresIn = "20", 20*time.Second
			return r
		}
	})
	_, err := n.Refresh(t.Context(), "alice", 1)
	require.NoError(t, err)
	_, err = n.Refresh(t.Context(), "alice", 2)
	require.ErrorIs(t, err, ErrFreshRejected)
	b.clock.advance(20 * time.Second)
	held, err := n.Refresh(t.Context(), "alice", 2)
	require.NoError(t, err)
	assert.EqualValues(t, 3, held.Record.Generation)
}

func TestRejectedWhileInDoubt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.provider.losing()
	_, err := n.Refresh(t.Context(), "alice", 1)
	require.ErrorAs(t, err, new(*UnavailableError))
	b.provider.ordinary()
	_, err = n.Refresh(t.Context(), "alice", 1)
	unavailable := new(UnavailableError)
	require.ErrorAs(t, err, &unavailable)
	assert.Greater(t, unavailable.RetryAfter, life/2, "not before the last moment")
	assert.Equal(t, 1, b.provider.calls(), "not presented twice")

	held, err := n.Token(t.Context(), "alice", time.Minute)
	require.NoError(t, err, "what still lives is served")
	assert.EqualValues(t, 1, held.Record.Generation)
}

func TestMinTTL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		life, ask, longest, pass time.Duration
	}{
		{life: time.Hour, ask: 54 * time.Minute, pass: 6 * time.Minute},
		{life: time.Hour, ask: 54*time.Minute + time.Second, longest: 54 * time.Minute, pass: 6 * time.Minute},
		{life: time.Hour, ask: 54*time.Minute + time.Second}, // it happens to be fresh
		{life: 10 * time.Second, ask: 9 * time.Second},
		{life: 5 * time.Second, ask: 4500 * time.Millisecond, longest: 4 * time.Second}, // with the margin no token could live that long
	} {
		b := setup(t)
		n := b.node("one")
		login := b.login("alice")
		login.ExpiresIn = c.life
		_, err := n.Put(t.Context(), login, Expect{})
		require.NoError(t, err)
		b.clock.advance(c.pass)
		held, err := n.Token(t.Context(), "alice", c.ask)
		if c.longest == 0 {
			require.NoError(t, err)
			assert.GreaterOrEqual(t, held.Record.ExpiresAt.Sub(b.clock.Now()), c.ask+readMargin)
			continue
		}
		short := new(MinTTLError)
		require.ErrorAs(t, err, &short)
		assert.Equal(t, MinTTLError{Asked: c.ask, Longest: c.longest}, *short)
		assert.Zero(t, b.provider.calls(), "without a call")
	}
}

func TestTokenErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	ctx := t.Context()

	_, err := n.Token(ctx, "nobody", 0)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = n.Refresh(ctx, "nobody", 0)
	require.ErrorIs(t, err, ErrNotFound)

	only := credential.Login{ID: "access-only", Provider: acme, Token: credential.Token{Access: credential.NewSecret(mark + "a")}, ExpiresIn: life}
	_, err = n.Put(ctx, only, Expect{})
	require.NoError(t, err)
	_, err = n.Token(ctx, "access-only", 0)
	require.NoError(t, err)
	b.clock.advance(30 * time.Minute)
	_, err = n.Token(ctx, "access-only", 40*time.Minute)
	require.ErrorIs(t, err, ErrNotRefreshable)
	_, err = n.Refresh(ctx, "access-only", 1)
	require.ErrorIs(t, err, ErrNotRefreshable)

	b.put(n, "out")
	_, err = n.Logout(ctx, "out", Expect{})
	require.NoError(t, err)
	state := new(StateError)
	_, err = n.Token(ctx, "out", 0)
	require.ErrorAs(t, err, &state)
	assert.Equal(t, StateError{State: credential.StateLoggedOut, Reason: credential.ReasonOwner, Since: b.clock.Now()}, *state)

	b.put(n, "dead")
	b.provider.failing(credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonConsentRequired})
	_, err = n.Refresh(ctx, "dead", 1)
	require.ErrorAs(t, err, &state)
	assert.Equal(t, credential.ReasonConsentRequired, state.Reason)
	calls := b.provider.calls()
	for range 3 {
		_, err = n.Token(ctx, "dead", 0)
		require.ErrorAs(t, err, &state)
		assert.Equal(t, credential.StateReauthRequired, state.State)
		b.batch(n, "dead")
		_, err = n.Refresh(ctx, "dead", 1)
		require.ErrorAs(t, err, &state)
	}
	assert.Equal(t, calls, b.provider.calls(), "a dead credential causes no call")

	n.SetTargets(ctx, nil)
	_, err = n.Put(ctx, b.login("other"), Expect{})
	require.ErrorIs(t, err, ErrUnknownProvider)
	require.ErrorContains(t, err, "it has none at all; ")
	_, err = n.RefreshBatch(ctx, acme, []credential.ID{"access-only"}, "")
	require.ErrorIs(t, err, ErrUnknownProvider)
}

// A provider whose tokens are dead on arrival is not called in a loop.
func TestDeadOnArrivalIsBounded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.clock.advance(life)
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			r := whole(rotate())
			r.outcome.ExpiresIn, r.found.ExpiresIn = time.Millisecond, "0.001"
			return r
		}
	})
	_, err := n.Token(t.Context(), "alice", 0)
	require.Error(t, err)
	assert.LessOrEqual(t, b.provider.calls(), demandRounds)
	assert.Equal(t, 1, b.provider.most())
}

// Tokens that are dead before they can be handed out, as those whose life is read
// in the wrong unit, are asked for no more often than refreshes are planned.
func TestBriefTokensAreNotAskedForAgainAndAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.MinInterval = 10 * time.Second
	n := b.node("one")
	b.put(n, "alice")
	b.clock.advance(life)
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(_ string, rotate func() credential.Token) reply {
			r := whole(rotate())
			r.outcome.ExpiresIn, r.found.ExpiresIn = 900*time.Millisecond, "0.9"
			return r
		}
	})
	for second := range 30 {
		var err error
		if second%2 == 0 {
			_, err = n.Token(t.Context(), "alice", 0)
		} else {
			_, err = n.Refresh(t.Context(), "alice", b.held(n, "alice").Record.Generation)
		}
		late := new(UnavailableError)
		require.ErrorAs(t, err, &late)
		assert.Equal(t, credential.ReasonMalformedReply, late.Reason, "the settings are to be looked at")
		assert.LessOrEqual(t, late.RetryAfter, b.policy.MinInterval)
		b.clock.advance(time.Second)
	}
	assert.Equal(t, 3, b.provider.calls(), "one in ten seconds")
}

// A reply with a new refresh token and no access token brings nobody a token: the one
// that was refused is not taken for its own successor, and whoever asks waits for the
// backoff, as after any failure.
func TestARefreshTokenAloneIsNoNewToken(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(n *node) (credential.Held, error){
		"rejected":               func(n *node) (credential.Held, error) { return n.Refresh(t.Context(), "alice", 1) },
		"rejected as it is told": func(n *node) (credential.Held, error) { return n.Refresh(t.Context(), "alice", 2) },
		"by force":               func(n *node) (credential.Held, error) { return n.Refresh(t.Context(), "alice", 0) },
		"min_ttl":                func(n *node) (credential.Held, error) { return n.Token(t.Context(), "alice", life/2) },
		"expired": func(n *node) (credential.Held, error) {
			return n.Token(t.Context(), "alice", 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			b.put(n, "alice")
			switch name {
			case "min_ttl":
				b.due()
			case "expired":
				b.clock.advance(life)
			}
			b.provider.refreshAlone()
			if name == "rejected as it is told" {
				_, err := n.Refresh(t.Context(), "alice", 1)
				require.Error(t, err)
				b.clock.advance(5 * time.Second)
			}
			before := b.provider.calls()
			for asked := range 4 {
				_, err := ask(n)
				late := new(UnavailableError)
				require.ErrorAs(t, err, &late, "asked %d times before", asked)
				assert.Equal(t, credential.ReasonMalformedReply, late.Reason)
				assert.LessOrEqual(t, late.RetryAfter, 10*time.Second)
			}
			assert.Equal(t, before+1, b.provider.calls(), "Retry-After holds everybody back")
			r := b.held(n, "alice").Record
			assert.EqualValues(t, before+2, r.Generation, "that of the refresh token has grown")
			assert.EqualValues(t, 1, r.AccessGeneration())
			assert.Equal(t, refreshAlone, r.LastAttempt.Detail)

			b.provider.ordinary()
			b.clock.advance(10 * time.Second)
			held, err := ask(n)
			require.NoError(t, err, "and no longer than that")
			assert.Equal(t, held.Record.Generation, held.Record.AccessGeneration())
			assert.Equal(t, 1, b.provider.most())
		})
	}
}

// A process without a journal is told of such a reply by the one that it has asked.
func TestARefreshTokenAloneIsNoNewTokenElsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	worker := b.node("worker")
	b.put(worker, "alice")
	b.provider.refreshAlone()
	web := b.node("web", func(o *Options) {
		o.Journal = nil
		o.Delegate = func(ctx context.Context, id credential.ID, rejected uint64) error {
			_, err := worker.Refresh(ctx, id, rejected)
			assert.Error(t, err)
			return nil
		}
	})
	_, err := web.Refresh(t.Context(), "alice", 1)
	late := new(UnavailableError)
	require.ErrorAs(t, err, &late)
	assert.Equal(t, credential.ReasonMalformedReply, late.Reason)
	assert.Equal(t, 1, b.provider.calls())
}

// A process without a journal asks another one, and takes what that has stored.
func TestDelegate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	worker := b.node("worker")
	asked := make(chan uint64, 10)
	front := b.node("front", func(o *Options) {
		o.Delegate = func(_ context.Context, id credential.ID, rejected uint64) error {
			asked <- rejected
			_, err := worker.Refresh(t.Context(), id, rejected)
			return err
		}
	})
	b.put(worker, "alice")
	held, err := front.Refresh(t.Context(), "alice", 1)
	require.NoError(t, err)
	assert.EqualValues(t, 2, held.Record.Generation)
	assert.EqualValues(t, 1, <-asked)
	assert.Zero(t, front.store.begins)

	b.clock.advance(life)
	held, err = front.Token(t.Context(), "alice", time.Minute)
	require.NoError(t, err)
	assert.EqualValues(t, 3, held.Record.Generation)
	assert.Zero(t, <-asked)
	assert.Equal(t, 1, b.provider.most())
}

// The one probe a minute is for the process that makes the call.
func TestADelegatingProcessTakesNoProbe(t *testing.T) {
	t.Parallel()
	b := setup(t)
	worker := b.node("worker")
	front := b.node("front", func(o *Options) {
		o.Delegate = func(_ context.Context, id credential.ID, rejected uint64) error {
			_, err := worker.Refresh(t.Context(), id, rejected)
			return err
		}
	})
	b.put(worker, "alice")
	b.clock.advance(life)
	b.provider.failing(credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured})
	_, err := front.Token(t.Context(), "alice", 0)
	require.Error(t, err)
	b.provider.ordinary()
	b.clock.advance(probeOfOne)
	_, err = front.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
}

func TestFlightsAreForgotten(t *testing.T) {
	t.Parallel()
	f := newFlights()
	var all sync.WaitGroup
	fl, leads := f.join("alice")
	require.True(t, leads)
	for range 10 {
		other, leads := f.join("alice")
		require.False(t, leads)
		all.Go(func() { <-other.done })
	}
	f.land("alice", fl, settled{})
	all.Wait()
	assert.Empty(t, f.now)
}
