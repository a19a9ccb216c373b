package refresh

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// emptied has the store come back with nothing, once nobody knows how alice began:
// two has stored the token that is hers now, and nobody can put it back before
// everyone waits.
func (b *bundle) emptied(one, two *node, meanwhile func()) {
	b.t.Helper()
	b.settle(one, two)
	b.put(one, "alice")
	b.settle(one, two)
	b.due()
	b.settle(one, two)
	require.Equal(b.t, 1, b.batch(two, "alice").Refreshed)
	soon(b.t, b.provider.entered, "the first exchange")
	require.EqualValues(b.t, 2, b.held(two, "alice").Record.Generation)
	require.Empty(b.t, one.ledger.lately(), "it is safe where it is, as far as one knows")
	meanwhile()
	b.fallBack(snapshot{})
}

// forced lets time pass until nobody waits for anybody any more.
func (b *bundle) forced(nodes ...*node) {
	b.t.Helper()
	for range 40 {
		b.clock.advance(barrierStep)
		for _, n := range nodes {
			require.NoError(b.t, n.tick(b.t.Context()))
		}
	}
	for _, n := range nodes {
		require.Equal(b.t, passAll, n.barrier.passes(), n.owner)
	}
}

// Who holds an attempt of which nobody has the record yet looks again once
// somebody has brought it: before that, nobody begins.
func TestAnAttemptIsPutBackBehindWhatOthersBring(t *testing.T) {
	t.Parallel()
	for name, oneFirst := range map[string]bool{"its holder looks first": true, "the other looks first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.node("one", lossy), b.node("two", lossy)
			var let func()
			var done <-chan result[credential.Held]
			b.emptied(one, two, func() {
				let = b.provider.holding()
				t.Cleanup(let)
				done = start(func() (credential.Held, error) { return one.Refresh(t.Context(), "alice", 2) })
				soon(t, b.provider.entered, "the exchange")
			})
			nodes := []*node{one, two}
			if !oneFirst {
				nodes = []*node{two, one}
			}
			b.forced(nodes...)
			h := b.held(two, "alice")
			require.EqualValues(t, 2, h.Record.Generation)
			require.NotNil(t, h.Attempt, "the attempt is back")
			assert.Equal(t, one.owner, h.Attempt.Owner)
			let()
			require.NoError(t, soon(t, done, "the refresh").err)
			assert.EqualValues(t, 3, b.held(two, "alice").Record.Generation)
			assert.Equal(t, 1, b.provider.most())
		})
	}
}

// So does the heir of somebody who presented a generation that only a third one
// can bring back: it is in doubt, and nobody's to present.
func TestADeadPresentationIsRecalledBehindWhatOthersBring(t *testing.T) {
	t.Parallel()
	for name, heirFirst := range map[string]bool{"the heir looks first": true, "the other looks first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two, heir := b.node("one", lossy), b.node("two", lossy), b.node("heir", lossy)
			b.emptied(one, two, func() {
				require.NoError(t, heir.tick(t.Context()))
				let := b.provider.holding()
				done := start(func() (credential.Held, error) { return one.Refresh(t.Context(), "alice", 2) })
				soon(t, b.provider.entered, "the exchange")
				one.die(let)
				soon(t, done, "the end of the dead process's refresh")
			})
			nodes := []*node{heir, two}
			if !heirFirst {
				nodes = []*node{two, heir}
			}
			b.forced(nodes...)
			h := b.held(two, "alice")
			require.EqualValues(t, 2, h.Record.Generation)
			require.NotNil(t, h.Attempt, "the presentation is not forgotten")
			assert.True(t, h.Attempt.Doubt)
			b.clock.advance(time.Minute)
			_ = b.batch(two, "alice")
			assert.Equal(t, 1, b.provider.most())
		})
	}
}

