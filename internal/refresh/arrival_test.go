package refresh

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// signingIn has alice sign in anew. The backend, which is asked already, answers when
// let is called.
func (b *bundle) signingIn(n *node, expect Expect) (done <-chan result[Put], hangUp, let func()) {
	b.t.Helper()
	for len(b.provider.entered) > 0 {
		<-b.provider.entered
	}
	let = b.provider.holding()
	ctx, hangUp := context.WithCancel(b.t.Context())
	done = start(func() (Put, error) { return n.Put(ctx, signIn(password), expect) })
	soon(b.t, b.provider.entered, "the login")
	return done, hangUp, let
}

// givenUp has alice sign in anew, and hang up while the backend is asked.
func (b *bundle) givenUp(n *node) (done <-chan result[Put], let func()) {
	b.t.Helper()
	done, hangUp, let := b.signingIn(n, Expect{})
	hangUp()
	return done, let
}

// Whoever hangs up while the backend is asked has begun a session there all the
// same, which may have ended the one before: it is stored.
func TestPutOfALoginWhoseCallerHangsUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, true)
	before := b.held(n, "alice")
	done, let := b.givenUp(n)
	let()
	_ = soon(t, done, "the answer that nobody reads")
	after := b.held(n, "alice")
	assert.Equal(t, before.Record.Version+1, after.Record.Version)
	assert.NotEqual(t, before.Token.Access, after.Token.Access)
}

// What an owner did after he had given a login up stands, and the session that it
// had begun is ended.
func TestALoginThatWasGivenUpOverrulesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		after func(n *node) error
		state credential.State
		same  bool // the backend gives the later login the same session
	}{
		"a log-out":  {state: credential.StateLoggedOut, after: func(n *node) error { _, err := n.Logout(n.t.Context(), "alice", Expect{}); return err }},
		"a deletion": {state: credential.StateDeleted, after: func(n *node) error { return n.Delete(n.t.Context(), "alice", Expect{}, false) }},
		"another login": {state: credential.StateActive, after: func(n *node) error {
			token := credential.Token{Access: credential.NewSecret(mark + "another")}
			_, err := n.Put(n.t.Context(), credential.Login{ID: "alice", Provider: acme, Token: token}, Expect{})
			return err
		}},
		"the same session": {state: credential.StateActive, same: true, after: func(n *node) error {
			token := credential.Token{Access: credential.NewSecret(mark + "one for all")}
			_, err := n.Put(n.t.Context(), credential.Login{ID: "alice", Provider: acme, Token: token}, Expect{})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sliding()
			n := b.node("one")
			b.session(n, true)
			if c.same {
				b.provider.set(func(p *fakeProvider) {
					p.login = func(credential.SignIn) *credential.Outcome {
						token := credential.Token{Access: credential.NewSecret(mark + "one for all")}
						return &credential.Outcome{Class: credential.ClassOK, Token: token}
					}
				})
			}
			done, let := b.givenUp(n)
			require.NoError(t, c.after(n))
			after, ended := b.held(n, "alice"), len(b.provider.withdrawn())
			let()
			require.ErrorIs(t, soon(t, done, "the end of the login").err, context.Canceled)
			assert.Equal(t, after, b.held(n, "alice"))
			assert.Equal(t, c.state, after.Record.State)
			if !c.same {
				ended++
			}
			assert.Len(t, b.provider.withdrawn(), ended, "a session that is served is not ended")
		})
	}
}

