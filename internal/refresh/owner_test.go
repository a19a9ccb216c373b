package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestPut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	ctx := t.Context()
	login := b.login("alice")

	_, err := n.Put(ctx, login, Expect{Version: 1})
	require.ErrorIs(t, err, ErrConflict, "nothing is there")
	put, err := n.Put(ctx, login, Expect{Absent: true})
	require.NoError(t, err)
	assert.True(t, put.Created)
	assert.False(t, put.Unchanged)
	assert.EqualValues(t, 1, put.Held.Record.Version)

	other := login
	other.Token.Access = credential.NewSecret(mark + "another access token")
	other.ExpiresIn += time.Hour
	for _, again := range []credential.Login{login, other} {
		put, err = n.Put(ctx, again, Expect{})
		require.NoError(t, err)
		assert.False(t, put.Created)
		assert.True(t, put.Unchanged, "who brought it is told")
		assert.EqualValues(t, 1, put.Held.Record.Version, "the current token changes nothing")
		assert.Equal(t, login.Token.Access.Reveal(), put.Held.Token.Access.Reveal())
	}
	_, err = n.Put(ctx, login, Expect{Absent: true})
	require.ErrorIs(t, err, ErrConflict)
	_, err = n.Put(ctx, b.login("alice"), Expect{Version: 9})
	require.ErrorIs(t, err, ErrConflict)

	_, err = n.Refresh(ctx, "alice", 1)
	require.NoError(t, err)
	_, err = n.Put(ctx, login, Expect{})
	require.ErrorIs(t, err, ErrStaleToken, "it was presented")

	put, err = n.Put(ctx, b.login("alice"), Expect{Version: 2})
	require.NoError(t, err)
	assert.EqualValues(t, 2, put.Held.Record.Grant)
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventRefreshed, credential.EventReauthorized}, b.events(n, "alice"))

	other = b.login("alice")
	other.Provider = "globex"
	target := b.target()
	target.Name = "globex"
	n.SetTargets(ctx, []Target{b.target(), target})
	_, err = n.Put(ctx, other, Expect{})
	require.ErrorIs(t, err, ErrConflict, "it belongs to another provider")

	gone := credential.Login{ID: "gone", Provider: acme, Token: credential.Token{Access: credential.NewSecret(mark + "x")}, ExpiresAt: b.clock.Now() - 1}
	_, err = n.Put(ctx, gone, Expect{})
	require.ErrorIs(t, err, ErrDeadOnArrival)
}

// The user's UID is taken from a login that is stored already: what failed for want of
// it is tried at once, and no attempt that is under way is disturbed.
func TestPutOfTheSameTokenWithAnotherSubject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	looked := 0
	n := b.node("one", func(o *Options) { o.OnDue = func() { looked++ } })
	login := b.login("alice")
	_, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	b.provider.failing(credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonInvalidRequest})
	_, err = n.Refresh(t.Context(), "alice", 1)
	require.Error(t, err)
	before := b.held(n, "alice").Record

	for i, subject := range []string{"uid-1", "uid-2"} {
		looked = 0
		login.Subject = subject
		put, err := n.Put(t.Context(), login, Expect{})
		require.NoError(t, err)
		assert.False(t, put.Unchanged, subject)
		r := b.held(n, "alice").Record
		assert.Equal(t, put.Held.Record, r)
		assert.Equal(t, subject, r.Subject)
		assert.Equal(t, before.Generation, r.Generation)
		assert.Equal(t, before.Grant, r.Grant)
		assert.Equal(t, before.Version+uint64(i)+1, r.Version)
		told := b.events(n, "alice")
		assert.Equal(t, credential.EventClaimsChanged, told[len(told)-1])
		assert.Equal(t, b.clock.Now(), r.RefreshAt)
		assert.Equal(t, 1, looked)

		put, err = n.Put(t.Context(), login, Expect{})
		require.NoError(t, err)
		assert.True(t, put.Unchanged, subject)
	}
	_, err = n.Put(t.Context(), login, Expect{Subject: "uid-1"})
	require.ErrorIs(t, err, ErrOtherSubject, "whoever is limited to a subject renames nobody's")
}

