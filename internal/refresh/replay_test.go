package refresh

import (
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// killed leaves a process dead amid the exchange of alice: the provider has
// rotated, and nothing of its reply is in the journal.
func (b *bundle) killed(owner string) {
	b.t.Helper()
	n := b.node(owner)
	b.put(n, "alice")
	b.due()
	let := b.provider.holding()
	done := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(b.t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(b.t, b.provider.entered, "the exchange")
	n.die(let)
	soon(b.t, done, "the end of the dead process's batch")
}

func TestDeadJournalWithAnIntent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy func(*credential.Policy)
		doubt  bool
		at     func(b *bundle, sent credential.Millis) credential.Millis
	}{
		"strict": {
			policy: func(*credential.Policy) {}, doubt: true,
			at: func(b *bundle, sent credential.Millis) credential.Millis {
				return sent.Add(life/4 - time.Minute) // a minute before the access token dies
			},
		},
		"unknown": {
			policy: func(p *credential.Policy) { p.Rotates = credential.RotatesAuto }, doubt: true,
			at: func(_ *bundle, sent credential.Millis) credential.Millis { return sent.Add(life/4 - time.Minute) },
		},
		"grace": {
			policy: func(p *credential.Policy) { p.Grace = 10 * time.Minute }, doubt: true,
			at: nil, // soon: after one backoff
		},
		"static": {policy: func(p *credential.Policy) { p.Rotates = credential.RotatesNo }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			c.policy(&b.policy)
			b.killed("one")
			sent := b.clock.Now()
			heir := b.node("two")
			h := b.held(heir, "alice")
			assert.EqualValues(t, 1, h.Record.Generation)
			assert.Equal(t, credential.ReasonOwnerDied, h.Record.LastAttempt.Failure)
			if !c.doubt {
				assert.Nil(t, h.Attempt)
				return
			}
			require.NotNil(t, h.Attempt)
			assert.True(t, h.Attempt.Doubt)
			assert.Equal(t, sent, h.Attempt.FirstSent)
			if c.at != nil {
				assert.Equal(t, c.at(b, sent), h.Attempt.RecoverAt)
			} else {
				assert.Less(t, h.Attempt.RecoverAt.Sub(sent), 5*time.Second)
			}
			b.clock.advance(h.Attempt.RecoverAt.Sub(b.clock.Now()) - time.Millisecond)
			b.batch(heir, "alice")
			assert.Equal(t, 1, b.provider.calls())
			b.clock.advance(time.Millisecond)
			b.batch(heir, "alice")
			assert.Equal(t, 2, b.provider.calls(), "once more, when the time has come")
			b.clock.advance(time.Hour)
			b.batch(heir, "alice")
			assert.Equal(t, 2, b.provider.calls())
			r := b.held(heir, "alice").Record
			assert.Equal(t, credential.StateReauthRequired, r.State, "the provider is strict, and its reply was lost")
			assert.Equal(t, credential.ReasonLostRotation, r.Reason)
		})
	}
}

// Whoever asks for what is in doubt waits for the moment at which its token is presented
// once more, and not for the process: its death is proven.
func TestWhoAsksForWhatADeadProcessLeftInDoubt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.killed("dead")
	heir := b.node("two")
	h := b.held(heir, "alice")
	want := &UnavailableError{Reason: credential.ReasonOwnerDied, RetryAfter: h.Attempt.RecoverAt.Sub(b.clock.Now()), Doubt: true}
	for rejected := range uint64(2) {
		_, err := heir.Refresh(t.Context(), "alice", rejected)
		assert.Equal(t, want, err)
	}
}

// killedAfterReply leaves a process dead after its journal had the reply and
// before the store had it.
func (b *bundle) killedAfterReply() {
	b.t.Helper()
	b.diesAfterReply(b.node("one"))
}

