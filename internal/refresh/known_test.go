package refresh

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// What is shown of a store that came back without its last writes is never older
// than what this process knows: nobody is answered before it was put back, not
// even where the other run was not noticed yet.
func TestNothingOlderIsShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one", lossy)
	b.put(n, "alice")
	b.settle(n)
	before := b.snapshot()
	b.put(n, "carol")
	_, err := n.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)
	_, err = n.Refresh(t.Context(), "alice", 0)
	require.NoError(t, err)

	show := func(id credential.ID) (*credential.Held, error) {
		var list []*credential.Held
		err := n.OnKnownRun(t.Context(), func(ctx context.Context) (err error) {
			list, err = n.store.Records(ctx, id)
			return err
		})
		if err != nil {
			return nil, err
		}
		return n.Current(id, list[0])
	}
	held, err := show("alice")
	require.NoError(t, err)
	require.EqualValues(t, 3, held.Record.Version)

	b.fallBack(before)
	require.EqualValues(t, 1, b.held(n, "alice").Record.Version, "the store really lost it")
	for range 2 { // before and after it is noticed
		for _, id := range []credential.ID{"alice", "carol"} {
			_, err = show(id)
			unavailable := new(UnavailableError)
			require.ErrorAs(t, err, &unavailable)
			assert.Equal(t, credential.ReasonStoreUnavailable, unavailable.Reason)
			require.ErrorAs(t, err, new(anotherRun), "being put back")
		}
		require.NoError(t, n.tick(t.Context()))
	}
	b.settle(n)
	for id, version := range map[credential.ID]uint64{"alice": 3, "carol": 1} {
		held, err := show(id)
		require.NoError(t, err)
		assert.Equal(t, version, held.Record.Version)
	}
}

// A received token that the store has not taken yet is shown as it is served.
func TestWhatIsPromisedIsShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	before := b.put(n, "alice")
	b.due()
	let := b.provider.holding()
	done := start(func() (credential.Held, error) { return n.Refresh(t.Context(), "alice", 1) })
	soon(t, b.provider.entered, "the exchange")
	n.away()
	let()
	served := soon(t, done, "the token")
	require.NoError(t, served.err)
	held, err := n.Current("alice", &before)
	require.NoError(t, err)
	assert.Equal(t, served.value.Record.Version, held.Record.Version)
}