// A dead credential is not brought back by the token that killed it.
func TestPutOfTheTokenThatWasRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	login := b.login("alice")
	_, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	b.provider.failing(credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant})
	_, err = n.Refresh(t.Context(), "alice", 1)
	require.Error(t, err)
	_, err = n.Put(t.Context(), login, Expect{})
	require.ErrorIs(t, err, ErrStaleToken)
}

func TestOwnersChangeIsJournaledFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	n.journal.set(func(j *testJournal) { j.note = errFull })
	_, err := n.Put(t.Context(), b.login("alice"), Expect{})
	require.ErrorIs(t, err, errFull)
	list, err := n.store.Load(t.Context(), "alice")
	require.NoError(t, err)
	assert.Nil(t, list[0], "what cannot be journaled is not done")

	n.journal.set(func(j *testJournal) { j.note = nil })
	n.store.set(func(s *faultyStore) { s.failApply = ownersTries })
	_, err = n.Put(t.Context(), b.login("alice"), Expect{})
	require.ErrorIs(t, err, errAway)
	assert.Len(t, n.journal.drops, 1, "what was not acknowledged is not rolled forward")
}

// A login, a logout or a deletion in the middle of an exchange wins: the reply
// of the ended login is revoked and never installed.
func TestOwnersChangeDuringAnExchange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, b *bundle, n *node)
		state  credential.State
		events []credential.EventType
	}{
		"login": {
			change: func(t *testing.T, b *bundle, n *node) {
				t.Helper()
				put, err := n.Put(t.Context(), b.login("alice"), Expect{})
				require.NoError(t, err)
				assert.False(t, put.Created)
			},
			state:  credential.StateActive,
			events: []credential.EventType{credential.EventConnected, credential.EventReauthorized},
		},
		"logout": {
			change: func(t *testing.T, _ *bundle, n *node) {
				t.Helper()
				_, err := n.Logout(t.Context(), "alice", Expect{})
				require.NoError(t, err)
			},
			state:  credential.StateLoggedOut,
			events: []credential.EventType{credential.EventConnected, credential.EventLoggedOut},
		},
		"deletion": {
			change: func(t *testing.T, _ *bundle, n *node) {
				t.Helper()
				require.NoError(t, n.Delete(t.Context(), "alice", Expect{}, false))
			},
			state:  credential.StateDeleted,
			events: []credential.EventType{credential.EventConnected, credential.EventDeleted},
		},
		"deletion and a new login": {
			change: func(t *testing.T, b *bundle, n *node) {
				t.Helper()
				require.NoError(t, n.Delete(t.Context(), "alice", Expect{}, false))
				put, err := n.Put(t.Context(), b.login("alice"), Expect{Absent: true})
				require.NoError(t, err)
				assert.True(t, put.Created)
				assert.EqualValues(t, 3, put.Held.Record.Version, "it goes on counting")
			},
			state:  credential.StateActive,
			events: []credential.EventType{credential.EventConnected, credential.EventDeleted, credential.EventConnected},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n, other := b.node("one"), b.node("two")
			b.put(n, "alice")
			b.due()
			done, let := b.inTheAir(n)
			c.change(t, b, other)
			after := b.held(n, "alice")
			assert.Nil(t, after.Attempt, "closed by the same write")
			let()
			require.NoError(t, soon(t, done, "the end of the batch").err)

			h := b.held(n, "alice")
			assert.Equal(t, c.state, h.Record.State)
			assert.Equal(t, after.Record.Revision, h.Record.Revision, "the reply changed nothing")
			assert.Empty(t, h.Alternates)
			assert.True(t, h.Token.Refresh.Equal(after.Token.Refresh))
			assert.Len(t, b.provider.withdrawn(), 1)
			assert.Equal(t, c.events, b.events(n, "alice"))
			assert.Equal(t, 1, b.provider.calls())
		})
	}
}

