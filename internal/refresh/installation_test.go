package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
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

// While the store does not hold the installation, whoever has a journal elsewhere is
// refused at his start. His silence is nobody's death then: nothing is begun without
// him, however long it lasts, and once the right store is back his silence counts
// anew.
func TestNobodyIsGivenUpOverAnEmptyStore(t *testing.T) {
	t.Parallel()
	for name, loss := range map[string]func(*Options){
		"the store may have lost the last writes": lossy,
		"the store loses nothing":                 func(*Options) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			away := b.elsewhere()
			one, two := b.node("one", loss), b.node("two", loss, away)
			b.settle(one, two)
			b.diesAfterReply(two)
			require.NoError(t, one.tick(t.Context()))
			right := b.snapshot()
			b.fallBack(snapshot{})
			alone := func(times int) {
				t.Helper()
				for range times {
					b.clock.advance(time.Second)
					require.NoError(t, one.tick(t.Context()))
					require.NotEqual(t, passAll, one.barrier.passes(), "two has a newer token in its journal")
				}
			}
			alone(3 * 600)
			assert.Equal(t, passWrites, one.barrier.passes(), "owners are answered")
			assert.Equal(t, []string{"two"}, one.WaitsFor())
			assert.Contains(t, b.log.String(), "journal/installation")

			b.fallBack(right)
			b.run.Store("first run")
			alone(600)
			heir := b.node("heir", loss, away)
			b.forced(one, heir)
			assert.EqualValues(t, 2, b.held(one, "alice").Record.Generation)
			assert.Equal(t, 1, b.provider.most())
		})
	}
}

// What somebody has begun on a store that was emptied before, and whose gate is open
// again, is his as long as that store does not hold the installation.
func TestNobodysAttemptIsTakenOverAnEmptyStore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, two := b.node("one", lossy), b.node("two", lossy, b.elsewhere())
	b.settle(one, two)
	described := b.snapshot().hashes["rd:meta"]
	b.fallBack(snapshot{})
	b.forced(one, two)
	b.diesAfterReply(two)
	silent := func(seconds int) *credential.Attempt {
		t.Helper()
		for range seconds {
			b.clock.advance(time.Second)
			require.NoError(t, one.tick(t.Context()))
		}
		require.Equal(t, passAll, one.barrier.passes())
		return b.held(one, "alice").Attempt
	}
	a := silent(3 * 600)
	require.NotNil(t, a)
	assert.False(t, a.Doubt, "it is two's still")
	assert.Equal(t, a.Deadline, one.Shown(b.held(one, "alice")).Attempt.Deadline, "nobody knows when it will be taken up")

	require.NoError(t, b.client.HSet(t.Context(), "rd:meta", described).Err())
	assert.False(t, silent(600).Doubt, "its silence counts anew")
	assert.True(t, silent(10).Doubt, "two is gone for good")
}
