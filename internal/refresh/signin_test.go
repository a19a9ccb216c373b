package refresh

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// password is alice's.
const password = mark + "correct horse"

// backend makes the provider one that takes names and passwords.
func (b *bundle) backend() {
	b.policy.CanLogin = true
	b.provider.set(func(p *fakeProvider) { p.passwords = map[string]string{"alice": password} })
}

// signIn is a login of alice's.
func signIn(secret string) credential.Login {
	return credential.Login{ID: "alice", Provider: acme, SignIn: credential.SignIn{
		Username: credential.NewSecret("alice"), Password: credential.NewSecret(secret),
	}}
}

func TestPutSignsIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	b.provider.set(func(p *fakeProvider) { p.user = `{"name":"Alice"}` })
	n := b.node("one")
	put, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	assert.True(t, put.Created)
	h := b.held(n, "alice")
	assert.Equal(t, credential.StateActive, h.Record.State)
	assert.Equal(t, "uid-alice", h.Record.Subject)
	assert.True(t, h.Record.HasLogin)
	assert.Equal(t, password, h.SignIn.Password.Reveal())
	assert.JSONEq(t, `{"name":"Alice"}`, string(h.UserData))
	got, err := n.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.Equal(t, h.Token.Access, got.Token.Access)
	logins, _ := b.provider.counted()
	assert.Equal(t, 1, logins)
}

func TestPutOfAWrongPasswordStoresNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	_, err := n.Put(t.Context(), signIn(mark+"wrong"), Expect{})
	var refused *LoginRefusedError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, credential.ReasonLoginRefused, refused.Reason)
	list, err := n.store.Store.Load(t.Context(), "alice")
	require.NoError(t, err)
	assert.Nil(t, list[0])

	// Nor does it touch what is stored.
	_, err = n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	before := b.held(n, "alice")
	_, err = n.Put(t.Context(), signIn(mark+"wrong"), Expect{})
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, before, b.held(n, "alice"))
	assert.NotContains(t, b.log.String(), "correct horse")
}

// A token that has expired by the time it is here is of no use, and nothing is
// stored: the declared unit is wrong.
func TestPutOfALoginThatBringsADeadToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	b.provider.set(func(p *fakeProvider) {
		p.login = func(credential.SignIn) *credential.Outcome {
			b.clock.advance(time.Second)
			token := credential.Token{Access: credential.NewSecret(mark + "short")}
			return &credential.Outcome{Class: credential.ClassOK, Token: token, ExpiresIn: 20 * time.Millisecond}
		}
	})
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.ErrorIs(t, err, ErrDeadLogin)
	list, err := n.store.Load(t.Context(), "alice")
	require.NoError(t, err)
	assert.Nil(t, list[0])
}

// unclear are answers to a login that are neither a token nor a known refusal.
func unclear() map[string]credential.Outcome {
	missing := []credential.Absence{{Name: "access_token", Place: "cookie sid", Why: "was not found", Beside: []string{"SID"}}}
	return map[string]credential.Outcome{
		"422":             {Class: credential.ClassRefused, Reason: credential.ReasonInvalidRequest, Detail: "HTTP 422"},
		"200, no token":   {Class: credential.ClassRefused, Reason: credential.ReasonMalformedReply, Detail: "HTTP 200", Missing: missing},
		"refused by rule": {Class: credential.ClassRefused, Reason: credential.ReasonRejected, Detail: "HTTP 409, login.failed_when[0]"},
	}
}

// Their owner is told at once: nothing is stored or changed, and nothing is sent
// again.
func TestPutOfALoginWithAnUnclearAnswer(t *testing.T) {
	t.Parallel()
	for name, o := range unclear() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.backend()
			answer := &o
			b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return answer } })
			n := b.node("one")
			refused := func() {
				t.Helper()
				_, err := n.Put(t.Context(), signIn(mark+"wrong"), Expect{})
				var odd *LoginUnclearError
				require.ErrorAs(t, err, &odd)
				assert.Equal(t, &LoginUnclearError{Reason: o.Reason, Detail: o.Detail, Missing: o.Missing}, odd)
				assert.NotContains(t, err.Error(), mark)
			}
			refused()
			list, err := n.store.Store.Load(t.Context(), "alice")
			require.NoError(t, err)
			assert.Nil(t, list[0])

			answer = nil
			_, err = n.Put(t.Context(), signIn(password), Expect{})
			require.NoError(t, err)
			answer = &o
			for range 2 { // while its token lives, and after
				before := b.held(n, "alice")
				refused()
				assert.Equal(t, before, b.held(n, "alice"))
				b.clock.advance(2 * life)
			}
			logins, _ := b.provider.counted()
			assert.Equal(t, 4, logins, "one for each that its owner sent")
		})
	}
}