func (b *bundle) diesAfterReply(n *node) {
	b.t.Helper()
	b.put(n, "alice")
	b.due()
	let := b.provider.holding()
	done := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(b.t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(b.t, b.provider.entered, "the exchange")
	n.store.set(func(s *faultyStore) { s.away = true })
	let()
	soon(b.t, n.store.refused, "a commit")
	n.die()
	soon(b.t, done, "the end of the dead process's batch")
}

func TestDeadJournalWithAReply(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.killedAfterReply()
	heir := b.node("two", func(o *Options) { o.Loss = func() time.Duration { return time.Second } })
	h := b.held(heir, "alice")
	assert.EqualValues(t, 2, h.Record.Generation)
	assert.Nil(t, h.Attempt)
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventRefreshed}, b.events(heir, "alice"))

	assert.Len(t, heir.adopted, 1, "the journal stays until the store cannot lose it")
	b.clock.advance(knownWait)
	require.NoError(t, heir.tick(t.Context()))
	assert.Empty(t, heir.adopted)

	_, err := heir.Refresh(t.Context(), "alice", 2)
	require.NoError(t, err)
	assert.Equal(t, 1, b.provider.most())
}

// An heir that dies in turn leaves the journal to the next one, and nothing is
// stored twice.
func TestDeadJournalIsInheritedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.killedAfterReply()
	first := b.node("two", func(o *Options) { o.Loss = func() time.Duration { return time.Hour } })
	first.stop()
	second := b.node("three")
	assert.EqualValues(t, 2, b.held(second, "alice").Record.Generation)
	assert.Empty(t, b.held(second, "alice").Alternates)
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventRefreshed}, b.events(second, "alice"))
}

func TestDeadJournalWithNothing(t *testing.T) {
	t.Parallel()
	for _, damaged := range []bool{false, true} {
		b := setup(t)
		n := b.node("one")
		b.put(n, "alice")
		b.put(n, "bob")
		b.due()
		n.store.set(func(s *faultyStore) { s.lostBegin = true })
		_, err := n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
		require.ErrorIs(t, err, errAway)
		n.die()

		heir := b.unstarted("two")
		heir.journal.set(func(j *testJournal) { j.damage = damaged })
		heir.commits.start(&heir.loops)
		require.NoError(t, heir.barrier.pass(t.Context()))
		h := b.held(heir, "alice")
		if damaged {
			require.NotNil(t, h.Attempt, "an intent may be missing")
			assert.True(t, h.Attempt.Doubt)
			continue
		}
		assert.Nil(t, h.Attempt, "nothing was sent")
		assert.LessOrEqual(t, h.Record.RefreshAt, b.clock.Now(), "still due")
		b.batch(heir, "alice")
		assert.EqualValues(t, 2, b.held(heir, "alice").Record.Generation)
		assert.Equal(t, 1, b.provider.most())
	}
}

// What an owner was told had been done is done, should the store have lost it.
func TestDeadJournalWithChanges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", func(o *Options) { o.Loss = func() time.Duration { return time.Hour } })
	b.put(n, "kept")
	b.put(n, "out")
	b.put(n, "gone")
	_, err := n.Logout(t.Context(), "out", Expect{})
	require.NoError(t, err)
	require.NoError(t, n.Delete(t.Context(), "gone", Expect{}, false))
	n.die()
	b.mini.FlushAll() // the store lost all of it

	b.clock.advance(life / 2)
	heir := b.unstarted("two")
	heir.commits.start(&heir.loops)
	require.NoError(t, heir.barrier.pass(t.Context()))
	h := b.held(heir, "kept")
	assert.Equal(t, credential.StateActive, h.Record.State)
	assert.Equal(t, b.clock.Now().Add(life/2), h.Record.ExpiresAt, "its life began when it was brought")
	assert.Equal(t, credential.StateLoggedOut, b.held(heir, "out").Record.State)
	assert.Equal(t, credential.StateDeleted, b.held(heir, "gone").Record.State)
	assert.EqualValues(t, 2, b.held(heir, "gone").Record.Grant)
}

// A login that was brought and whose token has died since is not handed out.
func TestDeadJournalWithAnExpiredLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", func(o *Options) { o.Loss = func() time.Duration { return time.Hour } })
	b.put(n, "alice")
	n.die()
	b.mini.FlushAll()
	b.clock.advance(2 * life)
	heir := b.node("two")
	b.settle(heir)
	assert.False(t, b.held(heir, "alice").Record.ValidAt(b.clock.Now(), 0))
	held, err := heir.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 2, held.Record.Generation)
}