// The answer of the store to what an owner did is lost, so that the client sends
// it again, and by then another replica has written on top of it: it was done,
// once, and that is what the owner is told.
func TestOwnersChangeThatIsSentAgain(t *testing.T) {
	t.Parallel()
	refreshes := func(t *testing.T, b *bundle, other *node) {
		t.Helper()
		_, err := other.Refresh(t.Context(), "alice", 0)
		require.NoError(t, err)
		assert.Equal(t, 1, b.provider.calls())
	}
	logsIn := func(b *bundle, expect Expect) func(*testing.T, *node) {
		login := b.login("alice")
		return func(t *testing.T, n *node) {
			t.Helper()
			put, err := n.Put(t.Context(), login, expect)
			require.NoError(t, err)
			assert.True(t, put.Created)
			assert.EqualValues(t, 1, put.Held.Record.Version)
		}
	}
	for name, c := range map[string]struct {
		change func(b *bundle, n *node) func(*testing.T, *node)
		onTop  func(t *testing.T, b *bundle, other *node)
		state  credential.State
		events []credential.EventType
	}{
		"a login, its token was used": {
			change: func(b *bundle, _ *node) func(*testing.T, *node) { return logsIn(b, Expect{}) },
			onTop:  refreshes, state: credential.StateActive,
			events: []credential.EventType{credential.EventConnected, credential.EventRefreshed},
		},
		"a login on a condition, its token was used": {
			change: func(b *bundle, _ *node) func(*testing.T, *node) { return logsIn(b, Expect{Absent: true}) },
			onTop:  refreshes, state: credential.StateActive,
			events: []credential.EventType{credential.EventConnected, credential.EventRefreshed},
		},
		"a login with a password, the token that it brought was used": {
			change: func(*bundle, *node) func(*testing.T, *node) {
				return func(t *testing.T, n *node) {
					t.Helper()
					_, err := n.Put(t.Context(), signIn(password), Expect{})
					require.NoError(t, err)
				}
			},
			onTop: func(t *testing.T, b *bundle, other *node) {
				t.Helper()
				_, err := other.Refresh(t.Context(), "alice", 0)
				require.NoError(t, err)
			},
			state:  credential.StateActive,
			events: []credential.EventType{credential.EventConnected, credential.EventRefreshed},
		},
		"a login without a refresh token, and another since": {
			change: func(b *bundle, _ *node) func(*testing.T, *node) {
				login := b.login("alice")
				login.Token.Refresh = credential.Secret{}
				return func(t *testing.T, n *node) {
					t.Helper()
					_, err := n.Put(t.Context(), login, Expect{})
					require.NoError(t, err)
				}
			},
			onTop: func(t *testing.T, b *bundle, other *node) {
				t.Helper()
				b.put(other, "alice")
			},
			state:  credential.StateActive,
			events: []credential.EventType{credential.EventConnected, credential.EventReauthorized},
		},
		"a login, logged out since": {
			change: func(b *bundle, _ *node) func(*testing.T, *node) { return logsIn(b, Expect{}) },
			onTop: func(t *testing.T, _ *bundle, other *node) {
				t.Helper()
				_, err := other.Logout(t.Context(), "alice", Expect{})
				require.NoError(t, err)
			},
			state:  credential.StateLoggedOut,
			events: []credential.EventType{credential.EventConnected, credential.EventLoggedOut},
		},
		"a login, deleted since": {
			change: func(b *bundle, _ *node) func(*testing.T, *node) { return logsIn(b, Expect{}) },
			onTop: func(t *testing.T, _ *bundle, other *node) {
				t.Helper()
				require.NoError(t, other.Delete(t.Context(), "alice", Expect{}, false))
			},
			state:  credential.StateDeleted,
			events: []credential.EventType{credential.EventConnected, credential.EventDeleted},
		},
		"a logout, logged in since": {
			change: func(b *bundle, n *node) func(*testing.T, *node) {
				b.put(n, "alice")
				return func(t *testing.T, n *node) {
					t.Helper()
					_, err := n.Logout(t.Context(), "alice", Expect{Version: 1})
					require.NoError(t, err)
				}
			},
			onTop: func(t *testing.T, b *bundle, other *node) {
				t.Helper()
				b.put(other, "alice")
			},
			state:  credential.StateActive,
			events: []credential.EventType{credential.EventConnected, credential.EventLoggedOut, credential.EventReauthorized},
		},
		"a deletion, stored again since": {
			change: func(b *bundle, n *node) func(*testing.T, *node) {
				b.put(n, "alice")
				return func(t *testing.T, n *node) {
					t.Helper()
					require.NoError(t, n.Delete(t.Context(), "alice", Expect{}, false))
				}
			},
			onTop: func(t *testing.T, b *bundle, other *node) {
				t.Helper()
				b.put(other, "alice")
			},
			state:  credential.StateActive,
			events: []credential.EventType{credential.EventConnected, credential.EventDeleted, credential.EventConnected},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.backend()
			n, other := b.node("one"), b.node("two")
			change := c.change(b, n)
			var after credential.Held
			n.store.set(func(s *faultyStore) {
				s.onTop = func() {
					c.onTop(t, b, other)
					after = b.held(n, "alice")
				}
			})
			change(t, n)
			h := b.held(n, "alice")
			assert.Equal(t, c.state, h.Record.State)
			assert.Equal(t, after, h, "nothing was done a second time")
			assert.Equal(t, c.events, b.events(n, "alice"))
		})
	}
}

