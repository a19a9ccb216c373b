package refresh

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// ownersTries is how often the store is asked to make an owner's change.
const ownersTries = 3

// eventIDs returns the IDs of a credential's events, in order.
func (b *bundle) eventIDs(n *node, id credential.ID) []string {
	b.t.Helper()
	b.events(n, id) // has checked their versions
	entries, err := n.store.Events(b.t.Context(), 0, "0", 100_000, 0)
	require.NoError(b.t, err)
	var ids []string
	for _, entry := range entries {
		if entry.Event.ID == id {
			ids = append(ids, entry.Event.EventID())
		}
	}
	return ids
}

// What the store did, and lost again before it could say so, may have been seen
// by a subscriber: it comes back as it was, and not as what its owner does next
// under the same version.
func TestAWriteWithoutAnAnswerComesBackAsItWas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.pair()
	before := b.snapshot()
	one.store.set(func(s *faultyStore) { s.lostApply = ownersTries })
	_, err := one.Logout(t.Context(), "alice", Expect{})
	require.ErrorAs(t, err, new(*UnavailableError), "nobody was told that it was done")
	held, seen := b.held(two, "alice"), b.eventIDs(two, "alice")
	require.Len(t, seen, 2)

	b.fallBack(before)
	require.Len(t, b.eventIDs(two, "alice"), 1, "the store really lost it")
	b.settle(one, two)
	require.Equal(t, passAll, two.barrier.passes())
	assert.Equal(t, seen, b.eventIDs(two, "alice"))
	assert.Equal(t, held, b.held(two, "alice"))
}

// A received token is put back before anybody else may write, and not only once
// its process hands it over again.
func TestATokenThatIsStillHandedOverIsPutBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.pair()
	b.due()
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	before := b.snapshot()
	one.store.set(func(s *faultyStore) {
		s.lostApply = 1
		s.applied = func(credential.Write) { one.store.set(func(s *faultyStore) { s.failApply = 1_000_000 }) }
	})
	done := start(func() (credential.BatchReport, error) {
		return one.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	})
	soon(t, one.store.refused, "the second time that the write is handed over")
	held, seen := b.held(two, "alice"), b.eventIDs(two, "alice")
	require.EqualValues(t, 2, held.Record.Generation)

	b.fallBack(before)
	require.EqualValues(t, 1, b.held(two, "alice").Record.Generation, "the store really lost it")
	b.settle(one, two)
	b.settle(one)
	require.Equal(t, passAll, two.barrier.passes())
	assert.Equal(t, seen, b.eventIDs(two, "alice"))
	assert.Equal(t, held, b.held(two, "alice"))
	one.store.heal()
	require.Equal(t, 1, soon(t, done, "the batch").value.Refreshed)
	assert.Equal(t, seen, b.eventIDs(two, "alice"))
	assert.Equal(t, 1, b.provider.most())
}

// What may never have been stored waits until everyone who lives has put back
// what was: it must not take the place of that.
func TestWhatWasStoredComesBackBeforeWhatMayHaveBeen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.pair()
	before := b.snapshot()
	one.store.set(func(s *faultyStore) { s.failApply = ownersTries })
	_, err := one.Logout(t.Context(), "alice", Expect{})
	require.Error(t, err)
	_, err = two.Put(t.Context(), credential.Login{
		ID: "alice", Provider: acme, Token: b.provider.grant("alice, again"), ExpiresIn: life, Labels: map[string]string{"by": "two"},
	}, Expect{})
	require.NoError(t, err)
	held, seen := b.held(two, "alice"), b.eventIDs(two, "alice")

	b.fallBack(before)
	for range 4 { // one is ready, and two is late
		b.clock.advance(rejoinWait / 2)
		require.NoError(t, one.tick(t.Context()))
	}
	require.NotEqual(t, passAll, one.barrier.passes())
	b.settle(two, one)
	b.settle(two, one)
	require.Equal(t, passAll, one.barrier.passes())
	assert.Equal(t, seen, b.eventIDs(two, "alice"))
	assert.Equal(t, held, b.held(two, "alice"))
}

// Two who wait for each other to put back what was stored do not wait for ever.
func TestTwoWithoutAnswersAreBothPutBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.settle(one, two)
	b.put(one, "alice")
	b.put(two, "bob")
	b.settle(one, two)
	before := b.snapshot()
	for n, id := range map[*node]credential.ID{one: "alice", two: "bob"} {
		n.store.set(func(s *faultyStore) { s.lostApply = ownersTries })
		_, err := n.Logout(t.Context(), id, Expect{})
		require.Error(t, err)
	}
	alice, bob := b.eventIDs(one, "alice"), b.eventIDs(one, "bob")
	b.fallBack(before)
	b.settle(one, two)
	b.settle(one, two)
	require.Equal(t, passAll, one.barrier.passes())
	require.Equal(t, passAll, two.barrier.passes())
	assert.Equal(t, alice, b.eventIDs(one, "alice"))
	assert.Equal(t, bob, b.eventIDs(one, "bob"))
}

