package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// limited returns a process of a provider with limits.
func (b *bundle) limited(limits Limits) *node {
	b.t.Helper()
	n := b.node("one")
	target := b.target()
	target.Limits = limits
	n.SetTargets(b.t.Context(), []Target{target})
	return n
}

// What there is no permit for is told all the same, by a batch that finds none as
// by one that is for nothing else; and it keeps its place.
func TestWhatTimeBringsIsToldWithoutAPermit(t *testing.T) {
	t.Parallel()
	type work func(n *node) (credential.BatchReport, error)
	for name, do := range map[string]work{
		"a batch that finds none": func(n *node) (credential.BatchReport, error) {
			return n.RefreshBatch(t.Context(), acme, []credential.ID{"alice", "nobody"}, "")
		},
		"a batch for it": func(n *node) (credential.BatchReport, error) {
			return n.AdvanceBatch(t.Context(), acme, []credential.ID{"alice", "nobody"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.limited(Limits{Concurrency: 2})
			h := b.put(n, "alice")
			require.NoError(t, n.store.Hold(t.Context(), acme, 2*life, credential.Outcome{Reason: credential.ReasonRateLimited}))
			b.clock.advance(life)
			report, err := do(n)
			require.NoError(t, err)
			assert.Equal(t, 1, report.Advanced)
			assert.Equal(t, 2, report.Returned)
			assert.Equal(t, credential.StateExpired, b.held(n, "alice").Record.State)
			due, some, err := n.store.NextDue(t.Context(), 0, acme)
			require.NoError(t, err)
			require.True(t, some)
			assert.Equal(t, h.Record.RefreshAt, due, "it has its place")
			report, err = do(n)
			require.NoError(t, err)
			assert.Zero(t, report.Advanced, "it is told once")
			assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventExpired}, b.events(n, "alice"))
			assert.Zero(t, b.provider.calls())
		})
	}
}

// A batch that cannot be told is given back once the store answers again.
func TestWhatCouldNotBeToldIsGivenBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.limited(Limits{Concurrency: 2})
	h := b.put(n, "alice")
	b.clock.advance(life)
	claimed, err := n.store.Claim(t.Context(), 0, acme, []credential.ID{"alice"}, newNonce(), 5*time.Second)
	require.NoError(t, err)
	n.store.set(func(s *faultyStore) { s.away = true })
	_, err = n.AdvanceBatch(t.Context(), acme, claimed)
	require.ErrorIs(t, err, errAway)
	n.store.heal()
	require.NoError(t, n.tick(t.Context()))
	due, _, err := n.store.NextDue(t.Context(), 0, acme)
	require.NoError(t, err)
	assert.Equal(t, h.Record.RefreshAt, due)
}

// A session whose clock ran out while it waited for its call gets none: its end is
// told, and then it is replaced where that can be done.
func TestASessionThatIsOverIsNotExtended(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(n *node) error{
		"by schedule": func(n *node) error {
			for range 2 {
				if _, err := n.RefreshBatch(t.Context(), acme, []credential.ID{"alice"}, ""); err != nil {
					return err
				}
			}
			return nil
		},
		"by whoever needs its token": func(n *node) error {
			_, err := n.Token(t.Context(), "alice", 0)
			return err
		},
		"by hand": func(n *node) error {
			_, err := n.Refresh(t.Context(), "alice", 0)
			return err
		},
	} {
		for _, withPassword := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.sliding()
				n := b.limited(Limits{Concurrency: 2})
				b.session(n, withPassword)
				before, _ := b.provider.counted()
				b.clock.advance(idle + time.Second)
				err := ask(n)
				logins, extended := b.provider.counted()
				assert.Zero(t, extended, "it is over by our own clock")
				r := b.held(n, "alice").Record
				if withPassword {
					require.NoError(t, err)
					assert.Equal(t, before+1, logins)
					assert.Equal(t, credential.StateActive, r.State)
					assert.Contains(t, b.events(n, "alice"), credential.EventExpired)
					return
				}
				assert.Equal(t, before, logins)
				assert.Equal(t, credential.StateReauthRequired, r.State)
				assert.Equal(t, credential.ReasonIdleTimeout, r.Reason)
			})
		}
	}
}

// What rests while its client is held back is looked at when its clock brings the
// next, also behind what it has just brought.
func TestACountdownGoesOnDuringAPause(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	b.policy.Sessions.WarnBefore = 8 * time.Second
	n := b.limited(Limits{Concurrency: 2})
	b.session(n, false)
	_, err := n.SetPresence(t.Context(), "alice", credential.PresenceActive, "")
	require.NoError(t, err)
	_, err = n.PauseProvider(t.Context(), acme, true)
	require.NoError(t, err)
	ends := b.held(n, "alice").Record.ExpiresAt
	b.clock.advance(idle - 8*time.Second)
	b.batch(n, "alice")
	assert.Contains(t, b.events(n, "alice"), credential.EventSessionExpiring)
	due, _, err := n.store.NextDue(t.Context(), 0, acme)
	require.NoError(t, err)
	assert.Equal(t, ends, due, "not a second later")
}