// What others stored ahead of an owner's change does not pass for it.
func TestOwnersChangeAfterAnother(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n, other := b.node("one"), b.node("two")
	ahead := func(do func()) { n.store.set(func(s *faultyStore) { s.ahead = do }) }

	ahead(func() { b.put(other, "alice") }) // in the same millisecond
	second := b.put(n, "alice")
	assert.EqualValues(t, 2, second.Record.Version)
	assert.Equal(t, second.Token, b.held(n, "alice").Token, "the later login stays")

	ahead(func() {
		_, err := other.Refresh(t.Context(), "alice", 0)
		require.NoError(t, err)
	})
	third := b.put(n, "alice")
	assert.Equal(t, third.Token, b.held(n, "alice").Token)

	ahead(func() { b.put(other, "alice") })
	_, err := n.Logout(t.Context(), "alice", Expect{})
	require.NoError(t, err)
	assert.Equal(t, credential.StateLoggedOut, b.held(n, "alice").Record.State, "whoever came before is logged out")
	assert.Equal(t, []credential.EventType{
		credential.EventConnected, credential.EventReauthorized, credential.EventRefreshed,
		credential.EventReauthorized, credential.EventReauthorized, credential.EventLoggedOut,
	}, b.events(n, "alice"))
}

// A stale failure ends nothing: it belongs to the login before.
func TestRefusalOfAnEndedLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	b.due()
	b.provider.failing(credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant})
	done, let := b.inTheAir(n)
	b.put(n, "alice")
	let()
	require.NoError(t, soon(t, done, "the end of the batch").err)
	assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
}

func TestLogoutAndDelete(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	ctx := t.Context()
	b.put(n, "alice")
	n.hears()
	_, err := n.Logout(ctx, "alice", Expect{Version: 7})
	require.ErrorIs(t, err, ErrConflict)
	held, err := n.Logout(ctx, "alice", Expect{Version: 1})
	require.NoError(t, err)
	assert.True(t, held.Token.Refresh.IsZero())
	again, err := n.Logout(ctx, "alice", Expect{})
	require.NoError(t, err)
	assert.Equal(t, held.Record.Version, again.Record.Version, "logged out once")

	require.NoError(t, n.Delete(ctx, "alice", Expect{}, true))
	require.ErrorIs(t, n.Delete(ctx, "alice", Expect{}, false), ErrNotFound)
	_, err = n.Logout(ctx, "alice", Expect{})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = n.Token(ctx, "alice", 0)
	require.ErrorIs(t, err, ErrNotFound, "also from memory")
	assert.Empty(t, b.provider.withdrawn(), "there was nothing left to revoke")
}

func TestDeleteRevokes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	held := b.put(n, "alice")
	require.NoError(t, n.Delete(t.Context(), "alice", Expect{}, true))
	only := credential.Login{ID: "bob", Provider: acme, Token: credential.Token{Access: credential.NewSecret(mark + "b")}, ExpiresIn: time.Hour}
	_, err := n.Put(t.Context(), only, Expect{})
	require.NoError(t, err)
	require.NoError(t, n.Delete(t.Context(), "bob", Expect{}, true))
	assert.Equal(t, []string{held.Token.Refresh.Reveal(), mark + "b"}, b.provider.withdrawn())
}
