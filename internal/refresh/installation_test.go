package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Another installation behind the same address is given nothing of this one: no
// begin, no write, no journal of the dead. Once the right one is back, all of that
// goes on.
func TestAnotherInstallationIsGivenNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy)
	b.put(one, "alice")
	b.settle(one, two)
	b.due()
	require.NoError(t, one.tick(t.Context()))
	require.NoError(t, two.tick(t.Context()))
	right := b.snapshot()
	b.diesAfterReply(one)
	b.mini.FlushAll()
	require.NoError(t, b.client.HSet(t.Context(), "rd:meta", "epoch", "somebody else's").Err())
	b.run.Store("a run of another")
	for range 60 {
		b.clock.advance(time.Second)
		require.ErrorIs(t, two.tick(t.Context()), errAnotherInstallation)
	}
	assert.Equal(t, []string{"rd:meta"}, b.mini.Keys())
	assert.Equal(t, passNothing, two.barrier.passes())
	_, err := two.RefreshBatch(t.Context(), acme, nil, "")
	require.NoError(t, err)

	b.fallBack(right)
	b.settle(two)
	b.settle(two)
	require.Equal(t, passAll, two.barrier.passes())
	assert.EqualValues(t, 3, b.held(two, "alice").Record.Generation, "the dead one's journal was kept")
	assert.Equal(t, 1, b.provider.most())
}

// What was put back into a store that has lost its installation is kept in the
// journal until it is back: the empty one may have been a mistake.
func TestNothingIsForgottenOverAnEmptyStore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.put(n, "alice")
	b.settle(n)
	right := b.snapshot()
	b.put(n, "bob")
	b.mini.FlushAll()
	b.run.Store("an empty one")
	for range 60 {
		b.clock.advance(time.Second)
		require.NoError(t, n.tick(t.Context()))
	}
	require.Equal(t, passAll, n.barrier.passes())
	b.held(n, "bob") // it was put back
	require.NotEmpty(t, n.inJournal().Changes)
	b.fallBack(right)
	b.settle(n)
	b.held(n, "bob")
	b.clock.advance(11 * time.Second)
	require.NoError(t, n.tick(t.Context()))
	assert.Empty(t, n.inJournal().Changes, "the store has it, and cannot lose it any more")
}
