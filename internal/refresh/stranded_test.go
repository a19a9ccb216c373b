package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// claimed hands ids to a process, as the dispatcher does, and checks that they
// are nobody else's until then.
func (b *bundle) claimed(n *node, ids ...credential.ID) {
	b.t.Helper()
	got, err := n.store.Claim(b.t.Context(), 0, acme, ids, newNonce(), 5*time.Second)
	require.NoError(b.t, err)
	require.Equal(b.t, ids, got, "they are due")
	require.Empty(b.t, b.overdue(n), "and claimed now")
}

// overdue returns what a dispatcher would find.
func (b *bundle) overdue(n *node) []credential.ID {
	b.t.Helper()
	list, err := n.store.Overdue(b.t.Context(), 0, acme, 0, b.clock.Now(), 0, 100)
	require.NoError(b.t, err)
	var ids []credential.ID
	for _, o := range list {
		ids = append(ids, o.ID)
	}
	return ids
}

// What could not be begun while the gate was closed is due as soon as it opens,
// however long its claim would last.
func TestTheGateReleasesWhatItHeldUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.put(n, "alice")
	b.settle(n)
	b.due()
	require.NoError(t, n.tick(t.Context()))
	b.fallBack(b.snapshot())
	b.clock.advance(rejoinWait)
	b.claimed(n, "alice")
	_, err := n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.Error(t, err, "the store is another run")
	require.Empty(t, b.overdue(n), "nothing is begun before the gate is open")

	require.NoError(t, n.tick(t.Context()))
	require.NotEqual(t, passAll, n.barrier.passes())
	for n.barrier.passes() != passAll {
		require.Empty(t, b.overdue(n))
		b.clock.advance(barrierStep)
		require.NoError(t, n.tick(t.Context()))
	}
	assert.Equal(t, []credential.ID{"alice"}, b.overdue(n))
}

// The same goes for an outage: a claim outlives it by nothing.
func TestAnOutageReleasesWhatItHeldUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.put(n, "bob")
	b.due()
	b.claimed(n, "alice", "bob")
	n.store.set(func(s *faultyStore) { s.away = true })
	_, err := n.RefreshBatch(t.Context(), acme, []credential.ID{"alice", "bob"}, "")
	require.ErrorIs(t, err, errAway)
	require.ErrorIs(t, n.tick(t.Context()), errAway)
	require.Empty(t, b.overdue(n))

	n.store.heal()
	require.NoError(t, n.tick(t.Context()))
	assert.ElementsMatch(t, []credential.ID{"alice", "bob"}, b.overdue(n))
	assert.Equal(t, 2, b.batch(n, "alice", "bob").Refreshed)
	require.NoError(t, n.tick(t.Context()))
	assert.Empty(t, b.overdue(n), "what was given back once is not given back again")
}

// A claim that is over is somebody else's, and what a full disk put off stays so.
func TestWhatIsNotGivenBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	b.claimed(n, "alice")
	n.store.set(func(s *faultyStore) { s.away = true })
	_, err := n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.Error(t, err)
	b.clock.advance(strandedFor)
	n.stranded.add(acme, []credential.ID{"bob"}, n.clock.Boot(), n.clock.Boot())
	require.Len(t, n.stranded.take(), 1, "only the young one")

	n.store.heal()
	b.claimed(n, "alice")
	n.journal.set(func(j *testJournal) { j.intend = errFull })
	_, err = n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
	require.Error(t, err)
	require.NoError(t, n.tick(t.Context()))
	assert.Empty(t, b.overdue(n))
}
