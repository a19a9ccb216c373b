package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// by loads settings in which the provider has the calls that are named.
func (b *bundle) by(n *node, refresh, login, extend bool) {
	b.policy.NoRefresh, b.policy.CanLogin, b.policy.Sessions.Extend = !refresh, login, extend
	n.SetTargets(b.t.Context(), []Target{b.target()})
}

// kept is a credential of one hour that can be renewed as a row says.
func (b *bundle) kept(n *node, refresh bool) credential.Held {
	b.t.Helper()
	login := b.login("alice")
	if !refresh {
		login.Token.Refresh = credential.Secret{}
		login.SignIn = credential.SignIn{Username: credential.NewSecret("alice"), Password: credential.NewSecret(password)}
	}
	_, err := n.Put(b.t.Context(), login, Expect{})
	require.NoError(b.t, err)
	return b.held(n, "alice")
}

// A call that was taken out of the settings ends no token that lives, whoever asks;
// with the call back the token is renewed as if nothing had been.
func TestACallTakenOutEndsNothing(t *testing.T) {
	t.Parallel()
	for name, refresh := range map[string]bool{"refresh": true, "login": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.backend()
			n := b.node("one")
			b.by(n, refresh, !refresh, false)
			before := b.kept(n, refresh).Record
			b.by(n, false, false, false)
			_, err := n.Refresh(t.Context(), "alice", 0)
			require.ErrorIs(t, err, ErrNotRefreshable)
			_, err = n.Token(t.Context(), "alice", 50*time.Minute)
			require.NoError(t, err)
			b.due()
			b.batch(n, "alice")
			h := b.held(n, "alice")
			assert.Equal(t, credential.StateActive, h.Record.State, h.Record.Reason)
			assert.Equal(t, before.ExpiresAt, h.Record.ExpiresAt)
			assert.Equal(t, before.Version, h.Record.Version, "no event tells of it")
			assert.Nil(t, h.Attempt)
			_, err = n.Token(t.Context(), "alice", 0)
			require.NoError(t, err, "it is served")
			assert.Greater(t, h.Record.NextRefresh(), b.clock.Now(), "and looked at again, not at once")
			assert.Less(t, h.Record.NextRefresh(), h.Record.ExpiresAt)
			assert.Zero(t, b.provider.calls())

			b.by(n, refresh, !refresh, false)
			b.clock.advance(h.Record.NextRefresh().Sub(b.clock.Now()))
			b.batch(n, "alice")
			r := b.held(n, "alice").Record
			assert.Equal(t, credential.StateActive, r.State, r.Reason)
			assert.Greater(t, r.Generation, before.Generation)
		})
	}
}

// Where the call is not back before its expiry, a token is over; what it was stored
// with was never presented, and may be brought again.
func TestATokenWithoutACallIsOverAtItsExpiry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	login := b.login("alice")
	_, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	b.by(n, false, false, false)
	b.clock.advance(b.held(n, "alice").Record.ExpiresAt.Sub(b.clock.Now()))
	_, err = n.AdvanceBatch(t.Context(), acme, []credential.ID{"alice"})
	require.NoError(t, err)
	r := b.held(n, "alice").Record
	require.Equal(t, credential.StateReauthRequired, r.State)
	assert.Equal(t, credential.ReasonNotRefreshable, r.Reason)

	b.by(n, true, false, false)
	_, err = n.Put(t.Context(), login, Expect{})
	require.NoError(t, err, "nobody has used it")
	assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
	b.due()
	b.batch(n, "alice")
	assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
	assert.Equal(t, 1, b.provider.calls())
}

