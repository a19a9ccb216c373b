package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// Each external step of a refresh fails before it has persisted, and after.
// Whatever happens, no refresh token is presented twice, and once the fault is
// over the credential is fresh.
func TestEveryStepFailsBeforeAndAfter(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		arm    func(b *bundle, n *node)
		failed func(t *testing.T, b *bundle, n *node, report credential.BatchReport, err error)
		mend   func(b *bundle, n *node)
		calls  int // of the provider, until the fault is mended
	}{
		"permit, before": {
			arm: func(_ *bundle, n *node) {
				n.store.set(func(s *faultyStore) { s.scripted = func(int) (int, time.Duration) { return 0, 3 * time.Second } })
			},
			failed: func(t *testing.T, b *bundle, n *node, report credential.BatchReport, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, credential.BatchReport{Returned: 1}, report)
				assert.Zero(t, n.store.begins, "nothing is begun without a permit")
				next, ok, err := n.store.NextDue(t.Context(), 0, acme)
				require.NoError(t, err)
				assert.True(t, ok)
				assert.Equal(t, b.held(n, "alice").Record.RefreshAt, next, "it keeps its place before those that die later")
			},
			mend: func(b *bundle, n *node) {
				n.store.set(func(s *faultyStore) { s.scripted = nil })
				b.clock.advance(3 * time.Second)
			},
		},
		"permit, store away": {
			arm: func(_ *bundle, n *node) { n.store.set(func(s *faultyStore) { s.away = true }) },
			failed: func(t *testing.T, _ *bundle, n *node, _ credential.BatchReport, err error) {
				t.Helper()
				require.ErrorIs(t, err, errAway)
				assert.Zero(t, n.store.begins)
			},
			mend: func(_ *bundle, n *node) { n.store.heal() },
		},
		"begin, reply lost": {
			arm: func(_ *bundle, n *node) { n.store.set(func(s *faultyStore) { s.lostBegin = true }) },
			failed: func(t *testing.T, b *bundle, n *node, _ credential.BatchReport, err error) {
				t.Helper()
				require.ErrorIs(t, err, errAway)
				h := b.held(n, "alice")
				require.NotNil(t, h.Attempt, "the attempt was stored")
				assert.False(t, h.Attempt.Doubt)
			},
			mend: func(b *bundle, n *node) {
				require.NoError(b.t, n.tick(b.t.Context()))
				assert.Nil(b.t, b.held(n, "alice").Attempt, "an orphan is closed")
			},
		},
		"intent, journal full": {
			arm: func(_ *bundle, n *node) { n.journal.set(func(j *testJournal) { j.intend = errFull }) },
			failed: func(t *testing.T, b *bundle, n *node, _ credential.BatchReport, err error) {
				t.Helper()
				require.ErrorIs(t, err, errFull)
				assert.Nil(t, b.held(n, "alice").Attempt, "nothing was sent")
				next, _, err := n.store.NextDue(t.Context(), 0, acme)
				require.NoError(t, err)
				assert.Equal(t, b.clock.Now().Add(b.policy.Times.Send), next, "put off: a full disk does not empty at once")
			},
			mend: func(b *bundle, n *node) {
				n.journal.set(func(j *testJournal) { j.intend = nil })
				b.clock.advance(b.policy.Times.Send)
			},
		},
		"prepare": {
			arm: func(b *bundle, _ *node) {
				b.provider.set(func(p *fakeProvider) {
					p.prepare = func() *credential.Outcome {
						return &credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonNetwork}
					}
				})
			},
			failed: func(t *testing.T, b *bundle, n *node, report credential.BatchReport, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, credential.BatchReport{Failed: 1}, report)
				h := b.held(n, "alice")
				assert.Nil(t, h.Attempt)
				assert.Equal(t, credential.StateDegraded, h.Record.State)
			},
			mend: func(b *bundle, _ *node) {
				b.provider.set(func(p *fakeProvider) { p.prepare = nil })
				b.clock.advance(5 * time.Second)
			},
		},
		"keep, journal broken": {
			arm: func(_ *bundle, n *node) { n.journal.set(func(j *testJournal) { j.keep = errFull }) },
			failed: func(t *testing.T, b *bundle, n *node, report credential.BatchReport, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, credential.BatchReport{Refreshed: 1}, report)
				assert.EqualValues(t, 2, b.held(n, "alice").Record.Generation, "the token is stored all the same")
			},
			mend:  func(_ *bundle, n *node) { n.journal.set(func(j *testJournal) { j.keep = nil }) },
			calls: 1,
		},
		"commit, before": {
			arm: func(_ *bundle, n *node) { n.store.set(func(s *faultyStore) { s.failApply = 2 }) },
			failed: func(t *testing.T, b *bundle, n *node, report credential.BatchReport, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, credential.BatchReport{Refreshed: 1}, report)
				assert.Len(t, n.store.refused, 2)
			},
			calls: 1,
		},
		"commit, reply lost": {
			arm: func(_ *bundle, n *node) { n.store.set(func(s *faultyStore) { s.lostApply = 2 }) },
			failed: func(t *testing.T, b *bundle, n *node, report credential.BatchReport, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.Equal(t, credential.BatchReport{Refreshed: 1}, report)
				assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventRefreshed}, b.events(n, "alice"), "stored once")
			},
			calls: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			target := b.target()
			target.Limits = Limits{Concurrency: 4}
			n.SetTargets(t.Context(), []Target{target})
			b.put(n, "alice")
			b.due()

			fault.arm(b, n)
			report, err := n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
			fault.failed(t, b, n, report, err)
			assert.Equal(t, fault.calls, b.provider.calls())
			if fault.mend != nil {
				fault.mend(b, n)
			}
			b.batch(n, "alice")

			h := b.held(n, "alice")
			assert.EqualValues(t, 2, h.Record.Generation)
			assert.Equal(t, credential.StateActive, h.Record.State)
			assert.Nil(t, h.Attempt)
			assert.Equal(t, 1, b.provider.most())
			b.events(n, "alice")
		})
	}
}