// So does what changed nothing, in whatever process: an owner who logs out once
// more, or brings again what is stored, has spoken last. It has no event, and
// leaves the version as it was.
func TestALoginThatWasGivenUpOverrulesNoRepetition(t *testing.T) {
	t.Parallel()
	logout := func(n *node) error {
		n.t.Helper()
		held, err := n.Logout(n.t.Context(), "alice", Expect{})
		assert.Equal(n.t, credential.StateLoggedOut, held.Record.State)
		return err
	}
	for name, c := range map[string]struct {
		before, after func(b *bundle, n *node) error
	}{
		"a log-out": {
			before: func(b *bundle, n *node) error { b.session(n, true); return logout(n) },
			after:  func(_ *bundle, n *node) error { return logout(n) },
		},
		"its token": {
			before: func(b *bundle, n *node) error { b.session(n, false); return nil },
			after: func(b *bundle, n *node) error {
				token := b.held(n, "alice").Token
				put, err := n.Put(n.t.Context(), credential.Login{ID: "alice", Provider: acme, Token: token}, Expect{})
				assert.True(n.t, put.Unchanged)
				assert.True(n.t, token.Access.Equal(put.Held.Token.Access))
				return err
			},
		},
	} {
		for _, who := range []string{"one", "two"} {
			t.Run(name+" by "+who, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.sliding()
				nodes := map[string]*node{"one": b.node("one"), "two": b.node("two")}
				one := nodes["one"]
				require.NoError(t, c.before(b, one))
				before, events, ended := b.held(one, "alice"), b.events(one, "alice"), len(b.provider.withdrawn())
				done, let := b.givenUp(one)
				require.NoError(t, c.after(b, nodes[who]))
				let()
				require.ErrorIs(t, soon(t, done, "the end of the login").err, context.Canceled)
				after := b.held(one, "alice")
				assert.Equal(t, before.Record.State, after.Record.State)
				assert.Equal(t, before.Record.Version, after.Record.Version)
				assert.Equal(t, before.Record.Grant, after.Record.Grant)
				assert.Equal(t, before.Token, after.Token)
				assert.Equal(t, before.SignIn, after.SignIn)
				assert.Equal(t, events, b.events(one, "alice"))
				assert.Len(t, b.provider.withdrawn(), ended+1, "the session that it had begun is ended")

				// A login that comes later is stored, and one that is given up later overrules.
				done, let = b.givenUp(nodes[who])
				let()
				require.NoError(t, soon(t, done, "the later login").err)
				assert.NotEqual(t, before.Token, b.held(one, "alice").Token)
			})
		}
	}
}

// What needs no login at its provider is not written for nothing.
func TestARepetitionIsNotWrittenWhereNobodyLogsIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	login := b.login("alice")
	_, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	before := b.held(n, "alice")
	put, err := n.Put(t.Context(), login, Expect{})
	require.NoError(t, err)
	assert.True(t, put.Unchanged)
	assert.Equal(t, before, b.held(n, "alice"))
}

// onlySession has the backend give every login the same session, and returns a login
// that brings it.
func (b *bundle) onlySession() credential.Login {
	token := credential.Token{Access: credential.NewSecret(mark + "one for all")}
	b.provider.set(func(p *fakeProvider) {
		p.login = func(credential.SignIn) *credential.Outcome {
			return &credential.Outcome{Class: credential.ClassOK, Token: token}
		}
	})
	return credential.Login{ID: "alice", Provider: acme, Token: token}
}

// A session that was begun for a login which is not stored is ended, whether its
// owner still waits or has given it up; one that is served is not.
func TestASessionOfALoginThatIsNotStoredIsEnded(t *testing.T) {
	t.Parallel()
	other := credential.Login{ID: "alice", Provider: acme, Subject: "bob", Token: credential.Token{Access: credential.NewSecret(mark + "another")}}
	storing := func(login credential.Login) func(n *node) error {
		return func(n *node) error {
			_, err := n.Put(n.t.Context(), login, Expect{})
			return err
		}
	}
	elsewhere := other
	elsewhere.Provider = "globex"
	same := func(n *node) error {
		login := other
		login.Token.Access = credential.NewSecret(mark + "one for all")
		return storing(login)(n)
	}
	for name, c := range map[string]struct {
		stored bool // something is stored before
		served bool // and the same session is, afterwards
		expect Expect
		after  func(n *node) error
		err    error // that an owner who waits is told
	}{
		"logged out": {stored: true, expect: Expect{Version: 1}, err: ErrConflict, after: func(n *node) error {
			_, err := n.Logout(n.t.Context(), "alice", Expect{})
			return err
		}},
		"deleted": {stored: true, expect: Expect{Version: 1}, err: ErrConflict, after: func(n *node) error {
			return n.Delete(n.t.Context(), "alice", Expect{}, false)
		}},
		"another login":      {stored: true, expect: Expect{Version: 1}, err: ErrConflict, after: storing(other)},
		"the same session":   {stored: true, served: true, expect: Expect{Version: 1}, err: ErrConflict, after: same},
		"created":            {expect: Expect{Absent: true}, err: ErrConflict, after: storing(other)},
		"created, the same":  {served: true, expect: Expect{Absent: true}, err: ErrConflict, after: same},
		"another subject's":  {expect: Expect{Subject: "uid-alice"}, err: ErrOtherSubject, after: storing(other)},
		"another provider's": {err: ErrConflict, after: storing(elsewhere)},
	} {
		for _, waits := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, waits %t", name, waits), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.sliding()
				n := b.node("one")
				globex := b.target()
				globex.Name = "globex"
				n.SetTargets(t.Context(), []Target{b.target(), globex})
				if c.stored {
					b.session(n, false)
				}
				begun := b.onlySession().Token.Access
				done, hangUp, let := b.signingIn(n, c.expect)
				require.NoError(t, c.after(n))
				after := b.held(n, "alice")
				if !waits {
					hangUp()
				}
				let()
				err := soon(t, done, "the end of the login").err
				require.Error(t, err)
				if waits {
					require.ErrorIs(t, err, c.err)
				}
				assert.Equal(t, after, b.held(n, "alice"))
				if c.served {
					assert.Empty(t, b.provider.withdrawn())
				} else {
					assert.Equal(t, []string{begun.Reveal()}, b.provider.withdrawn())
				}
			})
		}
	}
}