// A call that is added is one for the tokens that are stored already: from the walk
// after the reload on, at somebody's word, and at their expiry at the latest.
func TestACallThatIsAddedReachesWhatIsStored(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]func(*bundle, *node){
		"a walk": func(b *bundle, n *node) {
			h := b.held(n, "alice")
			tuned, err := n.Tune(b.t.Context(), acme, []credential.Held{{Record: h.Record, Attempt: h.Attempt}})
			require.NoError(b.t, err)
			assert.Equal(b.t, 1, tuned)
			r := b.held(n, "alice").Record
			assert.True(b.t, r.Refreshable)
			assert.Greater(b.t, r.RefreshAt, r.IssuedAt.Add(life/2))
			assert.Less(b.t, r.RefreshAt, r.IssuedAt.Add(life*9/10))
			b.due()
			b.batch(n, "alice")
		},
		"somebody's word": func(b *bundle, n *node) {
			_, err := n.Refresh(b.t.Context(), "alice", 0)
			require.NoError(b.t, err)
		},
		"a program that asks for more than is left": func(b *bundle, n *node) {
			b.due()
			_, err := n.Token(b.t.Context(), "alice", life/2)
			require.NoError(b.t, err)
		},
		"its expiry": func(b *bundle, n *node) {
			b.clock.advance(life)
			_, err := n.AdvanceBatch(b.t.Context(), acme, []credential.ID{"alice"})
			require.NoError(b.t, err)
			b.batch(n, "alice")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			var changed []string
			n.opts.OnPolicyChanged = func(provider string) { changed = append(changed, provider) }
			b.by(n, false, false, false)
			before := b.kept(n, true).Record
			require.False(t, before.Refreshable)
			b.by(n, true, false, false)
			assert.Equal(t, []string{acme}, changed)
			look(b, n)
			r := b.held(n, "alice").Record
			assert.Equal(t, credential.StateActive, r.State, r.Reason)
			assert.Greater(t, r.Generation, before.Generation)
			assert.Equal(t, 1, b.provider.calls())
		})
	}
}

// While one of two processes has a call and the other does not yet, the other ends
// nothing that the first can renew.
func TestAProcessWithoutACallLeavesItToOneThatHasIt(t *testing.T) {
	t.Parallel()
	for name, session := range map[string]bool{"a login": false, "a session's extension": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sliding()
			if !session {
				b.policy.Sessions = credential.SessionPolicy{}
			}
			old, fresh := b.node("old"), b.node("new")
			b.by(fresh, false, !session, session)
			b.session(fresh, !session)
			before := b.held(fresh, "alice").Record
			require.True(t, before.Refreshable)
			b.by(old, false, false, false)
			for range 4 {
				at := b.held(old, "alice").Record.NextRefresh()
				require.NotZero(t, at)
				b.clock.advance(at.Sub(b.clock.Now()))
				h := b.held(old, "alice")
				_, err := old.Tune(t.Context(), acme, []credential.Held{{Record: h.Record, Attempt: h.Attempt}})
				require.NoError(t, err)
				b.batch(old, "alice")
				r := b.held(old, "alice").Record
				require.Equal(t, credential.StateActive, r.State, r.Reason)
				require.Greater(t, r.NextRefresh(), b.clock.Now())
				require.Less(t, r.NextRefresh(), r.ExpiresAt)
			}
			b.clock.advance(b.held(old, "alice").Record.NextRefresh().Sub(b.clock.Now()))
			b.batch(fresh, "alice")
			r := b.held(fresh, "alice").Record
			assert.Equal(t, credential.StateActive, r.State, r.Reason)
			assert.Greater(t, r.ExpiresAt, before.ExpiresAt)
		})
	}
}

// A refresh token that may have been presented is one that was used, whatever ended
// the credential.
func TestATokenInDoubtWithoutACallStaysUsed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	login := b.login("alice")
	_, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	b.due()
	b.provider.set(func(p *fakeProvider) {
		p.answer = func(string, func() credential.Token) reply {
			return reply{outcome: credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}}
		}
	})
	b.batch(n, "alice")
	require.True(t, b.held(n, "alice").Attempt.Doubt)
	b.by(n, false, false, false)
	b.clock.advance(b.held(n, "alice").Attempt.RecoverAt.Sub(b.clock.Now()))
	b.batch(n, "alice")
	h := b.held(n, "alice")
	require.Equal(t, credential.StateDegraded, h.Record.State, h.Record.Reason)
	require.True(t, h.Attempt.Doubt, "what is in doubt stays so")
	b.clock.advance(life)
	_, err = n.AdvanceBatch(t.Context(), acme, []credential.ID{"alice"})
	require.NoError(t, err)
	b.batch(n, "alice")
	h = b.held(n, "alice")
	require.Equal(t, credential.StateReauthRequired, h.Record.State)
	require.Nil(t, h.Attempt)
	b.by(n, true, false, false)
	_, err = n.Put(t.Context(), login, Expect{})
	require.ErrorIs(t, err, ErrStaleToken)
}

// What is over for want of a call, and is brought again while there still is none, is
// no news.
func TestWhatIsBroughtAgainWithoutACallIsStoredOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.NoRefresh = true
	n := b.node("one")
	login := b.login("alice")
	login.ExpiresIn, login.ExpiresAt = 0, b.clock.Now()-1000
	put, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	require.True(t, put.Held.Record.Unasked())
	_, err = n.Put(t.Context(), login, Expect{})
	require.ErrorIs(t, err, ErrStaleToken)
	assert.Equal(t, put.Held.Record.Version, b.held(n, "alice").Record.Version)
}