// What an exchange comes back with decides over state, attempt and the calls
// that follow.
func TestEveryClassOfOutcome(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		outcome credential.Outcome
		state   credential.State
		doubt   bool
		again   time.Duration // nothing is presented before that has passed
	}{
		"not sent":      {outcome: credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonNetwork}, state: credential.StateDegraded, again: time.Second},
		"rate limited":  {outcome: credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited, RetryAfter: time.Minute}, state: credential.StateDegraded, again: time.Minute},
		"not processed": {outcome: credential.Outcome{Class: credential.ClassNotProcessed, Reason: credential.ReasonUnavailable}, state: credential.StateDegraded, again: time.Second},
		"refused":       {outcome: credential.Outcome{Class: credential.ClassRefused, Reason: credential.ReasonInvalidRequest}, state: credential.StateDegraded, again: time.Second},
		"transient":     {outcome: credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}, state: credential.StateDegraded, doubt: true, again: 10 * time.Minute},
		"ambiguous":     {outcome: credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}, state: credential.StateDegraded, doubt: true, again: 10 * time.Minute},
		"a success that brought nothing": {
			outcome: credential.Outcome{Class: credential.ClassOK}, state: credential.StateDegraded, doubt: true, again: 10 * time.Minute,
		},
		"permanent": {outcome: credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant}, state: credential.StateReauthRequired, again: life},
		"operator":  {outcome: credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured}, state: credential.StateActive, again: 59 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			b.put(n, "alice")
			b.due()
			b.provider.failing(c.outcome)

			b.batch(n, "alice")
			require.Equal(t, 1, b.provider.calls())
			h := b.held(n, "alice")
			assert.Equal(t, c.state, h.Record.State)
			assert.EqualValues(t, 1, h.Record.Generation)
			assert.Equal(t, c.doubt, h.Attempt != nil && h.Attempt.Doubt)
			assert.Equal(t, c.doubt, h.Attempt != nil)

			b.clock.advance(c.again - time.Millisecond)
			b.batch(n, "alice")
			assert.Equal(t, 1, b.provider.calls(), "too early")
		})
	}
}

