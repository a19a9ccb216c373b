package refresh

import (
	"context"
	"fmt"
	"slices"
	"strconv"
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
	return b.signingInWith(n, password, expect)
}

// signingInWith is signingIn with a password.
func (b *bundle) signingInWith(n *node, secret string, expect Expect) (done <-chan result[Put], hangUp, let func()) {
	b.t.Helper()
	return b.signingInAs(n, signIn(secret), expect)
}

// signingInAs is signingIn with another login.
func (b *bundle) signingInAs(n *node, login credential.Login, expect Expect) (done <-chan result[Put], hangUp, let func()) {
	b.t.Helper()
	for len(b.provider.entered) > 0 {
		<-b.provider.entered
	}
	let = b.provider.holding()
	b.t.Cleanup(let)
	ctx, hangUp := context.WithCancel(b.t.Context())
	done = start(func() (Put, error) { return n.Put(ctx, login, expect) })
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

// givenUpAs is givenUp with another login.
func (b *bundle) givenUpAs(n *node, login credential.Login) (done <-chan result[Put], let func()) {
	b.t.Helper()
	done, hangUp, let := b.signingInAs(n, login, Expect{})
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
		assert.Contains(t, b.log.String(), "a login whose caller has hung up is not stored")
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
		"begun before, and used since": func(b *bundle, n *node) (<-chan result[Put], func()) {
			b.clock.advance(2 * idle)
			b.provider.end()
			letSilent := b.provider.holding()
			silent := start(func() (credential.Held, error) { return n.Token(b.t.Context(), "alice", 0) })
			soon(b.t, b.provider.entered, "the silent login")
			b.clock.advance(time.Second)
			done, let := b.givenUp(n)
			letSilent()
			require.NoError(b.t, soon(b.t, silent, "the session that it brings").err)
			b.clock.advance(time.Minute)
			touches, err := n.Touch(b.t.Context(), []credential.ID{"alice"})
			require.NoError(b.t, err)
			assert.Equal(b.t, credential.TouchDone, touches[0].Result)
			return done, let
		},
		"ended with its credential by the backend": func(b *bundle, n *node) (<-chan result[Put], func()) {
			b.policy.Sessions.OnDeath = credential.DeathLogout
			n.SetTargets(b.t.Context(), []Target{b.target()})
			_, err := n.Put(b.t.Context(), b.onlySession(), Expect{})
			require.NoError(b.t, err)
			b.provider.set(func(p *fakeProvider) { p.login = nil })
			done, let := b.givenUp(n)
			b.provider.set(func(p *fakeProvider) { p.hold = nil })
			b.clock.advance(2 * idle)
			b.batch(n, "alice")
			require.Equal(b.t, credential.StateLoggedOut, b.held(n, "alice").Record.State)
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

// oneSession makes the backend one that ends the session before with each login.
func (b *bundle) oneSession() {
	b.sliding()
	b.provider.set(func(p *fakeProvider) {
		p.login = func(credential.SignIn) *credential.Outcome {
			clear(p.sessions)
			return nil
		}
	})
}

// alive reports whether a session lives at the backend.
func (p *fakeProvider) alive(token credential.Token) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessions[token.Access.Reveal()]
}

// changePassword changes alice's at the backend to her nth, and returns it.
func (b *bundle) changePassword(n int) string {
	secret := password + strconv.Itoa(n)
	b.provider.set(func(p *fakeProvider) { p.passwords["alice"] = secret })
	return secret
}

// on names a node of the bundle, which is made if it is not there.
func (b *bundle) on(owners ...string) (list []*node) {
	for _, owner := range owners {
		at := slices.IndexFunc(b.nodes, func(n *node) bool { return n.owner == owner })
		if at < 0 {
			list = append(list, b.node(owner))
			continue
		}
		list = append(list, b.nodes[at])
	}
	return list
}

// orders are all orders of the numbers below n.
func orders(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, rest := range orders(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(rest), at, n-1))
		}
	}
	return all
}

