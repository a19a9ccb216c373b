package refresh

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// asking makes the provider one that is asked about its user in a call of its
// own, which data and subject are the answer to. A login tells neither data nor a
// UID there.
func (b *bundle) asking(data, subject string) Target {
	b.provider.set(func(p *fakeProvider) {
		p.profile = func() (credential.UserData, credential.Outcome) {
			return credential.UserData(data), credential.Outcome{Class: credential.ClassOK, Subject: subject}
		}
	})
	target := b.target()
	target.Policy.AsksUserData = true
	return target
}

func (p *fakeProvider) profiles() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.profiled
}

// What is told of the user in a call of its own is there as soon as he has signed
// in, with a password or with a token, and not with the first refresh.
func TestUserDataIsFetchedAtTheSignIn(t *testing.T) {
	t.Parallel()
	for name, api := range map[string]bool{"a whole process": false, "one that does no exchanges": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.backend()
			n := b.node("one", func(o *Options) {
				if api {
					o.Delegate = func(context.Context, credential.ID, uint64) error { return errAway }
				}
			})
			n.SetTargets(t.Context(), []Target{b.asking(`{"plan":"free"}`, "uid-7")})
			_, err := n.Put(t.Context(), signIn(password), Expect{})
			require.NoError(t, err)
			_, err = n.Put(t.Context(), b.login("bob"), Expect{})
			require.NoError(t, err)
			n.work.Wait()
			for id, subject := range map[credential.ID]string{"alice": "uid-alice", "bob": "uid-7"} {
				h := b.held(n, id)
				assert.JSONEq(t, `{"plan":"free"}`, string(h.UserData), id)
				assert.Equal(t, subject, h.Record.Subject, "%s: the login's word comes first", id)
				assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventUserDataChanged}, b.events(n, id))
			}
			assert.Equal(t, 2, b.provider.profiles())

			// The same again is no sign-in; another one is.
			bob := credential.Login{ID: "bob", Provider: acme, Token: b.held(n, "bob").Token, ExpiresIn: life}
			_, err = n.Put(t.Context(), bob, Expect{})
			require.NoError(t, err)
			n.work.Wait()
			assert.Equal(t, 2, b.provider.profiles())
			_, err = n.Put(t.Context(), signIn(password), Expect{})
			require.NoError(t, err)
			n.work.Wait()
			assert.Equal(t, 3, b.provider.profiles())
			assert.JSONEq(t, `{"plan":"free"}`, string(b.held(n, "alice").UserData))
		})
	}
}

// A login of the same user that tells nothing of him leaves what is known of him:
// what the backend tells then is a change only if it is another, whether it was
// asked right away or the login could only be made later.
func TestUserDataIsToldAgainOnlyIfItChanged(t *testing.T) {
	t.Parallel()
	again := func(t *testing.T, login credential.Login, away bool, data string) (events []credential.EventType, stored string) {
		t.Helper()
		b := setup(t)
		b.backend()
		n := b.node("one")
		n.SetTargets(t.Context(), []Target{b.asking(`{"plan":"free"}`, "")})
		_, err := n.Put(t.Context(), signIn(password), Expect{})
		require.NoError(t, err)
		n.work.Wait()
		before := b.events(n, "alice")
		require.Equal(t, []credential.EventType{credential.EventConnected, credential.EventUserDataChanged}, before)

		b.asking(data, "")
		if away {
			failed := credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
			b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &failed } })
			b.clock.advance(2 * life)
		}
		put, err := n.Put(t.Context(), login, Expect{})
		require.NoError(t, err)
		n.work.Wait()
		if away {
			require.Equal(t, credential.StatePending, put.Held.Record.State)
			b.provider.set(func(p *fakeProvider) { p.login = nil })
			b.clock.advance(life)
			b.batch(n, "alice")
		}
		held := b.held(n, "alice")
		require.Equal(t, credential.StateActive, held.Record.State)
		return b.events(n, "alice")[len(before):], string(held.UserData)
	}
	other := signIn(password)
	other.Subject = "uid-9"
	for name, test := range map[string]struct {
		login credential.Login
		data  string
		tells bool
	}{
		"the same":             {signIn(password), `{"plan": "free"}`, false},
		"another":              {signIn(password), `{"plan": "gold"}`, true},
		"the same, of another": {other, `{"plan": "free"}`, true},
	} {
		for _, away := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, pending %t", name, away), func(t *testing.T) {
				t.Parallel()
				events, stored := again(t, test.login, away, test.data)
				assert.JSONEq(t, test.data, stored)
				assert.Equal(t, test.tells, slices.Contains(events, credential.EventUserDataChanged), "%v", events)
			})
		}
	}
}

