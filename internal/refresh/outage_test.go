package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func (n *node) away() { n.store.set(func(s *faultyStore) { s.away = true }) }

// Whoever waits for a refresh when the store dies is given the token that came,
// from memory: it is in the journal, and stored once the store is back. So is
// whoever asks after that.
func TestATokenThatCannotBeStoredYetIsServed(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(n *node) (credential.Held, error){
		"rejected": func(n *node) (credential.Held, error) { return n.Refresh(t.Context(), "alice", 1) },
		"by force": func(n *node) (credential.Held, error) { return n.Refresh(t.Context(), "alice", 0) },
		"min_ttl":  func(n *node) (credential.Held, error) { return n.Token(t.Context(), "alice", life/2) },
		"joins a batch": func(n *node) (credential.Held, error) {
			return n.Token(t.Context(), "alice", life/2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			b.put(n, "alice")
			b.due()
			let := b.provider.holding()
			if name == "joins a batch" {
				batch := start(func() (credential.BatchReport, error) {
					return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, "")
				})
				defer func() { require.NoError(t, soon(t, batch, "the batch's end").err) }()
				soon(t, b.provider.entered, "the exchange")
			}
			done := start(func() (credential.Held, error) { return ask(n) })
			if name != "joins a batch" {
				soon(t, b.provider.entered, "the exchange")
			}
			n.away()
			let()
			soon(t, n.store.refused, "a write that fails")
			got := soon(t, done, "an answer while the store is away")
			require.NoError(t, got.err)
			assert.EqualValues(t, 2, got.value.Record.Generation)
			assert.Len(t, n.inJournal().Keeps, 1)

			again, err := n.Refresh(t.Context(), "alice", 1)
			require.NoError(t, err, "a newer one than the rejected is in memory")
			assert.EqualValues(t, 2, again.Record.Generation)
			_, err = n.Refresh(t.Context(), "alice", 2)
			unavailable := new(UnavailableError)
			require.ErrorAs(t, err, &unavailable)
			assert.Equal(t, credential.ReasonStoreUnavailable, unavailable.Reason)

			n.stop()
			assert.EqualValues(t, 2, b.held(n, "alice").Record.Generation)
			assert.Equal(t, 1, b.provider.calls())
		})
	}
}

// Where no token came, nobody waits for the store longer than for a commit.
func TestAnOutcomeThatCannotBeStoredIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.Times.Commit = time.Millisecond
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	b.provider.losing()
	let := b.provider.holding()
	done := start(func() (credential.Held, error) { return n.Refresh(t.Context(), "alice", 1) })
	soon(t, b.provider.entered, "the exchange")
	n.away()
	let()
	err := soon(t, done, "an answer while the store is away").err
	unavailable := new(UnavailableError)
	require.ErrorAs(t, err, &unavailable)
	assert.Equal(t, credential.ReasonStoreUnavailable, unavailable.Reason)
	require.ErrorIs(t, err, errNotStored)
}