// A reply that was cut off is used for what it has.
func TestPartialReplies(t *testing.T) {
	t.Parallel()
	cut := credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonMalformedReply, Detail: "HTTP 200, longer than 1 MiB"}
	t.Run("refresh token alone", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		n := b.node("one")
		b.put(n, "alice")
		b.due()
		b.provider.set(func(p *fakeProvider) {
			p.answer = func(_ string, rotate func() credential.Token) reply {
				o := cut
				o.Token.Refresh = rotate().Refresh
				return reply{outcome: o, found: credential.Found{Token: o.Token}}
			}
		})
		b.batch(n, "alice")
		h := b.held(n, "alice")
		assert.EqualValues(t, 2, h.Record.Generation)
		assert.Nil(t, h.Attempt)
		assert.Equal(t, credential.StateDegraded, h.Record.State, "the old access token is served to its end")

		b.provider.ordinary()
		b.clock.advance(5 * time.Second)
		b.batch(n, "alice")
		assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
		assert.Equal(t, 1, b.provider.most())
	})
	t.Run("access token alone", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		n := b.node("one")
		before := b.put(n, "alice")
		b.due()
		b.provider.set(func(p *fakeProvider) {
			p.answer = func(_ string, rotate func() credential.Token) reply {
				o := cut
				o.Token.Access = rotate().Access
				return reply{outcome: o, found: credential.Found{Token: o.Token}}
			}
		})
		b.batch(n, "alice")
		h := b.held(n, "alice")
		assert.EqualValues(t, 2, h.Record.Generation)
		assert.Equal(t, credential.StateActive, h.Record.State)
		assert.True(t, h.Token.Refresh.Equal(before.Token.Refresh))
		require.NotNil(t, h.Attempt)
		assert.True(t, h.Attempt.Doubt, "the part that is missing may have held a new refresh token")
		assert.Equal(t, credential.ReasonMalformedReply, h.Record.LastAttempt.Failure)
		assert.Equal(t, cut.Detail, h.Record.LastAttempt.Detail, "whoever asks is told why")
	})
}

// A journal's record goes when the store cannot lose the commit any more.
func TestReleaseAfterTheLossWindow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", func(o *Options) { o.Loss = func() time.Duration { return 10 * time.Second } })
	b.put(n, "alice")
	b.due()
	b.batch(n, "alice")
	nonce := b.held(n, "alice").Record.LastWrite

	require.NoError(t, n.tick(t.Context()))
	b.clock.advance(9 * time.Second)
	require.NoError(t, n.tick(t.Context()))
	assert.False(t, n.journal.dropped(nonce))
	assert.Len(t, n.inJournal().Keeps, 1)

	b.clock.advance(time.Second)
	require.NoError(t, n.tick(t.Context()))
	assert.True(t, n.journal.dropped(nonce))
}

// A write that the store refuses for its own sake is not repeated, and the
// journal keeps the token.
func TestAWriteThatCanNeverBeStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.put(n, "bob")
	b.due()
	let := b.provider.holding()
	done := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice", "bob"}, "")
	})
	soon(t, b.provider.entered, "an exchange")
	soon(t, b.provider.entered, "another exchange")
	n.store.set(func(s *faultyStore) { s.spoilt = map[credential.ID]bool{"alice": true} })
	let()
	got := soon(t, done, "the end of the batch")
	require.NoError(t, got.err)
	assert.Equal(t, credential.BatchReport{Refreshed: 1, Failed: 1}, got.value)
	assert.EqualValues(t, 2, b.held(n, "bob").Record.Generation)
	kept := map[credential.ID]bool{}
	for _, k := range n.inJournal().Keeps {
		kept[k.ID] = true
	}
	assert.True(t, kept["alice"])
	n.store.heal()
}

// While the store is away the received token is served from memory, and the
// provider is not asked again.
func TestServedFromMemoryUntilStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	before := b.put(n, "alice")
	b.due()
	done, let := b.inTheAir(n)
	n.store.set(func(s *faultyStore) { s.away = true })
	let()
	soon(t, n.store.refused, "a commit")
	soon(t, n.store.refused, "a second commit")

	served, err := n.Token(t.Context(), "alice", 30*time.Minute)
	require.NoError(t, err)
	assert.EqualValues(t, 2, served.Record.Generation)
	assert.False(t, served.Token.Access.Equal(before.Token.Access))

	n.store.heal()
	require.NoError(t, soon(t, done, "the commit").err)
	assert.Equal(t, 1, b.provider.calls())
	h := b.held(n, "alice")
	assert.True(t, h.Token.Access.Equal(served.Token.Access))
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventRefreshed}, b.events(n, "alice"))
}

// An attempt whose process slept between begin and sending is given up: others
// may have taken it over.
func TestTooLateToSend(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	slept := false
	b.provider.set(func(p *fakeProvider) {
		p.prepare = func() *credential.Outcome {
			if !slept {
				slept = true
				b.clock.advance(b.policy.Times.Send + time.Second)
			}
			return nil
		}
	})
	b.batch(n, "alice")
	assert.Zero(t, b.provider.calls())
	assert.Nil(t, b.held(n, "alice").Attempt)
	b.batch(n, "alice")
	assert.EqualValues(t, 2, b.held(n, "alice").Record.Generation)
}