// Nobody is there: the credential is not logged out, and the login, which may have
// counted as a wrong password, is made once an hour from the first time on,
// however often a token is asked for.
func TestSilentLoginWithAnUnclearAnswer(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"422", "200, no token"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sliding()
			b.policy.Sessions.Extend = false
			n := b.node("one")
			b.session(n, true)
			b.clock.advance(2 * idle)
			b.provider.end()
			answer := new(unclear()[name])
			b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return answer } })
			counted := func() int { logins, _ := b.provider.counted(); return logins - 1 } // but the owner's

			for i := range 12 {
				b.batch(n, "alice")
				_, err := n.Token(t.Context(), "alice", 0)
				var away *UnavailableError
				require.ErrorAs(t, err, &away)
				assert.Equal(t, answer.Reason, away.Reason)
				assert.InDelta(t, time.Hour-time.Duration(i)*time.Minute, away.RetryAfter, float64(time.Minute))
				_, err = n.Refresh(t.Context(), "alice", b.held(n, "alice").Record.Generation)
				require.ErrorAs(t, err, &away, "a program whose token was refused")
				b.clock.advance(time.Minute)
			}
			assert.Equal(t, 1, counted())
			h := b.held(n, "alice")
			assert.Equal(t, credential.StateExpired, h.Record.State)
			assert.True(t, h.Record.HasLogin)
			assert.Equal(t, password, h.SignIn.Password.Reveal())

			_, err := n.Refresh(t.Context(), "alice", 0)
			require.Error(t, err)
			assert.Equal(t, 2, counted(), "somebody wanted it")
			b.batch(n, "alice")
			assert.Equal(t, 2, counted())

			answer = nil
			b.clock.advance(time.Hour + time.Minute)
			b.batch(n, "alice")
			assert.Equal(t, 3, counted())
			assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
		})
	}
}

func TestPutWhileTheBackendIsAwayIsPending(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	away := credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
	b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &away } })
	n := b.node("one")
	put, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	r := put.Held.Record
	assert.Equal(t, credential.StatePending, r.State)
	assert.Equal(t, credential.ReasonUnavailable, r.Reason)
	assert.Equal(t, credential.ReasonUnavailable, r.LastAttempt.Failure)
	b.batch(n, "alice")
	logins, _ := b.provider.counted()
	assert.Equal(t, 1, logins, "it was made just now")
	b.clock.advance(5 * time.Second)
	b.batch(n, "alice")
	logins, _ = b.provider.counted()
	assert.Equal(t, 2, logins)
	h := b.held(n, "alice")
	assert.Equal(t, credential.StatePending, h.Record.State)
	assert.Nil(t, h.Attempt, "a login can be made again: there is no doubt")
	assert.Greater(t, h.Record.RefreshAt, b.clock.Now())

	b.provider.set(func(p *fakeProvider) { p.login = nil })
	b.clock.advance(time.Minute)
	b.batch(n, "alice")
	assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
}