// A login that was given up leaves a session alone that refreshd itself has begun
// since the backend was asked, and its own is ended. An owner who waits wins, for he
// may have brought a new password.
func TestALoginMeetsASessionThatWasBegunMeanwhile(t *testing.T) {
	t.Parallel()
	for _, waits := range []bool{true, false} {
		b := setup(t)
		b.sliding()
		n := b.node("one")
		b.session(n, true)
		done, hangUp, let := b.signingIn(n, Expect{})
		b.provider.set(func(p *fakeProvider) { p.hold = nil }) // for those that come
		b.provider.end()
		b.clock.advance(2 * idle)
		silent, err := n.Token(t.Context(), "alice", 0)
		require.NoError(t, err)
		before := b.held(n, "alice")
		logins, _ := b.provider.counted()
		require.Equal(t, 3, logins)
		if !waits {
			hangUp()
		}
		let()
		put := soon(t, done, "the end of the login")
		after := b.held(n, "alice")
		if waits {
			require.NoError(t, put.err)
			assert.NotEqual(t, silent.Token, after.Token)
			assert.Empty(t, b.provider.withdrawn(), "it was handed out, and ends by itself like any that is replaced")
			continue
		}
		require.ErrorIs(t, put.err, context.Canceled)
		assert.Equal(t, before, after)
		gone := b.provider.withdrawn()
		require.Len(t, gone, 1)
		assert.NotEqual(t, silent.Token.Access.Reveal(), gone[0])
	}
}

// A login that was given up is stored on top of a session for which the backend was
// asked before, and on top of one that was only extended: where it has one session
// for a user, that one is over.
func TestALoginThatWasGivenUpReplacesWhatIsOlder(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(b *bundle, n *node) (done <-chan result[Put], let func()){
		"begun before": func(b *bundle, n *node) (<-chan result[Put], func()) {
			b.clock.advance(2 * idle)
			b.provider.end()
			letSilent := b.provider.holding()
			silent := start(func() (credential.Held, error) { return n.Token(b.t.Context(), "alice", 0) })
			soon(b.t, b.provider.entered, "the silent login")
			b.clock.advance(time.Second)
			done, let := b.givenUp(n)
			letSilent()
			require.NoError(b.t, soon(b.t, silent, "the session that it brings").err)
			return done, let
		},
		"extended": func(b *bundle, n *node) (<-chan result[Put], func()) {
			done, let := b.givenUp(n)
			b.provider.set(func(p *fakeProvider) { p.hold = nil })
			b.clock.advance(idle * 4 / 5)
			b.batch(n, "alice")
			_, extended := b.provider.counted()
			require.Equal(b.t, 1, extended)
			return done, let
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sliding()
			n := b.node("one")
			b.session(n, true)
			done, let := meanwhile(b, n)
			before := b.held(n, "alice")
			let()
			require.NoError(t, soon(t, done, "the login").err)
			assert.NotEqual(t, before.Token, b.held(n, "alice").Token)
			assert.Empty(t, b.provider.withdrawn())
		})
	}
}
