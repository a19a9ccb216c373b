package refresh

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// The address of the store leads to an empty one for a while, and back to the right
// one, which has kept running and calls itself settled. Nobody begins there before
// everyone has put back what was done elsewhere, in whatever order they come back,
// and though one stands still.
func TestWhatWasDoneElsewhereIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, twoFirst := range map[string]bool{"who holds nothing comes back first": false, "who holds the attempt comes back first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			one, two := b.node("one", lossy), b.node("two", lossy, b.elsewhere())
			third := b.node("third", lossy)
			nodes := []*node{one, two, third}
			b.settle(nodes...)
			b.put(two, "alice")
			b.settle(nodes...)
			right := b.snapshot()
			b.fallBack(snapshot{})
			b.forced(nodes...)
			b.due()
			b.settle(nodes...)
			b.settle(nodes...)
			require.Equal(t, 1, b.batch(two, "alice").Refreshed)
			soon(t, b.provider.entered, "the first exchange")
			let := b.provider.holding()
			t.Cleanup(let)
			done := start(func() (credential.Held, error) { return two.Refresh(t.Context(), "alice", 2) })
			soon(t, b.provider.entered, "the second exchange")

			b.fallBack(right)
			b.run.Store("first run")
			require.Equal(t, "first run", b.settledRun(one))
			if twoFirst {
				require.NoError(t, two.tick(t.Context()))
			}
			for range 60 { // twelve seconds: two stands still, and silence is over
				b.clock.advance(barrierStep)
				require.NoError(t, one.tick(t.Context()))
				require.NoError(t, third.tick(t.Context()))
				require.NotEqual(t, passAll, one.barrier.passes(), "two has a newer token, and an attempt")
				require.NotEqual(t, passAll, third.barrier.passes())
			}
			b.forced(one, third, two)
			h := b.held(one, "alice")
			require.EqualValues(t, 2, h.Record.Generation)
			require.NotNil(t, h.Attempt, "the attempt is back")
			let()
			require.NoError(t, soon(t, done, "the refresh").err)
			assert.EqualValues(t, 3, b.held(one, "alice").Record.Generation)
			assert.Equal(t, 1, b.provider.most())
		})
	}
}

// Who never left the run begins nothing more, either, once somebody has come back
// to it, until all have put back what they know.
func TestWhoStayedWaitsForThoseWhoComeBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stayed, one, two := b.node("stayed", lossy), b.node("one", lossy), b.node("two", lossy)
	nodes := []*node{stayed, one, two}
	b.settle(nodes...)
	right := b.snapshot()
	b.fallBack(snapshot{})
	for range 10 {
		b.clock.advance(barrierStep)
		require.NoError(t, one.tick(t.Context()))
	}
	b.fallBack(right)
	b.run.Store("first run")
	require.NoError(t, stayed.tick(t.Context()))
	require.Equal(t, passAll, stayed.barrier.passes())
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, stayed.tick(t.Context()))
	assert.Equal(t, passNothing, stayed.barrier.passes())
	for range 20 {
		b.clock.advance(barrierStep)
		require.NoError(t, one.tick(t.Context()))
		require.NoError(t, stayed.tick(t.Context()))
	}
	require.NotEqual(t, passAll, stayed.barrier.passes(), "two stands still")
	b.forced(nodes...)
	slices.Reverse(nodes)
	b.forced(nodes...)
}

// Who was known on a store before somebody emptied it is waited for on the next run of
// it, too.
func TestWhoWasKnownBeforeAFlushIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy, b.elsewhere())
	b.settle(one, two)
	b.mini.FlushAll()
	for range 10 {
		b.clock.advance(barrierStep)
		require.NoError(t, one.tick(t.Context()))
	}
	b.run.Store("second run")
	b.mini.FlushAll()
	for range 60 {
		b.clock.advance(barrierStep)
		require.NoError(t, one.tick(t.Context()))
		require.NotEqual(t, passAll, one.barrier.passes(), "two stands still")
	}
	assert.Equal(t, []string{"two"}, one.WaitsFor())
	b.forced(one, two)
}

// settledRun is the run that the roster calls settled.
func (b *bundle) settledRun(n *node) string {
	b.t.Helper()
	roster, err := n.store.Store.Roster(b.t.Context())
	require.NoError(b.t, err)
	return roster.Settled
}