// One credential that cannot be taken up keeps neither the others nor the
// service from going on, and its journal stays.
func TestDeadJournalWithALeftover(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil, mend func(b *bundle, n *node)
	}{
		"provider not configured": {
			spoil: func(b *bundle, n *node) { n.SetTargets(b.t.Context(), nil) },
			mend:  func(b *bundle, n *node) { n.SetTargets(b.t.Context(), []Target{b.target()}) },
		},
		"record unreadable": {
			spoil: func(_ *bundle, n *node) {
				n.store.set(func(s *faultyStore) { s.spoilt = map[credential.ID]bool{"alice": true} })
			},
			mend: func(_ *bundle, n *node) { n.store.heal() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.killedAfterReply()
			heir := b.unstarted("two")
			c.spoil(b, heir)
			require.NoError(t, heir.Start(t.Context()))
			h := b.held(heir, "alice")
			require.NotNil(t, h.Attempt)
			assert.False(t, h.Attempt.Doubt, "its journal knows better")
			for range 3 {
				require.NoError(t, heir.adopt(t.Context()))
			}
			told := regexp.MustCompile(`"level":"warn".*cannot be taken up yet`)
			assert.Len(t, told.FindAllString(b.log.String(), -1), 1, b.log)

			c.mend(b, heir)
			require.NoError(t, heir.adopt(t.Context()))
			assert.EqualValues(t, 2, b.held(heir, "alice").Record.Generation)
			assert.Equal(t, 1, b.provider.most())
		})
	}
}

// Trouble with somebody else's journal does not keep own orphans open.
func TestTroubleWithAJournal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	n.store.set(func(s *faultyStore) { s.lostBegin = true })
	_, err := n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.ErrorIs(t, err, errAway)
	n.journal.set(func(j *testJournal) { j.adopt = errSpoil })
	require.NoError(t, n.tick(t.Context()))
	assert.Equal(t, errSpoil.Error(), n.Unread())
	assert.Nil(t, b.held(n, "alice").Attempt)
}

// distant leaves an attempt of a process on another machine, whose journal
// cannot be read here.
func (b *bundle) distant(ids ...credential.ID) {
	b.t.Helper()
	n := b.node("distant")
	for _, id := range ids {
		b.put(n, id)
	}
	b.due()
	requests := make([]credential.Begin, len(ids))
	for i, id := range ids {
		requests[i] = credential.Begin{ID: id, Nonce: newNonce(), Owner: "distant", Lasts: b.policy.Times.Attempt()}
	}
	_, err := n.store.Begin(b.t.Context(), requests)
	require.NoError(b.t, err)
	n.stop() // its file goes with it, the attempts stay
}

func TestSilentOwner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.distant("alice", "bob")
	n := b.node("one")
	pass := func(d time.Duration) {
		for ; d > 0; d -= time.Second {
			b.clock.advance(time.Second)
			require.NoError(t, n.tick(t.Context()))
		}
	}
	require.NoError(t, n.tick(t.Context()))
	pass(10*time.Minute + 4*time.Second)
	assert.False(t, b.held(n, "alice").Attempt.Doubt, "in quarantine")

	n.store.set(func(s *faultyStore) { s.away = true })
	b.clock.advance(time.Second)
	require.Error(t, n.tick(t.Context()))
	n.store.heal()
	pass(10 * time.Minute)
	assert.False(t, b.held(n, "alice").Attempt.Doubt, "an outage makes nobody dead")

	b.clock.advance(time.Hour)
	require.NoError(t, n.tick(t.Context()))
	pass(10 * time.Minute)
	assert.False(t, b.held(n, "alice").Attempt.Doubt, "this machine slept, and the other one may have as well")

	n.store.set(func(s *faultyStore) { s.spoilt = map[credential.ID]bool{"alice": true} })
	for range 10 {
		b.clock.advance(time.Second)
		_ = n.tick(t.Context()) // alice cannot be read
	}
	require.NotNil(t, b.held(n, "bob").Attempt)
	assert.True(t, b.held(n, "bob").Attempt.Doubt, "silent for longer than the quarantine")
	n.store.heal()
	pass(time.Second)
	assert.True(t, b.held(n, "alice").Attempt.Doubt)
	assert.Zero(t, b.provider.calls())
}

