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

// A provider's first settings of session reach the tokens that it has already, and
// the last leave tokens behind; whoever loads either has what lives seen to.
func TestSessionsComeAndGoWithTheirSettings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	h := b.put(n, "alice")
	require.Zero(t, h.Record.Session)
	version := h.Record.Version
	var changed []string
	n.opts.OnSessionsChanged = func(provider string) { changed = append(changed, provider) }
	load := func(sessions credential.SessionPolicy) credential.Record {
		t.Helper()
		b.policy.Sessions = sessions
		n.SetTargets(t.Context(), []Target{b.target()})
		h := b.held(n, "alice")
		tuned, err := n.TuneSessions(t.Context(), acme, []credential.Held{{Record: h.Record, Attempt: h.Attempt}})
		require.NoError(t, err)
		require.Equal(t, 1, tuned)
		return b.held(n, "alice").Record
	}
	r := load(credential.SessionPolicy{Idle: idle, Extend: true})
	assert.Equal(t, idle, r.Session.Idle)
	assert.Equal(t, h.Record.IssuedAt.Add(idle), r.ExpiresAt)
	b.clock.advance(time.Minute)
	touches, err := n.Touch(t.Context(), []credential.ID{"alice"})
	require.NoError(t, err)
	assert.Equal(t, b.clock.Now().Add(idle), touches[0].Deadline)

	r = load(credential.SessionPolicy{})
	assert.Zero(t, r.Session)
	assert.Equal(t, h.Record.IssuedAt.Add(credential.FallbackLifetime), r.ExpiresAt)

	assert.Equal(t, []string{acme, acme}, changed)
	assert.Equal(t, version, b.held(n, "alice").Record.Version, "no event tells of it")
	n.SetTargets(t.Context(), []Target{b.target()})
	assert.Len(t, changed, 2, "nothing has changed")
}