// While a login cannot be made, a token that still works is not given up for it;
// nothing is stored, and nothing is told that did not happen.
func TestPutOfALoginKeepsWhatWorks(t *testing.T) {
	t.Parallel()
	answering := func(o credential.Outcome) func(*testing.T, *bundle, *node) {
		return func(_ *testing.T, b *bundle, _ *node) {
			b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &o } })
		}
	}
	pausing := func(what string) func(*testing.T, *bundle, *node) {
		return func(t *testing.T, _ *bundle, n *node) {
			t.Helper()
			_, err := n.PauseProvider(t.Context(), what, true)
			require.NoError(t, err)
		}
	}
	for name, c := range map[string]struct {
		hinder func(t *testing.T, b *bundle, n *node)
		reason credential.Reason
		wait   time.Duration // at least
		called bool
	}{
		"503":                     {answering(credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}), credential.ReasonUnavailable, time.Second, true},
		"429":                     {answering(credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited, RetryAfter: time.Minute}), credential.ReasonRateLimited, time.Minute, true},
		"no answer":               {answering(credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}), credential.ReasonTimeout, time.Second, true},
		"settings refused":        {answering(credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured}), credential.ReasonClientMisconfigured, time.Second, true},
		"a reply without a token": {answering(credential.Outcome{Class: credential.ClassOK}), credential.ReasonUnavailable, time.Second, true},
		"not reached": {func(_ *testing.T, b *bundle, _ *node) {
			b.provider.set(func(p *fakeProvider) {
				p.prepare = func() *credential.Outcome {
					return &credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonNetwork}
				}
			})
		}, credential.ReasonNetwork, time.Second, false},
		"no permit": {func(_ *testing.T, b *bundle, n *node) {
			target := b.target()
			target.Limits = Limits{PerSecond: 0.1}
			n.SetTargets(b.t.Context(), []Target{target})
			n.store.set(func(s *faultyStore) { s.scripted = func(int) (int, time.Duration) { return 0, 10 * time.Second } })
		}, credential.ReasonRateLimited, 10 * time.Second, false},
		"the service paused":  {pausing(credential.AllClients), credential.ReasonPaused, time.Minute, false},
		"the provider paused": {pausing(acme), credential.ReasonPaused, time.Minute, false},
		"the credential paused": {func(t *testing.T, _ *bundle, n *node) {
			t.Helper()
			_, err := n.SetPaused(t.Context(), "alice", true, "")
			require.NoError(t, err)
		}, credential.ReasonPaused, time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.backend()
			n := b.node("one")
			_, err := n.Put(t.Context(), signIn(password), Expect{})
			require.NoError(t, err)
			c.hinder(t, b, n)
			before := b.held(n, "alice")
			logins, _ := b.provider.counted()
			_, err = n.Put(t.Context(), signIn(mark+"mistyped"), Expect{})
			var off *LoginPutOffError
			require.ErrorAs(t, err, &off)
			assert.Equal(t, c.reason, off.Reason)
			assert.GreaterOrEqual(t, off.RetryAfter, c.wait)
			assert.Equal(t, before, b.held(n, "alice"))
			got, err := n.Token(t.Context(), "alice", 0)
			require.NoError(t, err)
			assert.True(t, got.Token.Access.Equal(before.Token.Access))
			again, _ := b.provider.counted()
			assert.Equal(t, c.called, again > logins)

			// Without a token that works there is nothing to lose.
			b.clock.advance(2 * life)
			put, err := n.Put(t.Context(), signIn(password), Expect{})
			require.NoError(t, err)
			r := put.Held.Record
			assert.Equal(t, credential.StatePending, r.State)
			assert.Equal(t, c.reason, r.Reason)
			assert.Equal(t, c.reason, r.LastAttempt.Failure)
			assert.NotZero(t, r.LastAttempt.FailedAt)
			assert.NotContains(t, b.events(n, "alice"), credential.EventReauthorized, "nobody has been authorised")
		})
	}
}

// A pause survives a new login; it is made once the credential may go on.
func TestPutOfAPausedCredential(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	_, err = n.SetPaused(t.Context(), "alice", true, "")
	require.NoError(t, err)
	put, err := n.Put(t.Context(), b.login("alice"), Expect{})
	require.NoError(t, err)
	assert.True(t, put.Held.Record.Paused, "a token was brought")
	assert.Equal(t, credential.StateActive, put.Held.Record.State)

	b.clock.advance(2 * life)
	put, err = n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	assert.True(t, put.Held.Record.Paused)
	assert.Equal(t, credential.StatePending, put.Held.Record.State)
	b.clock.advance(time.Minute)
	b.batch(n, "alice")
	logins, _ := b.provider.counted()
	assert.Equal(t, 1, logins, "the first one's")
	assert.Zero(t, b.provider.calls())

	_, err = n.SetPaused(t.Context(), "alice", false, "")
	require.NoError(t, err)
	b.batch(n, "alice")
	h := b.held(n, "alice")
	assert.Equal(t, credential.StateActive, h.Record.State)
	logins, _ = b.provider.counted()
	assert.Equal(t, 2, logins)
}