// Of logins that were given up the one stands that was asked for last, whichever the
// backend answers first and whichever process asked: it has the password of today, and
// where the backend has one session for a user, the one that lives. Those that are not
// stored are logged out there.
func TestOfLoginsThatWereGivenUpTheLastStands(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		for _, owners := range [][]string{{"one", "one", "one"}, {"one", "two", "one"}, {"two", "one", "one"}} {
			for _, order := range append(orders(2), orders(3)...) {
				t.Run(fmt.Sprint(stored, owners, order), func(t *testing.T) {
					t.Parallel()
					b := setup(t)
					b.oneSession()
					nodes := b.on(owners...)
					if stored {
						b.session(nodes[0], true)
					}
					var done []<-chan result[Put]
					var let []func()
					for i := range order {
						b.clock.advance(time.Second)
						one, hangUp, goOn := b.signingInWith(nodes[i], b.changePassword(i), Expect{})
						hangUp()
						done, let = append(done, one), append(let, goOn)
					}
					latest, ended := -1, 0
					for _, i := range order {
						b.clock.advance(time.Second)
						let[i]()
						err := soon(t, done[i], "the end of a login").err
						if i < latest {
							require.ErrorIs(t, err, context.Canceled, "login %d after %d", i, latest)
							ended++
							continue
						}
						require.NoError(t, err, "login %d after %d", i, latest)
						latest = i
					}
					h := b.held(nodes[0], "alice")
					assert.Equal(t, password+strconv.Itoa(len(order)-1), h.SignIn.Password.Reveal())
					assert.Equal(t, credential.StateActive, h.Record.State)
					assert.True(t, b.provider.alive(h.Token), "what is served lives at the backend")
					assert.Len(t, b.provider.withdrawn(), ended)
					assert.Len(t, b.events(nodes[0], "alice"), int(h.Record.Version)) //nolint:gosec // a few
				})
			}
		}
	}
}

// Nor does an owner who waits for a login overrule one that he asked for later, whether he
// waits for that too or not. He is answered with what is stored then; if that is another
// user's, he is refused.
func TestALoginThatIsAnsweredLateOverrulesNone(t *testing.T) {
	t.Parallel()
	for _, other := range []bool{false, true} {
		for _, owners := range [][]string{{"one", "one"}, {"one", "two"}} {
			for _, hungUp := range []bool{false, true} {
				t.Run(fmt.Sprint(other, owners, hungUp), func(t *testing.T) {
					t.Parallel()
					b := setup(t)
					b.oneSession()
					nodes := b.on(owners...)
					b.session(nodes[0], true)
					b.clock.advance(time.Second)
					old, _, letOld := b.signingInWith(nodes[0], b.changePassword(0), Expect{})
					b.clock.advance(time.Second)
					login := signIn(b.changePassword(1))
					if other {
						login.SignIn.Username = credential.NewSecret("bob")
						b.provider.set(func(p *fakeProvider) { p.passwords["bob"] = login.SignIn.Password.Reveal() })
					}
					newer, hangUp, letNew := b.signingInAs(nodes[1], login, Expect{})
					if hungUp {
						hangUp()
					}
					b.clock.advance(time.Second)
					letNew()
					require.NoError(t, soon(t, newer, "the login that was asked for last").err)
					stands := b.held(nodes[0], "alice")
					b.clock.advance(time.Second)
					letOld()
					told := soon(t, old, "the one that was asked for first")
					after := b.held(nodes[0], "alice")
					assert.Equal(t, stands, after)
					assert.Equal(t, login.SignIn.Password, after.SignIn.Password)
					assert.Len(t, b.provider.withdrawn(), 1, "its session is ended at the backend")
					if other {
						require.ErrorIs(t, told.err, ErrConflict)
						return
					}
					require.NoError(t, told.err)
					assert.Equal(t, stands.Record.Version, told.value.Held.Record.Version)
				})
			}
		}
	}
}