// Who puts back what others look for, and dies before he can say so, is counted by
// whoever proves his death: by his silence, or as his heir.
func TestADeathIsLookedBehind(t *testing.T) {
	t.Parallel()
	for name, inherited := range map[string]bool{"by silence": false, "by an heir": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.node("one", lossy, b.elsewhere()), b.node("two", lossy)
			beside := []*node{one}
			if inherited {
				beside = append(beside, b.node("heir", lossy))
			}
			var done <-chan result[credential.Held]
			var let func()
			described := b.snapshot().hashes["rd:meta"]
			b.emptied(one, two, func() {
				let = b.provider.holding()
				t.Cleanup(let)
				done = start(func() (credential.Held, error) { return one.Refresh(t.Context(), "alice", 2) })
				soon(t, b.provider.entered, "the exchange")
			})
			if !inherited { // nobody is given up on a store that has lost its description, too
				require.NoError(t, b.client.HSet(t.Context(), "rd:meta", described).Err())
			}
			ready := func() bool { return !slices.ContainsFunc(beside, func(n *node) bool { return !n.barrier.ready }) }
			for i := 0; i < 100 && (i == 0 || !ready()); i++ {
				b.clock.advance(barrierStep)
				for _, n := range beside {
					require.NoError(t, n.tick(t.Context()))
				}
				if i == 0 || !two.barrier.waiting { // and then it is late
					require.NoError(t, two.tick(t.Context()))
				}
			}
			require.True(t, ready(), "they have looked, and found nothing")
			two.store.set(func(s *faultyStore) {
				s.applied = func(credential.Write) { two.store.set(func(s *faultyStore) { s.away = true }) }
			})
			for i := 0; i < 100 && two.store.gone() == nil; i++ {
				b.clock.advance(barrierStep)
				_ = two.tick(t.Context()) // it dies in the midst of it
			}
			require.EqualValues(t, 2, b.held(one, "alice").Record.Generation)
			require.Nil(t, b.held(one, "alice").Attempt, "nobody has looked since")
			require.NotEqual(t, passAll, one.barrier.passes())
			two.die()

			for i := 0; i < 10_000 && one.barrier.passes() != passAll; i++ {
				b.clock.advance(barrierStep)
				for _, n := range slices.Backward(beside) {
					require.NoError(t, n.tick(t.Context()))
				}
			}
			require.NotNil(t, b.held(one, "alice").Attempt, "the attempt is back")
			let()
			require.NoError(t, soon(t, done, "the refresh").err)
			assert.EqualValues(t, 3, b.held(one, "alice").Record.Generation)
			assert.Equal(t, 1, b.provider.most())
		})
	}
}

// A journal that was taken up, and that something has to come before on another run
// of the store, holds up nobody: its heir has its lock, as its owner had.
func TestAnHeirsJournalHoldsUpNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two, heir := b.node("one", lossy), b.node("two", lossy), b.node("heir", lossy)
	b.settle(heir)
	var earlier snapshot
	b.emptied(one, two, func() {
		before := b.snapshot()
		earlier.hashes = map[string]map[string]string{"rd:owners": before.hashes["rd:owners"], "rd:members": before.hashes["rd:members"]}
		two.die()
		b.settle(heir, one)
		require.Len(t, heir.adopted, 1)
	})
	b.fallBack(earlier) // two was alive
	b.forced(heir, one)
	assert.EqualValues(t, 2, b.held(one, "alice").Record.Generation)
}

// Who stands still on another machine while the store is another run, and perhaps
// yet another one, is known there by whoever knew him before: he may hold what it
// has lost.
func TestWhoWasKnownBeforeIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy, b.elsewhere())
	b.emptied(one, two, func() { b.settle(one) })
	late := b.node("late", lossy) // and knows nobody
	b.run.Store("third run")
	b.mini.FlushAll()
	for range 60 { // twelve seconds; the quarantine is longer
		b.clock.advance(barrierStep)
		require.NoError(t, one.tick(t.Context()))
		require.NoError(t, late.tick(t.Context()))
		require.NotEqual(t, passAll, one.barrier.passes(), "two has a newer token")
		require.NotEqual(t, passAll, late.barrier.passes())
	}
	assert.Equal(t, []string{"two"}, one.WaitsFor())
	assert.Equal(t, []string{"two"}, late.WaitsFor())
	b.forced(one, late, two)
	assert.Empty(t, one.WaitsFor())
	assert.EqualValues(t, 2, b.held(one, "alice").Record.Generation)
}

// A store that somebody has emptied is the same run. What comes of an attempt waits
// for the data, and is stored when they are back.
func TestAReplyWaitsForTheData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one := b.node("one", lossy)
	b.settle(one)
	b.put(one, "alice")
	b.due()
	b.settle(one)
	before := b.snapshot()
	let := b.provider.holding()
	t.Cleanup(let)
	done := start(func() (credential.Held, error) { return one.Refresh(t.Context(), "alice", 0) })
	soon(t, b.provider.entered, "the exchange")
	b.mini.FlushAll()
	asked := one.loaded()
	let()
	require.Eventually(t, func() bool { return one.loaded() > asked }, patience, time.Millisecond, "the record is looked for")
	_ = soon(t, done, "an answer") // of what nobody can tell
	require.NoError(t, one.tick(t.Context()))
	require.Len(t, one.ledger.attempts(), 1, "its attempt is not over")

	b.fallBack(before)
	b.settle(one)
	b.settle(one)
	require.Eventually(t, func() bool { return b.held(one, "alice").Record.Generation == 2 }, patience, time.Millisecond)
	assert.Equal(t, 1, b.provider.most())
}
