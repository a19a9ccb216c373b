package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// One that cannot be read is left as it is; a store that is away is told of.
func TestTuneGoesOnBehindOneThatCannotBeRead(t *testing.T) {
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
	tuned, err := other.Tune(t.Context(), acme, list)
	require.ErrorIs(t, err, errAway)
	assert.Zero(t, tuned)
	other.store.heal()
	other.store.set(func(s *faultyStore) { s.spoilt = map[credential.ID]bool{"bob": true} })
	tuned, err = other.Tune(t.Context(), acme, list)
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
	n.opts.OnPolicyChanged = func(provider string) { changed = append(changed, provider) }
	load := func(sessions credential.SessionPolicy) credential.Record {
		t.Helper()
		b.policy.Sessions = sessions
		n.SetTargets(t.Context(), []Target{b.target()})
		h := b.held(n, "alice")
		tuned, err := n.Tune(t.Context(), acme, []credential.Held{{Record: h.Record, Attempt: h.Attempt}})
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

// Whatever looks first at a session whose provider has none since a start, it ends
// no login: nobody has asked the backend.
func TestASessionTakenOutBeforeAStartLivesOn(t *testing.T) {
	t.Parallel()
	asked := func(minTTL time.Duration) func(*bundle, *node) {
		return func(b *bundle, n *node) {
			held, err := n.Token(b.t.Context(), "alice", minTTL)
			require.NoError(b.t, err)
			assert.Zero(b.t, held.Record.Session)
		}
	}
	due := func(b *bundle, n *node) { b.batch(n, "alice") }
	for name, row := range map[string]struct {
		after time.Duration // its last use
		look  func(*bundle, *node)
	}{
		"its extension has come due":                {idle * 3 / 4, due},
		"a program asks for more than is left":      {idle / 2, asked(idle * 3 / 4)},
		"its clock has run out":                     {idle, due},
		"its clock has run out, and a program asks": {idle, asked(0)},
		"its clock has run out while nothing is called": {idle, func(b *bundle, n *node) {
			_, err := n.AdvanceBatch(b.t.Context(), acme, []credential.ID{"alice"})
			require.NoError(b.t, err)
		}},
		"its token was refused": {time.Minute, func(b *bundle, n *node) {
			_, err := n.Refresh(b.t.Context(), "alice", 1)
			require.ErrorIs(b.t, err, ErrNotRefreshable)
		}},
		"somebody tells who is there": {time.Minute, func(b *bundle, n *node) {
			_, err := n.SetPresence(b.t.Context(), "alice", credential.PresenceActive, "")
			require.NoError(b.t, err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sliding()
			b.policy.NoRefresh = true
			one := b.node("one")
			b.session(one, false)
			before := b.held(one, "alice").Record
			require.True(t, before.Session.Sliding())
			one.stop()
			b.policy.Sessions = credential.SessionPolicy{}
			two := b.node("two")
			b.settle(two)
			b.clock.advance(before.IssuedAt.Add(row.after).Sub(b.clock.Now()))
			row.look(b, two)
			h := b.held(two, "alice")
			assert.Equal(t, credential.StateActive, h.Record.State, h.Record.Reason)
			assert.Zero(t, h.Record.Session)
			assert.Nil(t, h.Attempt)
			assert.Equal(t, before.Version, h.Record.Version, "no event tells of it")
			assert.Equal(t, before.IssuedAt.Add(credential.FallbackLifetime), h.Record.ExpiresAt)
			assert.Zero(t, h.Record.Failures)
			assert.Zero(t, b.provider.calls())
			b.clock.advance(h.Record.ExpiresAt.Sub(b.clock.Now()))
			b.batch(two, "alice")
			r := b.held(two, "alice").Record
			assert.Equal(t, credential.StateReauthRequired, r.State, "as any token that nothing replaces")
			assert.Equal(t, credential.ReasonNotRefreshable, r.Reason)
		})
	}
}

// Nobody hears of what another process has tuned: memory that shows a token where
// there are sessions by now, or the other way about, is not believed, until what is
// stored is what it should be.
func TestMemoryDoesNotOutliveWhatAnotherTuned(t *testing.T) {
	t.Parallel()
	for _, added := range []bool{true, false} {
		b := setup(t)
		b.backend()
		plain, sessions := credential.SessionPolicy{}, credential.SessionPolicy{Idle: idle, Extend: true}
		before, after := plain, sessions
		if !added {
			before, after = sessions, plain
		}
		b.policy.Sessions = before
		one, two := b.node("one"), b.node("two")
		b.put(one, "alice")
		read := func() credential.Record {
			t.Helper()
			two.hears()
			held, err := two.Token(t.Context(), "alice", 0)
			require.NoError(t, err)
			return held.Record
		}
		assert.Equal(t, added, !read().Session.Sliding())
		b.policy.Sessions = after
		for _, n := range []*node{one, two} {
			n.SetTargets(t.Context(), []Target{b.target()})
		}
		read() // before it is tuned
		tuned, err := one.Tune(t.Context(), acme, []credential.Held{b.held(one, "alice")})
		require.NoError(t, err)
		require.Equal(t, 1, tuned)
		stored := b.held(one, "alice").Record
		assert.Equal(t, stored.ExpiresAt, read().ExpiresAt)
		loads := two.loaded()
		read()
		assert.Equal(t, loads, two.loaded(), "it is believed again")
	}
}

// What stays as it is for long is served from memory all the same.
func TestMemoryServesWhatIsNotTunedYet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, true)
	h := b.held(n, "alice")
	h.Record.Session.Successor.Failures = 1
	n.tokens.put(h)
	b.policy.Sessions = credential.SessionPolicy{}
	n.SetTargets(t.Context(), []Target{b.target()})
	n.hears()
	before := n.loaded()
	_, err := n.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.Equal(t, before, n.loaded())
}
