package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// One that cannot be read is left as it is; a store that is away is told of.
func TestTuneSessionsGoesOnBehindOneThatCannotBeRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	var list []credential.Held
	for _, id := range []credential.ID{"ann", "bob", "cat"} {
		token := b.provider.grant(string(id))
		token.Refresh = credential.Secret{}
		_, err := n.Put(t.Context(), credential.Login{ID: id, Provider: acme, Token: token}, Expect{})
		require.NoError(t, err)
		h := b.held(n, id)
		list = append(list, credential.Held{Record: h.Record, Attempt: h.Attempt})
	}
	b.policy.Sessions.Idle = time.Hour
	other := b.node("two")
	other.store.set(func(s *faultyStore) { s.away = true })
	tuned, err := other.TuneSessions(t.Context(), acme, list)
	require.ErrorIs(t, err, errAway)
	assert.Zero(t, tuned)
	other.store.heal()
	other.store.set(func(s *faultyStore) { s.spoilt = map[credential.ID]bool{"bob": true} })
	tuned, err = other.TuneSessions(t.Context(), acme, list)
	require.NoError(t, err)
	assert.Equal(t, 2, tuned)
	assert.Contains(t, b.log.String(), `"credential":"bob"`)
	for id, planned := range map[credential.ID]time.Duration{"ann": time.Hour, "bob": idle, "cat": time.Hour} {
		assert.Equal(t, planned, b.held(n, id).Record.Session.Idle, id)
	}
}