func TestOwnerThatStillBeats(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.distant("alice")
	n := b.node("one")
	living := b.unstarted("distant")
	for range 700 {
		b.clock.advance(time.Second)
		require.NoError(t, living.registry.Beat(t.Context(), "first run", 0, ""))
		require.NoError(t, n.tick(t.Context()))
	}
	assert.False(t, b.held(n, "alice").Attempt.Doubt)
}

// Who was cut off from the store, comes back to it and begins at once, is heard by
// that: he is not taken for dead because of the time before, while he is cut off
// again with the reply.
func TestWhoBeginsIsHeard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cut, n := b.node("cut", b.elsewhere()), b.node("one")
	b.settle(cut, n)
	b.put(cut, "alice")
	b.due()
	b.settle(cut, n)
	pass := func(d time.Duration) {
		for ; d > 0; d -= time.Second {
			b.clock.advance(time.Second)
			require.NoError(t, n.tick(t.Context()))
		}
	}
	pass(10*time.Minute + 3*time.Second) // nearly silence and quarantine
	done, let := b.inTheAir(cut)
	cut.away()
	pass(10 * time.Minute)
	assert.False(t, b.held(n, "alice").Attempt.Doubt, "the quarantine has begun anew")
	let()
	soon(t, cut.store.refused, "the reply, which cannot be stored")
	cut.store.heal()
	require.Equal(t, 1, soon(t, done, "the end").value.Refreshed)
	assert.Equal(t, 1, b.provider.most())
}

// A reply that comes after its attempt was taken over is kept, and installed
// before anything else is presented.
func TestLateReplyBecomesAnAlternate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.Grace = 10 * time.Minute
	slow, fast := b.node("slow"), b.node("fast")
	b.put(slow, "alice")
	b.due()
	done, let := b.inTheAir(slow)
	taken := b.takenOver(fast, "alice")
	require.True(t, taken.Recovery)
	let()
	require.NoError(t, soon(t, done, "the slow reply").err)
	h := b.held(fast, "alice")
	require.Len(t, h.Alternates, 1)
	assert.EqualValues(t, 1, h.Record.Generation)
	assert.Equal(t, taken.Nonce, h.Attempt.Nonce, "the attempt that took over is still open")

	// The one that took over fails, in doubt: what waits is installed first.
	b.apply(fast, credential.Fail(h, taken, credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}, b.policy, credential.BySchedule, b.clock.Now()))
	calls := b.provider.calls()
	b.batch(fast, "alice")
	h = b.held(fast, "alice")
	assert.EqualValues(t, 2, h.Record.Generation)
	assert.Empty(t, h.Alternates)
	assert.Nil(t, h.Attempt)
	assert.Equal(t, calls, b.provider.calls(), "nothing was presented")
	held, err := fast.Refresh(t.Context(), "alice", 2)
	require.NoError(t, err)
	assert.EqualValues(t, 3, held.Record.Generation)
	assert.Equal(t, 1, b.provider.most())
}

// takenOver marks the open attempt of id as in doubt and begins a recovery in
// its place.
func (b *bundle) takenOver(n *node, id credential.ID) credential.Attempt {
	b.t.Helper()
	h := b.held(n, id)
	b.apply(n, credential.Doubt(h, *h.Attempt, b.policy, b.clock.Now()))
	b.clock.advance(b.held(n, id).Attempt.RecoverAt.Sub(b.clock.Now()))
	nonce := newNonce()
	n.ledger.begun(nonce)
	answers, err := n.store.Begin(b.t.Context(), []credential.Begin{{ID: id, Nonce: nonce, Owner: n.owner, Lasts: time.Minute}})
	require.NoError(b.t, err)
	require.Equal(b.t, credential.RefusedNot, answers[0].Refusal)
	return *answers[0].Held.Attempt
}