// Nor does a session that refreshd has begun with what its owner had brought before stand
// before what he has brought since, however late that is answered.
func TestASessionBegunWithAnEarlierLoginStandsBeforeNone(t *testing.T) {
	t.Parallel()
	bobs := func(b *bundle) credential.Login {
		login := signIn(password)
		login.SignIn.Username = credential.NewSecret("bob")
		b.provider.set(func(p *fakeProvider) { p.passwords["bob"] = password })
		return login
	}
	for name, begins := range map[string]func(b *bundle, n *node) (done <-chan result[Put], let func()){
		"a silent login": func(b *bundle, n *node) (<-chan result[Put], func()) {
			b.session(n, true)
			b.clock.advance(time.Second)
			done, let := b.givenUpAs(n, bobs(b))
			b.provider.set(func(p *fakeProvider) { p.hold = nil })
			b.provider.end()
			b.clock.advance(2 * idle)
			_, err := n.Token(b.t.Context(), "alice", 0)
			require.NoError(b.t, err)
			return done, let
		},
		"a login that was put off": func(b *bundle, n *node) (<-chan result[Put], func()) {
			away := credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
			b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &away } })
			put, err := n.Put(b.t.Context(), signIn(password), Expect{})
			require.NoError(b.t, err)
			require.Equal(b.t, credential.StatePending, put.Held.Record.State)
			b.provider.set(func(p *fakeProvider) { p.login = nil })
			b.clock.advance(time.Second)
			done, let := b.givenUpAs(n, bobs(b))
			b.provider.set(func(p *fakeProvider) { p.hold = nil })
			b.clock.advance(time.Minute)
			b.batch(n, "alice")
			require.Equal(b.t, credential.StateActive, b.held(n, "alice").Record.State)
			return done, let
		},
		"a silent login with one that was asked for before": func(b *bundle, n *node) (<-chan result[Put], func()) {
			b.session(n, true)
			b.clock.advance(time.Second)
			again, letAgain := b.givenUp(n)
			b.clock.advance(time.Second)
			done, let := b.givenUpAs(n, bobs(b))
			b.provider.set(func(p *fakeProvider) { p.hold = nil })
			letAgain()
			require.NoError(b.t, soon(b.t, again, "the earlier one").err)
			b.provider.end()
			b.clock.advance(2 * idle)
			_, err := n.Token(b.t.Context(), "alice", 0)
			require.NoError(b.t, err)
			return done, let
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sliding()
			n := b.node("one")
			done, let := begins(b, n)
			require.Equal(t, "alice", b.held(n, "alice").SignIn.Username.Reveal())
			let()
			require.NoError(t, soon(t, done, "the login that was asked for last").err)
			assert.Equal(t, "bob", b.held(n, "alice").SignIn.Username.Reveal())
		})
	}
}

// Nor does one that was asked for later lose to one of another user's.
func TestOfLoginsThatWereGivenUpTheLastUserStands(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.provider.set(func(p *fakeProvider) { p.passwords["bob"] = password })
	alice, letAlice := b.givenUp(n)
	b.clock.advance(time.Second)
	let := b.provider.holding()
	ctx, hangUp := context.WithCancel(t.Context())
	asBob := signIn(password)
	asBob.SignIn.Username = credential.NewSecret("bob")
	bob := start(func() (Put, error) { return n.Put(ctx, asBob, Expect{}) })
	soon(t, b.provider.entered, "the login")
	hangUp()
	letAlice()
	require.NoError(t, soon(t, alice, "the end of alice's").err)
	let()
	require.NoError(t, soon(t, bob, "the end of bob's").err)
	h := b.held(n, "alice")
	assert.Equal(t, "uid-bob", h.Record.Subject)
	assert.Equal(t, "bob", h.SignIn.Username.Reveal())
}