// A login and a refresh may tell of the user in another shape than the call of its
// own, which is the source: what they tell fills what is empty, and takes the place of
// nothing.
func TestUserDataOfTwoShapes(t *testing.T) {
	t.Parallel()
	const ofLogin, ofCall = `{"id":"alice","roles":["clerk"]}`, `{"id":"alice","name":"Alice"}`
	b := setup(t)
	b.backend()
	b.policy.NoRefresh = true // each token is that of a login
	n := b.node("one")
	n.SetTargets(t.Context(), []Target{b.asking(ofCall, "")})
	b.provider.set(func(p *fakeProvider) { p.user = ofLogin })
	put := func() {
		_, err := n.Put(t.Context(), signIn(password), Expect{})
		require.NoError(t, err)
		n.work.Wait()
	}
	put()
	assert.JSONEq(t, ofLogin, string(b.held(n, "alice").UserData), "it was empty")
	again := func() {
		b.clock.advance(2 * life)
		b.batch(n, "alice")
	}
	again()
	assert.JSONEq(t, ofCall, string(b.held(n, "alice").UserData))
	told := func() int {
		return len(slices.DeleteFunc(b.events(n, "alice"), func(e credential.EventType) bool { return e != credential.EventUserDataChanged }))
	}
	require.Equal(t, 1, told())

	again()
	put()
	again()
	assert.Equal(t, 1, told(), "nothing has changed: %v", b.events(n, "alice"))

	b.asking(`{"id":"alice","name":"Alice B."}`, "")
	put()
	assert.JSONEq(t, `{"id":"alice","name":"Alice B."}`, string(b.held(n, "alice").UserData))
	assert.Equal(t, 2, told())

	// The owner's own word is his.
	own := signIn(password)
	own.UserData = credential.UserData(`{"id":"mine"}`)
	_, err := n.Put(t.Context(), own, Expect{})
	require.NoError(t, err)
	assert.JSONEq(t, `{"id":"mine"}`, string(b.held(n, "alice").UserData))
}

// No call is made for what is known, or for a credential that is held back.
func TestUserDataIsNotAskedForAtEverySignIn(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, b *bundle, n *node) credential.Login{
		"the login tells it": func(_ *testing.T, b *bundle, _ *node) credential.Login {
			b.provider.set(func(p *fakeProvider) { p.user = `{"plan":"gold"}` })
			return signIn(password)
		},
		"the owner told it": func(_ *testing.T, _ *bundle, _ *node) credential.Login {
			login := signIn(password)
			login.UserData = credential.UserData(`{"plan":"gold"}`)
			return login
		},
		"the backend is away": func(_ *testing.T, b *bundle, _ *node) credential.Login {
			away := credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
			b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &away } })
			return signIn(password)
		},
		"the provider is paused": func(t *testing.T, b *bundle, n *node) credential.Login {
			t.Helper()
			_, err := n.PauseProvider(t.Context(), acme, true)
			require.NoError(t, err)
			return b.login("alice")
		},
		"the credential is paused": func(t *testing.T, b *bundle, n *node) credential.Login {
			t.Helper()
			login := signIn(password)
			login.UserData = credential.UserData(`{}`)
			_, err := n.Put(t.Context(), login, Expect{})
			require.NoError(t, err)
			_, err = n.SetPaused(t.Context(), "alice", true, "")
			require.NoError(t, err)
			return b.login("alice")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.backend()
			n := b.node("one")
			n.SetTargets(t.Context(), []Target{b.asking(`{"plan":"free"}`, "")})
			_, err := n.Put(t.Context(), prepare(t, b, n), Expect{})
			require.NoError(t, err)
			n.work.Wait()
			assert.Zero(t, b.provider.profiles())
		})
	}
}