func (b *bundle) apply(n *node, w credential.Write) {
	b.t.Helper()
	statuses, err := n.store.Store.Apply(b.t.Context(), []credential.Write{w})
	require.NoError(b.t, err)
	require.Equal(b.t, []credential.Status{credential.StatusWritten}, statuses)
}

// A late reply of a generation before the current one does not keep the
// credential from being refreshed.
func TestAlternateOfAnEarlierGeneration(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.Grace = 10 * time.Minute
	slow, fast := b.node("slow"), b.node("fast")
	b.put(slow, "alice")
	b.due()
	done, let := b.inTheAir(slow)
	taken := b.takenOver(fast, "alice")
	token := b.provider.grant("alice")
	got := credential.Received{Token: token, SentAt: b.clock.Now(), ExpiresIn: life}
	b.apply(fast, credential.Install(b.held(fast, "alice"), taken, got, b.policy, credential.BySchedule, b.clock.Now()))
	let()
	require.NoError(t, soon(t, done, "the slow reply").err)
	h := b.held(fast, "alice")
	require.Len(t, h.Alternates, 1)
	require.EqualValues(t, 2, h.Record.Generation)

	b.due()
	b.batch(fast, "alice")
	assert.EqualValues(t, 3, b.held(fast, "alice").Record.Generation)
	assert.Equal(t, 1, b.provider.most())
}

// Before a credential is given up, alternates and dead journals are looked at.
func TestLastLook(t *testing.T) {
	t.Parallel()
	t.Run("alternate", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		n := b.node("one")
		b.put(n, "alice")
		_, err := n.Refresh(t.Context(), "alice", 1)
		require.NoError(t, err)
		spare := credential.Alternate{Nonce: newNonce(), Generation: 1, Token: b.provider.grant("alice"), IssuedAt: b.clock.Now(), Lifetime: life}
		b.apply(n, credential.KeepAlternate(b.held(n, "alice"), spare, newNonce(), b.clock.Now()))
		b.provider.failing(credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant})
		b.clock.advance(time.Minute)
		held, err := n.Refresh(t.Context(), "alice", 2)
		require.NoError(t, err)
		assert.EqualValues(t, 3, held.Record.Generation)
		assert.True(t, held.Token.Refresh.Equal(spare.Token.Refresh))
		assert.NotContains(t, b.events(n, "alice"), credential.EventReauthRequired)
	})
	t.Run("journal", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		n := b.node("two")
		b.killedAfterReply()
		// Its attempt is taken for lost, and taken over, before its journal is
		// found; the provider refuses what it has rotated.
		b.takenOverBy(n, "alice")
		require.Equal(t, 2, b.provider.calls())
		h := b.held(n, "alice")
		assert.EqualValues(t, 2, h.Record.Generation)
		assert.Equal(t, credential.StateActive, h.Record.State)
		assert.NotContains(t, b.events(n, "alice"), credential.EventReauthRequired)
	})
}

// takenOverBy has n recover an attempt in doubt by an exchange of its own.
func (b *bundle) takenOverBy(n *node, id credential.ID) {
	b.t.Helper()
	h := b.held(n, id)
	b.apply(n, credential.Doubt(h, *h.Attempt, b.policy, b.clock.Now()))
	b.clock.advance(b.held(n, id).Attempt.RecoverAt.Sub(b.clock.Now()))
	b.batch(n, id)
}