// A login for what belongs to somebody else is not made.
func TestPutOfALoginOfAnotherProvider(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	other := b.target()
	other.Name = "globex"
	n.SetTargets(t.Context(), []Target{b.target(), other})
	b.put(n, "alice")
	in := signIn(password)
	in.Provider = "globex"
	_, err := n.Put(t.Context(), in, Expect{})
	require.ErrorIs(t, err, ErrConflict)
	logins, _ := b.provider.counted()
	assert.Zero(t, logins)
}

func TestPutOfALoginWhereNoneIsTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.ErrorIs(t, err, ErrNoLogin)
}

// The refresh token dies. The user has left name and password, so nobody is
// asked: one login brings the next token.
func TestSilentLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	b.provider.withdraw()
	b.due()
	b.batch(n, "alice")
	h := b.held(n, "alice")
	assert.Equal(t, credential.StateDegraded, h.Record.State, "its access token lives on")
	assert.False(t, h.Record.HasRefresh)
	assert.True(t, h.Token.Refresh.IsZero(), "what is dead is erased")
	b.batch(n, "alice")
	h = b.held(n, "alice")
	assert.Equal(t, credential.StateActive, h.Record.State)
	assert.True(t, h.Record.HasRefresh)
	logins, _ := b.provider.counted()
	assert.Equal(t, 2, logins)
	assert.Equal(t, 1, b.provider.most())
	assert.Equal(t, []credential.EventType{
		credential.EventConnected, credential.EventDegraded, credential.EventRecovered,
	}, b.events(n, "alice"))
}

// Whoever asks for a token gets it in one call, whatever had to be done for it.
func TestSilentLoginOnDemand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	n := b.node("one")
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	before := b.held(n, "alice")
	b.provider.withdraw()
	b.clock.advance(2 * life)
	got, err := n.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	assert.NotEqual(t, before.Token.Access, got.Token.Access)
	logins, _ := b.provider.counted()
	assert.Equal(t, 2, logins)
}

// A backend locks accounts at which wrong passwords come again and again.
func TestSilentLoginIsMadeOnce(t *testing.T) {
	t.Parallel()
	for _, reason := range []credential.Reason{credential.ReasonLoginRefused, credential.ReasonAccountLocked} {
		b := setup(t)
		b.backend()
		n := b.node("one")
		_, err := n.Put(t.Context(), signIn(password), Expect{})
		require.NoError(t, err)
		refused := credential.Outcome{Class: credential.ClassPermanent, Reason: reason}
		b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &refused } })
		b.provider.withdraw()
		b.due()
		for range 5 {
			b.batch(n, "alice")
			_, _ = n.Token(t.Context(), "alice", life/2) // what it answers is not the point here
			b.clock.advance(life)
		}
		r := b.held(n, "alice").Record
		assert.Equal(t, credential.StateReauthRequired, r.State)
		assert.Equal(t, reason, r.Reason)
		logins, _ := b.provider.counted()
		assert.Equal(t, 2, logins, "the owner's and one")
	}
}

// Whoever follows an attempt that closes one way to a new token goes the other
// one: the refresh token is dead, and there is a login.
func TestAFollowerGoesTheOtherWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	one, two := b.node("one"), b.node("two")
	_, err := one.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	b.clock.advance(life)
	b.provider.set(func(p *fakeProvider) { clear(p.current) })
	let := b.provider.holding()
	first := start(func() (credential.Held, error) { return one.Token(t.Context(), "alice", time.Minute) })
	soon(t, b.provider.entered, "the exchange")
	second := start(func() (credential.Held, error) { return two.Token(t.Context(), "alice", time.Minute) })
	soon(t, two.store.began, "the second one's begin")
	let()
	a, z := soon(t, first, "the first answer"), soon(t, second, "the second answer")
	require.NoError(t, a.err)
	require.NoError(t, z.err)
	assert.True(t, a.value.Token.Access.Equal(z.value.Token.Access))
	logins, _ := b.provider.counted()
	assert.Equal(t, 2, logins, "its owner's, and one more")
	assert.Equal(t, 1, b.provider.calls())
}