// A sign-in is answered while its user data is still asked for. What comes after
// another login is of nobody who is there.
func TestASignInDoesNotWaitForUserData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	target := b.asking("", "")
	slow := slowProfile{fakeProvider: b.provider, asked: make(chan string, 2), answer: make(chan struct{})}
	target.Exchanger = slow
	n.SetTargets(t.Context(), []Target{target})
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	first := soon(t, slow.asked, "the first call")
	_, err = n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	second := soon(t, slow.asked, "the second call")
	require.NotEqual(t, first, second)
	close(slow.answer)
	n.work.Wait()
	assert.JSONEq(t, `{"seen by":"`+second+`"}`, string(b.held(n, "alice").UserData))
	assert.Equal(t, []credential.EventType{
		credential.EventConnected, credential.EventReauthorized, credential.EventUserDataChanged,
	}, b.events(n, "alice"))
}

// What could not be had at the sign-in is asked for with the next refresh.
func TestUserDataThatCouldNotBeHad(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	target := b.asking("", "")
	b.provider.set(func(p *fakeProvider) {
		p.profile = func() (credential.UserData, credential.Outcome) {
			return nil, credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
		}
	})
	n.SetTargets(t.Context(), []Target{target})
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	n.work.Wait()
	assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
	b.asking(`{"plan":"pro"}`, "")
	b.due()
	b.batch(n, "alice")
	assert.JSONEq(t, `{"plan":"pro"}`, string(b.held(n, "alice").UserData))
}

// A call that was stopped because it took too long says so, and counts among those
// that were.
func TestUserDataThatTakesTooLong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	target := b.asking("", "")
	n.SetTargets(t.Context(), []Target{target})
	for _, class := range []credential.Class{credential.ClassAmbiguous, credential.ClassNotSent} {
		counted := 1.0
		if class == credential.ClassNotSent {
			counted = 0
		}
		b.provider.set(func(p *fakeProvider) {
			p.profile = func() (credential.UserData, credential.Outcome) {
				return nil, credential.Outcome{Class: class, Reason: credential.ReasonTimeout, Detail: "no complete reply within 20s"}
			}
		})
		before := testutil.ToFloat64(n.metrics.timeouts.WithLabelValues(acme, askedUserData))
		_, err := n.Put(t.Context(), signIn(password), Expect{})
		require.NoError(t, err)
		n.work.Wait()
		assert.InDelta(t, counted, testutil.ToFloat64(n.metrics.timeouts.WithLabelValues(acme, askedUserData))-before, 1e-9, class)
		assert.Contains(t, b.log.String(), `"class":"`+string(class)+`","reason":"timeout","detail":"no complete reply within 20s"`)
	}
}

// A flood of sign-ins keeps no more than some calls in the air; the rest is left
// to the first refreshes.
func TestUserDataOfManySignIns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	target := b.asking("", "")
	const many = userDataAsks + 3
	slow := slowProfile{fakeProvider: b.provider, asked: make(chan string, many), answer: make(chan struct{})}
	target.Exchanger = slow
	n.SetTargets(t.Context(), []Target{target})
	for i := range many {
		b.put(n, credential.ID(fmt.Sprintf("user-%d", i)))
	}
	close(slow.answer)
	n.work.Wait()
	assert.Len(t, slow.asked, userDataAsks)
}