// acts are what an owner does that is no login at the backend, on what before makes.
func acts() map[string]struct {
	before func(b *bundle, n *node)
	act    func(b *bundle, n *node) error
	want   error
} {
	session := func(b *bundle, n *node) { b.session(n, false) }
	logout := func(b *bundle, n *node) error { _, err := n.Logout(b.t.Context(), "alice", Expect{}); return err }
	remove := func(b *bundle, n *node) error { return n.Delete(b.t.Context(), "alice", Expect{}, false) }
	bring := func(access func(*bundle, *node) credential.Secret) func(b *bundle, n *node) error {
		return func(b *bundle, n *node) error {
			_, err := n.Put(b.t.Context(), credential.Login{ID: "alice", Provider: acme, Token: credential.Token{Access: access(b, n)}}, Expect{})
			return err
		}
	}
	other := bring(func(*bundle, *node) credential.Secret { return credential.NewSecret(mark + "another") })
	same := bring(func(b *bundle, n *node) credential.Secret { return b.held(n, "alice").Token.Access })
	ended := func(end func(b *bundle, n *node) error) func(b *bundle, n *node) {
		return func(b *bundle, n *node) {
			session(b, n)
			require.NoError(b.t, end(b, n))
		}
	}
	return map[string]struct {
		before func(b *bundle, n *node)
		act    func(b *bundle, n *node) error
		want   error
	}{
		"a log-out":                        {session, logout, nil},
		"a deletion":                       {session, remove, nil},
		"a token that is brought":          {session, other, nil},
		"the token that is stored":         {session, same, nil},
		"a log-out of what is logged out":  {ended(logout), logout, nil},
		"a token for what is logged out":   {ended(logout), other, nil},
		"a deletion of what is deleted":    {ended(remove), remove, ErrNotFound},
		"a log-out of what is deleted":     {ended(remove), logout, ErrNotFound},
		"a token for what is deleted":      {ended(remove), other, nil},
		"a deletion of what is logged out": {ended(logout), remove, nil},
	}
}

// What an owner does that is no login at the backend stands before every login that
// was asked for before and given up, and before none that is asked for later, in
// whichever order they are answered and whichever process does it.
func TestAnActStandsBetweenLoginsThatWereGivenUp(t *testing.T) {
	t.Parallel()
	for name, c := range acts() {
		for _, who := range []string{"one", "two"} {
			for _, order := range orders(3) {
				t.Run(fmt.Sprint(name, who, order), func(t *testing.T) {
					t.Parallel()
					b := setup(t)
					b.oneSession()
					nodes := b.on("one", who)
					c.before(b, nodes[0])
					var done []<-chan result[Put]
					var let []func()
					for i := range order { // two before it, and one after it
						if i == 2 {
							require.ErrorIs(t, c.act(b, nodes[1]), c.want)
						}
						b.clock.advance(time.Second)
						one, hangUp, goOn := b.signingInWith(nodes[0], b.changePassword(i), Expect{})
						hangUp()
						done, let = append(done, one), append(let, goOn)
					}
					served := b.held(nodes[0], "alice")
					for _, i := range order {
						let[i]()
						err := soon(t, done[i], "the end of a login").err
						if i == 2 {
							require.NoError(t, err)
							served = b.held(nodes[0], "alice")
							assert.Equal(t, password+"2", served.SignIn.Password.Reveal())
							continue
						}
						require.ErrorIs(t, err, context.Canceled)
						assert.Equal(t, served, b.held(nodes[0], "alice"))
					}
					assert.True(t, b.provider.alive(served.Token))
				})
			}
		}
	}
}

// A deletion that is answered 404 for what is deleted has no event, and leaves the
// tombstone as it was but for what it counts.
func TestADeletionOfWhatIsDeletedHasNoEvent(t *testing.T) {
	t.Parallel()
	for _, elsewhere := range []bool{false, true} {
		b := setup(t)
		b.sliding()
		n := b.node("one")
		tokens := b.target()
		tokens.Name, tokens.Policy.CanLogin = "globex", false
		n.SetTargets(t.Context(), []Target{b.target(), tokens})
		login := b.login("alice")
		if elsewhere {
			login.Provider = "globex" // and the login on its way is another provider's
		}
		_, err := n.Put(t.Context(), login, Expect{})
		require.NoError(t, err)
		require.NoError(t, n.Delete(t.Context(), "alice", Expect{}, false))
		before, events := b.held(n, "alice"), b.events(n, "alice")
		done, let := b.givenUp(n)
		require.ErrorIs(t, n.Delete(t.Context(), "alice", Expect{}, false), ErrNotFound)
		let()
		require.ErrorIs(t, soon(t, done, "the end of the login").err, context.Canceled)
		after := b.held(n, "alice").Record
		assert.Equal(t, credential.StateDeleted, after.State)
		assert.Equal(t, before.Record.Version, after.Version)
		assert.Equal(t, before.Record.Grant, after.Grant)
		assert.Equal(t, before.Record.Since, after.Since)
		assert.Equal(t, events, b.events(n, "alice"))
		assert.Len(t, b.provider.withdrawn(), 1)
	}
}

