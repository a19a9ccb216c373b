package refresh

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

var errStall = errors.New("the disk of the journal does not answer")

// A process whose journal hangs leaves permits and attempts to those that can use
// them, and what is due too; whoever asks it for a token is told why there is none.
func TestAStalledJournalTakesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var stalled atomic.Bool
	stalled.Store(true)
	n := b.node("one", func(o *Options) {
		o.Stalled = func() error {
			if stalled.Load() {
				return errStall
			}
			return nil
		}
	})
	other := b.node("two")
	target := b.target()
	target.Limits = Limits{Concurrency: 1}
	for _, one := range []*node{n, other} {
		one.SetTargets(t.Context(), []Target{target})
	}
	b.put(other, "alice")
	b.put(other, "bob")
	b.clock.advance(2 * life)
	b.claimed(n, "alice", "bob")
	var asked atomic.Int64
	n.store.set(func(s *faultyStore) {
		s.scripted = func(int) (int, time.Duration) { asked.Add(1); return 0, 0 }
	})

	assert.Equal(t, credential.BatchReport{Returned: 2, Advanced: 2}, b.batch(n, "alice", "bob"), "what time alone has brought is told")
	assert.Nil(t, b.held(n, "alice").Attempt)
	assert.Empty(t, b.overdue(n), "nothing comes of it at once")
	b.clock.advance(tickEvery)
	assert.ElementsMatch(t, []credential.ID{"alice", "bob"}, b.overdue(n), "somebody else can take it soon")

	_, err := n.Token(t.Context(), "alice", 0)
	busy, ok := errors.AsType[*UnavailableError](err)
	require.True(t, ok, "%v", err)
	require.ErrorIs(t, err, errStall)
	assert.Equal(t, credential.ReasonStoreUnavailable, busy.Reason)
	assert.Equal(t, time.Second, busy.RetryAfter)
	assert.Zero(t, asked.Load(), "permits are for those who can use them")
	assert.Zero(t, b.provider.calls())
	assert.Nil(t, b.held(n, "alice").Attempt)

	assert.Equal(t, 1, b.batch(other, "alice").Refreshed, "nothing of it keeps the others")
	stalled.Store(false)
	n.store.set(func(s *faultyStore) { s.scripted = nil })
	held, err := n.Token(t.Context(), "bob", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 2, held.Record.Generation)
}