// Two dead processes have presented the same generation, and the store knows of
// neither. Whoever looks a second time through what they left finds nothing to put
// back: as long as somebody does, everybody looks again, and nothing is begun.
func TestASecondLookFindsNothing(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]func(*credential.Policy){
		"strict":  func(p *credential.Policy) { p.Rotates = credential.RotatesYes },
		"grace":   func(p *credential.Policy) { p.Grace = time.Minute },
		"unknown": func(p *credential.Policy) { p.Rotates = credential.RotatesAuto },
		"static":  func(p *credential.Policy) { p.Rotates = credential.RotatesNo },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			policy(&b.policy)
			heir := b.node("heir")
			b.put(heir, "alice")
			b.due()
			look := func() credential.Held {
				for _, n := range []byte{1, 2} {
					gone := Intent{Nonce: credential.Nonce{n, 15: n}, ID: "alice", Generation: 1, Grant: 1, At: b.clock.Now()}
					require.NoError(t, heir.recall(t.Context(), heir.reader(), gone, "dead", true))
				}
				return b.held(heir, "alice")
			}
			first := look()
			heir.barrier.stirred.Store(false)
			assert.Equal(t, first, look())
			assert.False(t, heir.barrier.stirred.Load())
			assert.Equal(t, b.policy.MayRotate(first.Record.Rotations), first.Attempt != nil, "in doubt where it may be spent")
		})
	}
}

// A dead process's journal holds a token of a login that is over. It is revoked,
// once, and nobody waits for a provider that does not answer.
func TestNobodyWaitsForARevocation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	heir := b.node("heir")
	asked := make(chan struct{}, 2)
	b.provider.set(func(p *fakeProvider) { p.silent, p.asked = true, asked })
	b.diesAfterReply(b.node("one"))
	b.put(heir, "alice")
	before := b.held(heir, "alice")
	taken := start(func() (struct{}, error) { return struct{}{}, heir.tick(t.Context()) })
	require.NoError(t, soon(t, taken, "the end of the pass").err)
	soon(t, asked, "the revocation")
	assert.Equal(t, before, b.held(heir, "alice"))

	b.fallBack(b.snapshot()) // every journal is gone through again
	b.settle(heir)
	require.Equal(t, passAll, heir.barrier.passes())
	assert.Empty(t, asked, "it is asked for once")
}

// A token whose attempt was closed by somebody else, and which the store could
// not take before the process had to end, stays in the journal.
func TestLateReplyDuringAnOutageStaysInTheJournal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.Grace = 10 * time.Minute
	slow, fast := b.node("slow"), b.node("fast")
	b.put(slow, "alice")
	b.due()
	done, let := b.inTheAir(slow)
	taken := b.takenOver(fast, "alice")
	// It learns that it was superseded, and then loses the store.
	slow.store.set(func(s *faultyStore) {
		s.moved = func() { s.away = true }
	})
	let()
	soon(t, slow.store.refused, "an attempt to keep the token")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	slow.stopped = true
	require.Error(t, slow.Stop(ctx))
	soon(t, done, "the end of the batch")
	require.NoError(t, slow.file.Close())

	require.NoError(t, fast.tick(t.Context()))
	h := b.held(fast, "alice")
	require.Len(t, h.Alternates, 1, "found in the journal")
	assert.Equal(t, taken.Nonce, h.Attempt.Nonce)
}

// A process hears that a grant is dead and dies before it could store that: its
// heir has it from the journal, and does not ask again.
func TestDeadJournalWithTheEndOfAGrant(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"the attempt is open": false, "the store has lost it": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			b.put(n, "alice")
			before := b.snapshot()
			b.provider.withdraw()
			b.due()
			let := b.provider.holding()
			done := start(func() (credential.BatchReport, error) {
				return n.RefreshBatch(b.t.Context(), acme, []credential.ID{"alice"}, "")
			})
			soon(b.t, b.provider.entered, "the exchange")
			n.store.set(func(s *faultyStore) { s.away = true })
			let()
			soon(b.t, n.store.refused, "a commit")
			n.die()
			soon(b.t, done, "the end of the dead process's batch")
			if lost {
				b.fallBack(before)
			}
			heir := b.node("two")
			b.settle(heir)
			b.clock.advance(life)
			b.batch(heir, "alice")
			r := b.held(heir, "alice").Record
			assert.Equal(t, credential.StateReauthRequired, r.State)
			assert.Equal(t, credential.ReasonInvalidGrant, r.Reason)
			assert.Equal(t, 1, b.provider.calls(), "the heir knows")
		})
	}
}