// What was not carried out, and was told as that, does not come alive later: not
// in this process once the window has passed, and not in its heir.
func TestWhatWasNotStoredIsForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.settle(one, two)
	b.put(one, "alice")
	one.store.set(func(s *faultyStore) { s.failApply = ownersTries })
	_, err := one.Logout(t.Context(), "alice", Expect{})
	require.Error(t, err)
	require.Len(t, one.ledger.unanswered(), 1)
	for range 2 {
		b.clock.advance(11 * time.Second)
		require.NoError(t, one.tick(t.Context()))
		require.NoError(t, two.tick(t.Context()))
	}
	assert.Empty(t, one.ledger.unanswered())
	assert.Empty(t, one.inJournal().Changes)
	one.die()
	b.settle(two)
	assert.Equal(t, credential.StateActive, b.held(two, "alice").Record.State)
}

// A write that the store refused is nothing that could have been lost.
func TestARefusedWriteIsNotPutBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.settle(n)
	b.put(n, "alice")
	noted := n.inJournal().Changes
	b.run.Store("second run")
	_, err := n.Logout(t.Context(), "alice", Expect{})
	require.ErrorContains(t, err, "restarted")
	assert.Empty(t, n.ledger.unanswered())
	assert.Equal(t, noted, n.inJournal().Changes)
}

// unsure reports what an owner is told of a change that failed.
func unsure(t *testing.T, err error) bool {
	t.Helper()
	away, ok := errors.AsType[*UnavailableError](err)
	require.True(t, ok)
	return away.Unsure
}

// An owner's change that was made without an answer is asked for again, and meets a
// store that has come back without it: that refuses it, which says nothing of the
// first time. It comes back as it was, and what others built on it.
func TestASecondSendingToAnotherRunSaysNothingOfTheFirst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(b *bundle, n *node) error
		onTop  func(b *bundle, n *node)
	}{
		"a login": {
			change: func(b *bundle, n *node) error {
				_, err := n.Put(b.t.Context(), b.login("alice"), Expect{})
				return err
			},
		},
		"a login, and a refresh on top": {
			change: func(b *bundle, n *node) error {
				_, err := n.Put(b.t.Context(), b.login("alice"), Expect{})
				return err
			},
			onTop: func(b *bundle, n *node) {
				_, err := n.Refresh(b.t.Context(), "alice", 0)
				require.NoError(b.t, err)
			},
		},
		"a log-out": {
			change: func(b *bundle, n *node) error {
				_, err := n.Logout(b.t.Context(), "alice", Expect{})
				return err
			},
		},
		"a deletion": {
			change: func(b *bundle, n *node) error { return n.Delete(b.t.Context(), "alice", Expect{}, false) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.pair()
			before := b.snapshot()
			var held credential.Held
			var seen []string
			one.store.set(func(s *faultyStore) {
				s.onTop = func() {
					if c.onTop != nil {
						c.onTop(b, two)
					}
					held, seen = b.held(two, "alice"), b.eventIDs(two, "alice")
					b.fallBack(before)
				}
			})
			err := c.change(b, one)
			require.ErrorAs(t, err, new(anotherRun))
			assert.True(t, unsure(t, err), "it was made, as far as its owner can know")
			require.Len(t, b.eventIDs(two, "alice"), 1, "the store really lost it")
			err = c.change(b, one)
			require.ErrorAs(t, err, new(anotherRun))
			assert.False(t, unsure(t, err), "this one was refused at once")

			b.settle(one, two)
			b.settle(one, two)
			require.Equal(t, passAll, one.barrier.passes())
			require.Equal(t, passAll, two.barrier.passes())
			assert.Equal(t, seen, b.eventIDs(two, "alice"))
			assert.Equal(t, held, b.held(two, "alice"))
			assert.LessOrEqual(t, b.provider.most(), 1)
		})
	}
}

// Whoever waits for a change hears how it ended though an answer was lost, and what
// is not known where all were.
func TestAnAnswerThatIsLostIsAskedForAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.put(n, "alice")
	losing := func(answers int) { n.store.set(func(s *faultyStore) { s.lostApply = answers }) }
	for name, change := range map[string]func() error{
		"credential": func() error { _, err := n.SetPaused(t.Context(), "alice", true, ""); return err },
		"provider":   func() error { _, err := n.PauseProvider(t.Context(), acme, true); return err },
		"login":      func() error { _, err := n.Put(t.Context(), b.login("bob"), Expect{}); return err },
	} {
		losing(ownersTries - 1)
		require.NoError(t, change(), name)
	}
	require.True(t, b.held(n, "alice").Record.Paused)

	losing(ownersTries)
	_, err := n.SetPaused(t.Context(), "alice", false, "")
	assert.True(t, unsure(t, err))
	assert.False(t, b.held(n, "alice").Record.Paused)
	n.away()
	_, err = n.SetPaused(t.Context(), "alice", true, "")
	assert.False(t, unsure(t, err), "it could not even be read")
}