// Where there is no permit for the question it is asked a little later: after a
// sign-in, and after a refresh, whose batch does not wait for it.
func TestUserDataWaitsForAPermit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	target := b.asking(`{"plan":"free"}`, "")
	target.Limits = Limits{Concurrency: 8}
	n.SetTargets(t.Context(), []Target{target})
	var asked int
	refuse := func(first, last int) {
		asked = 0
		n.store.set(func(s *faultyStore) {
			s.scripted = func(want int) (int, time.Duration) {
				asked++
				if first <= asked && asked <= last {
					return 0, permitWait + time.Millisecond
				}
				return want, 0
			}
		})
	}
	refuse(1, 2) // asked twice by whoever waits for a permit
	b.put(n, "alice")
	n.work.Wait()
	assert.JSONEq(t, `{"plan":"free"}`, string(b.held(n, "alice").UserData))
	assert.Equal(t, 3, asked)

	b.asking(`{"plan":"gold"}`, "")
	b.due()
	refuse(2, 3) // the first is the refresh's
	assert.Equal(t, credential.BatchReport{Refreshed: 1}, b.batch(n, "alice"))
	n.work.Wait()
	assert.JSONEq(t, `{"plan":"gold"}`, string(b.held(n, "alice").UserData))
	assert.Equal(t, 2, b.provider.profiles())
}

// renamed has the backend give sessions a new name with their user data.
func (b *bundle) renamed() Target {
	b.sliding()
	target := b.asking("", "")
	b.provider.set(func(p *fakeProvider) {
		p.profile = func() (credential.UserData, credential.Outcome) {
			token := credential.Token{Access: credential.NewSecret(mark + "renamed")}
			p.sessions = map[string]bool{token.Access.Reveal(): true} // the old one is dead
			return credential.UserData(`{}`), credential.Outcome{Class: credential.ClassOK, Token: token}
		}
	})
	return target
}

// A backend may give a session another name with any reply, and take the old one no
// longer. That is not lost to a store that is away.
func TestASessionsNewNameOutlivesTheStore(t *testing.T) {
	t.Parallel()
	for name, dies := range map[string]bool{"in this process": false, "in its heir": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			target := b.renamed()
			n := b.node("one")
			n.SetTargets(t.Context(), []Target{target})
			first := b.provider.profile
			b.provider.set(func(p *fakeProvider) {
				p.profile = func() (credential.UserData, credential.Outcome) {
					n.away()
					return first()
				}
			})
			b.session(n, false)
			soon(t, n.store.refused, "what is stored first")
			soon(t, n.store.refused, "the same again")
			served, err := n.Token(t.Context(), "alice", 0)
			require.NoError(t, err)
			assert.Equal(t, mark+"renamed", served.Token.Access.Reveal(), "the old one is dead")
			if dies {
				n.die()
				b.settle(b.node("two"))
			} else {
				n.store.heal()
				n.work.Wait()
			}
			b.provider.set(func(p *fakeProvider) { p.profile = nil })
			last := b.nodes[len(b.nodes)-1]
			assert.Equal(t, mark+"renamed", b.held(last, "alice").Token.Access.Reveal())
			b.clock.advance(idle * 4 / 5)
			b.batch(last, "alice")
			assert.Equal(t, credential.StateActive, b.held(last, "alice").Record.State, "and it is extended")
		})
	}
}

// slowProfile tells which token it is asked with, and answers when it may.
type slowProfile struct {
	*fakeProvider

	asked  chan string
	answer chan struct{}
}

func (s slowProfile) UserData(_ context.Context, token credential.Token, _ string, _ func() error) (credential.UserData, credential.Outcome) {
	seen := token.Access.Reveal()
	s.asked <- seen
	<-s.answer
	return credential.UserData(`{"seen by":"` + seen + `"}`), credential.Outcome{Class: credential.ClassOK}
}
