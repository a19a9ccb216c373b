package refresh

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// Stop waits for what was sent, and begins nothing new.
func TestDrain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.unstarted("one")
	require.NoError(t, n.Start(t.Context()))
	b.put(n, "alice")
	b.put(n, "bob")
	b.clock.advance(life)
	let := b.provider.holding()
	batch := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(t, b.provider.entered, "the exchange")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stopped := start(func() (struct{}, error) { return struct{}{}, n.Stop(ctx) })
	for begun := false; !begun; {
		leave, err := n.enter()
		if begun = err != nil; !begun {
			leave()
		}
	}
	_, err := n.Token(t.Context(), "bob", 0)
	require.ErrorIs(t, err, ErrStopping)
	_, err = n.RefreshBatch(t.Context(), acme, []credential.ID{"bob"}, "")
	require.ErrorIs(t, err, ErrStopping)
	_, err = n.Put(t.Context(), b.login("carol"), Expect{})
	require.ErrorIs(t, err, ErrStopping)
	_, err = n.Logout(t.Context(), "bob", Expect{})
	require.ErrorIs(t, err, ErrStopping)
	assert.Empty(t, stopped, "an exchange is in the air")

	let()
	require.NoError(t, soon(t, stopped, "the stop").err)
	require.NoError(t, soon(t, batch, "the batch").err)
	assert.EqualValues(t, 2, b.held(n, "alice").Record.Generation)
	assert.EqualValues(t, 1, b.held(n, "bob").Record.Generation)
	assert.Equal(t, 1, b.provider.calls())
}

// A drain that runs out of time leaves what could not be stored to the
// journal, from where the next process takes it.
func TestDrainWithoutAStore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.unstarted("one")
	require.NoError(t, n.Start(t.Context()))
	b.put(n, "alice")
	b.due()
	let := b.provider.holding()
	batch := start(func() (credential.BatchReport, error) {
		return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(t, b.provider.entered, "the exchange")
	n.store.set(func(s *faultyStore) { s.away = true })
	let()
	soon(t, n.store.refused, "a commit")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.stopped = true
	require.ErrorIs(t, n.Stop(ctx), context.Canceled)
	require.NoError(t, soon(t, batch, "the batch").err)
	require.NoError(t, n.file.Close())

	heir := b.node("two")
	assert.EqualValues(t, 2, b.held(heir, "alice").Record.Generation)
	assert.Equal(t, 1, b.provider.most())
}

// A demand that waits for the store does not keep a stop waiting: what it
// found out is stored already, or in a journal.
func TestDrainWhileAnAlternateCannotBeInstalled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	spare := credential.Alternate{Nonce: newNonce(), Generation: 1, Token: b.provider.grant("alice"), IssuedAt: b.clock.Now(), Lifetime: life}
	b.apply(n, credential.KeepAlternate(b.held(n, "alice"), spare, newNonce(), b.clock.Now()))
	b.clock.advance(life / 2)
	n.store.set(func(s *faultyStore) { s.failApply = 1000 })
	demand := start(func() (credential.Held, error) { return n.Refresh(t.Context(), "alice", 1) })
	soon(t, n.store.refused, "a write")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.stopped = true
	stopped := start(func() (struct{}, error) { return struct{}{}, n.Stop(ctx) })
	require.Error(t, soon(t, stopped, "the stop").err)
	require.Error(t, soon(t, demand, "the demand's end").err)
	require.NoError(t, n.file.Close())
}

func TestStopWithoutStartAndTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.unstarted("one")
	require.NoError(t, n.Stop(t.Context()))
	require.NoError(t, n.Stop(t.Context()))
}

func TestStartWithoutAStore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.unstarted("one")
	n.store.set(func(s *faultyStore) { s.away = true })
	require.ErrorIs(t, n.Start(t.Context()), errAway)
	n.stop()

	m := b.unstarted("two")
	m.journal.set(func(j *testJournal) { j.adopt = errSpoil })
	require.ErrorIs(t, m.Start(t.Context()), errSpoil, "nothing is begun before the journals were read")
}

// The recovery pass runs by itself once the engine is started.
func TestPassesRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.unstarted("one")
	require.NoError(t, n.Start(t.Context()))
	b.put(n, "alice")
	b.due()
	n.store.set(func(s *faultyStore) { s.lostBegin = true })
	closed := make(chan struct{}, 10)
	n.store.set(func(s *faultyStore) {
		s.applied = func(w credential.Write) {
			if w.Close {
				closed <- struct{}{}
			}
		}
	})
	_, err := n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.ErrorIs(t, err, errAway)
	soon(t, closed, "the orphan's end")
	assert.Nil(t, b.held(n, "alice").Attempt)
}

// An entry of the due index that points to another provider's credential is
// never presented there.
func TestCredentialOfAnotherProvider(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	other := b.target()
	other.Name = "globex"
	n.SetTargets(t.Context(), []Target{b.target(), other})
	b.put(n, "alice")
	b.due()
	report, err := n.RefreshBatch(t.Context(), "globex", []credential.ID{"alice"}, "")
	require.NoError(t, err)
	assert.Equal(t, credential.BatchReport{Skipped: 1}, report)
	assert.Zero(t, b.provider.calls())
	assert.Nil(t, b.held(n, "alice").Attempt)
}

// The passing of time alone is published.
func TestExpiryWithoutARefreshToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	login := credential.Login{ID: "alice", Provider: acme, Token: credential.Token{Access: credential.NewSecret(mark + "a")}, ExpiresIn: life}
	_, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	b.clock.advance(life + time.Second)
	assert.Equal(t, credential.BatchReport{Advanced: 1}, b.batch(n, "alice"))
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventExpired, credential.EventReauthRequired}, b.events(n, "alice"))
	assert.Equal(t, credential.BatchReport{Skipped: 1}, b.batch(n, "alice"))
}