// A write that is handed over a second time and refused may have been stored the
// first time.
func TestARefusalSaysNothingOfTheFirstTime(t *testing.T) {
	t.Parallel()
	one, l := []Written{{Write: credential.Write{Nonce: newNonce()}}}, newLedger()
	l.hands(0, one)
	assert.True(t, l.refused(one[0].Write.Nonce))
	assert.Empty(t, l.unanswered())
	l.hands(0, one)
	l.unheard(5*time.Second, one)
	l.hands(6*time.Second, one)
	assert.False(t, l.refused(one[0].Write.Nonce))
	assert.Len(t, l.unanswered(), 1)
	l.unheard(9*time.Second, one)
	assert.Empty(t, l.expired(8*time.Second), "it can have been stored until then")
	assert.Len(t, l.expired(9*time.Second), 1)
	l.hands(0, one)
	l.wrote(0, one[0])
	assert.Empty(t, l.unanswered())
}

// What was put back can be lost again: the time for which it is kept begins anew.
func TestWhatWasPutBackCanBeLostAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.settle(n)
	b.put(n, "alice")
	b.settle(n)
	before := b.snapshot()
	_, err := n.Logout(t.Context(), "alice", Expect{})
	require.NoError(t, err)
	seen := b.eventIDs(n, "alice")
	b.clock.advance(4 * time.Second)
	b.fallBack(before)
	b.settle(n)
	require.Equal(t, seen, b.eventIDs(n, "alice"))
	b.clock.advance(4 * time.Second) // more than ten since the log-out, less since it was put back
	require.NoError(t, n.tick(t.Context()))
	b.fallBack(before)
	b.run.Store("third run")
	b.settle(n)
	require.Equal(t, passAll, n.barrier.passes())
	assert.Equal(t, seen, b.eventIDs(n, "alice"))
}

// What somebody else built on a write without an answer waits for it, whoever
// looks first.
func TestWhatWasBuiltOnAWriteWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for name, first := range map[string][2]int{"its maker": {0, 0}, "the other": {1, 1}, "in turn": {0, 1}, "in turn, the other first": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.pair()
			before := b.snapshot()
			one.store.set(func(s *faultyStore) { s.lostApply = ownersTries })
			_, err := one.Logout(t.Context(), "alice", Expect{})
			require.Error(t, err)
			b.put(two, "alice")
			held, seen := b.held(two, "alice"), b.eventIDs(two, "alice")
			require.Len(t, seen, 3)

			b.fallBack(before)
			nodes := []*node{one, two}
			for i := range 40 {
				b.clock.advance(barrierStep)
				require.NoError(t, nodes[first[i%2]].tick(t.Context()))
				require.NoError(t, nodes[1-first[i%2]].tick(t.Context()))
			}
			require.Equal(t, passAll, one.barrier.passes())
			require.Equal(t, passAll, two.barrier.passes())
			assert.Equal(t, seen, b.eventIDs(two, "alice"))
			assert.Equal(t, held, b.held(two, "alice"))
		})
	}
}

// What an owner is told while an exchange is under way stands, whatever becomes of
// the exchange's reply in a restart of Redis: of one that has lost nothing, and of
// one that comes back as it was before both.
func TestAPlanStandsBesideAReplyWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lost bool
		by   func(one, two *node) *node
	}{
		"nothing lost, told by the same process": {false, func(one, _ *node) *node { return one }},
		"nothing lost, told by another":          {false, func(_, two *node) *node { return two }},
		"both lost, told by the same process":    {true, func(one, _ *node) *node { return one }},
		"both lost, told by another":             {true, func(_, two *node) *node { return two }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.pair()
			b.due()
			let := b.provider.holding()
			done := start(func() (credential.BatchReport, error) {
				return one.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
			})
			soon(t, b.provider.entered, "the exchange")
			before := b.snapshot()
			_, err := c.by(one, two).PlanOnce(t.Context(), "alice", time.Hour, "")
			require.NoError(t, err)
			told, err := c.by(one, two).SetPaused(t.Context(), "alice", true, "")
			require.NoError(t, err)
			one.store.set(func(s *faultyStore) { s.failApply = 1_000_000 })
			let()
			soon(t, one.store.refused, "the reply that is handed over")

			if !c.lost {
				before = b.snapshot()
			}
			b.fallBack(before)
			b.settle(one, two)
			b.settle(one, two)
			require.Equal(t, passAll, one.barrier.passes())
			one.store.heal()
			require.Equal(t, 1, soon(t, done, "the batch").value.Refreshed)
			got := b.held(two, "alice").Record
			assert.EqualValues(t, 2, got.Generation)
			assert.True(t, got.Paused)
			assert.Equal(t, told.Record.OnceAt, got.OnceAt)
			assert.Equal(t, 1, b.provider.most())
		})
	}
}