// A tombstone on top of which nobody can log in is not written for nothing.
func TestADeletionOfWhatIsDeletedIsNotWrittenWhereNobodyLogsIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	require.NoError(t, n.Delete(t.Context(), "alice", Expect{}, false))
	before := b.held(n, "alice")
	require.ErrorIs(t, n.Delete(t.Context(), "alice", Expect{}, false), ErrNotFound)
	assert.Equal(t, before, b.held(n, "alice"))
}

// Where nothing at all is stored, a deletion or a log-out counts in the process that
// answers it: for the logins that it has under way, and for none that comes later. An
// owner who waits is stored all the same.
func TestAnEndOfWhatIsNotThereStandsBeforeALoginThatWasGivenUp(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(n *node) error{
		"a deletion": func(n *node) error { return n.Delete(n.t.Context(), "alice", Expect{}, false) },
		"a log-out":  func(n *node) error { _, err := n.Logout(n.t.Context(), "alice", Expect{}); return err },
	} {
		for _, waits := range []bool{false, true} {
			for _, order := range orders(2) {
				t.Run(fmt.Sprint(name, waits, order), func(t *testing.T) {
					t.Parallel()
					b := setup(t)
					b.sliding()
					n := b.node("one")
					require.ErrorIs(t, end(n), ErrNotFound)
					first, hangUp, letFirst := b.signingInWith(n, b.changePassword(0), Expect{})
					require.ErrorIs(t, end(n), ErrNotFound)
					b.clock.advance(time.Second)
					second, hangUpToo, letSecond := b.signingInWith(n, b.changePassword(1), Expect{})
					if !waits {
						hangUp()
					}
					hangUpToo()
					for _, i := range order {
						if i == 1 {
							letSecond()
							require.NoError(t, soon(t, second, "the later login").err)
							continue
						}
						letFirst()
						err := soon(t, first, "the login").err
						if waits {
							require.NoError(t, err)
							continue
						}
						require.ErrorIs(t, err, context.Canceled)
						assert.Len(t, b.provider.withdrawn(), 1, "the session that it had begun is ended")
					}
					assert.Equal(t, password+"1", b.held(n, "alice").SignIn.Password.Reveal())
					assert.Empty(t, n.signIns.now, "nothing is under way any more")
				})
			}
		}
	}
}

// Whoever takes up the journal of a dead process stores its logins as of when the
// backend was asked: those that were asked for before do not overrule them, and those
// that were asked for later do.
func TestALoginFromAJournalStandsAsOfWhenItWasAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.oneSession()
	dead := b.node("dead", func(o *Options) { o.Loss = func() time.Duration { return time.Hour } })
	b.clock.advance(2 * time.Second)
	done, let := b.givenUp(dead)
	asked := b.clock.Now()
	b.clock.advance(time.Minute)
	let()
	require.NoError(t, soon(t, done, "the login").err)
	before := b.held(dead, "alice").Record
	assert.Equal(t, asked, before.GrantedAt)
	dead.die()
	b.mini.FlushAll() // the store lost all of it
	b.clock.advance(time.Minute)

	heir := b.node("heir")
	b.settle(heir)
	h := b.held(heir, "alice")
	assert.Equal(t, before.GrantedAt, h.Record.GrantedAt)
	assert.Equal(t, before.Grant, h.Record.Grant)
	assert.Equal(t, before.Acts, h.Record.Acts)
	for _, i := range []int{0, 1} {
		late := arrival{signedIn: true, login: signIn(password), gone: func() error { return context.Canceled }}
		late.login.AskedAt = asked + credential.Millis(2*i-1)*1000 // a second before, a second after
		_, err := heir.admit(late, &h, b.clock.Now())
		if i == 0 {
			require.ErrorIs(t, err, context.Canceled)
		} else {
			require.NoError(t, err)
		}
	}
}
