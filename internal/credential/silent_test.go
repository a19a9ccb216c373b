package credential_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// withLogin lets the provider take the name and the password that are stored.
func (b *bundle) withLogin() {
	b.policy.CanLogin = true
	b.held.Record.HasLogin = true
	b.held.SignIn = signIn("pw")
}

// onlyLogin is withLogin, and no refresh token.
func (b *bundle) onlyLogin() {
	b.withLogin()
	b.held.Record.HasRefresh, b.held.Token.Refresh = false, credential.Secret{}
}

func fail(b *bundle, o credential.Outcome) credential.Write {
	return credential.Fail(b.held, b.attempt, o, b.policy, credential.BySchedule, noon)
}

// A refresh token that is dead is erased, and a login made at once where there
// is what it needs; the token that still lives is served.
func TestDeadRefreshTokenLeadsToALogin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state  credential.State
		alive  bool
		events []event
	}{
		{credential.StateActive, true, []event{{credential.EventDegraded, credential.StateDegraded, credential.StateActive, credential.ReasonInvalidGrant}}},
		{credential.StateActive, false, []event{{credential.EventExpired, credential.StateExpired, credential.StateActive, credential.ReasonInvalidGrant}}},
		{credential.StateDegraded, true, nil},
		{credential.StateExpired, false, nil},
		{credential.StatePending, true, nil},
	} {
		t.Run(string(c.state), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(c.state, c.alive)
			b.withLogin()
			b.held.Record.LimitAt, b.held.Record.WarnAt = noon+hour, noon+minute
			o := deadGrant()
			o.Method = credential.MethodRefresh
			w := fail(b, o)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				r.Failures++
				r.LastAttempt.FailedAt, r.LastAttempt.Failure, r.LastAttempt.Detail = noon, o.Reason, o.Detail
				r.HasRefresh, r.RefreshAt, r.LimitAt, r.WarnAt = false, noon, 0, 0
				if len(c.events) > 0 {
					entered(r, c.events[0].State, o.Reason)
				}
			}), c.events...)
			after := w.Result(b.held)
			assert.True(t, after.Token.Refresh.IsZero())
			assert.Equal(t, b.held.Token.Access, after.Token.Access, "what lives is served")
			assert.Equal(t, "rt-4", w.Spent.Reveal())
			assert.Nil(t, after.Attempt)
			assert.Equal(t, noon, w.Due)
			assert.Equal(t, credential.MethodLogin, b.policy.Method(w.Record))

			_, again := credential.TakeEnded(after, b.attempt, o, b.policy, noon)
			assert.False(t, again, "heard again, it says nothing of what is stored now")
		})
	}
}

// A login that is refused stops at once, is forgotten, and nothing is presented
// until the owner brings another.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	for _, reason := range []credential.Reason{credential.ReasonLoginRefused, credential.ReasonAccountLocked} {
		for _, state := range []credential.State{credential.StatePending, credential.StateActive, credential.StateExpired} {
			b := setup(t)
			b.in(state, state != credential.StateExpired)
			b.onlyLogin()
			o := credential.Outcome{Method: credential.MethodLogin, Class: credential.ClassPermanent, Reason: reason, Detail: "401"}
			w := fail(b, o)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				r.Failures++
				r.LastAttempt.FailedAt, r.LastAttempt.Failure, r.LastAttempt.Detail = noon, reason, "401"
				r.RefreshAt, r.HasLogin = 0, false
				entered(r, credential.StateReauthRequired, reason)
			}), event{credential.EventReauthRequired, credential.StateReauthRequired, state, reason})
			after := w.Result(b.held)
			assert.True(t, after.SignIn.IsZero())
			assert.Zero(t, w.Due)
			assert.True(t, credential.Due(w.Record, nil, noon+1000*hour).None())

			in := login()
			in.Token, in.SignIn = credential.Token{}, signIn("new")
			again := credential.Connect(&after, in, b.policy, b.nonce, noon)
			assert.Equal(t, credential.StatePending, again.Record.State)
			assert.Equal(t, "new", again.Result(after).SignIn.Password.Reveal(), "it replaces the old one")
			assert.Equal(t, credential.Work{Refresh: true}, credential.Due(again.Record, nil, noon))
		}
	}
}

// Anything else that a login meets comes again with the ordinary backoff, and is
// never in doubt: it can be made again.
func TestLoginFails(t *testing.T) {
	t.Parallel()
	for _, class := range credential.Classes() {
		if class == credential.ClassPermanent || class == credential.ClassOperator {
			continue
		}
		b := setup(t)
		b.in(credential.StateExpired, false)
		b.onlyLogin()
		w := fail(b, credential.Outcome{Method: credential.MethodLogin, Class: class, Reason: credential.ReasonUnavailable})
		assert.True(t, w.Close, class)
		assert.Nil(t, w.Open, class)
		want := noon.Add(b.policy.Backoff("acct-1", 2, life))
		if class == credential.ClassRefused {
			want = noon + hour // it may have counted as a wrong password
		}
		assert.Equal(t, want, w.Due, class)
		assert.Equal(t, credential.StateExpired, w.Record.State, class)
		assert.False(t, w.Result(b.held).SignIn.IsZero(), class)
	}
	b := setup(t)
	b.onlyLogin()
	w := credential.Doubt(b.held, b.attempt, b.policy, noon)
	assert.True(t, w.Close, "its owner died")
	_, wanted := credential.Recall(credential.Held{Record: b.held.Record}, b.attempt, false, b.policy, noon)
	assert.False(t, wanted, "nothing is in doubt")
}

// A login that was answered in words that are not known is not made by itself
// again for an hour, from the first such answer on, whoever wants a token; an
// extension that failed so holds no login back.
func TestLoginAt(t *testing.T) {
	t.Parallel()
	odd := func(reason credential.Reason) credential.Outcome {
		return credential.Outcome{Method: credential.MethodLogin, Class: credential.ClassRefused, Reason: reason, Detail: "HTTP 422"}
	}
	for _, reason := range []credential.Reason{credential.ReasonInvalidRequest, credential.ReasonMalformedReply} {
		b := setup(t)
		b.onlyLogin()
		assert.Zero(t, b.policy.LoginAt(b.held.Record))
		w := fail(b, odd(reason))
		assert.Equal(t, credential.StateDegraded, w.Record.State, "nobody is logged out")
		assert.Equal(t, noon+hour, w.Record.RefreshAt)
		assert.Equal(t, noon+hour, b.policy.LoginAt(w.Record))

		b.held = w.Result(b.held)
		b.open(b.attempt)
		w = fail(b, credential.Outcome{Method: credential.MethodLogin, Class: credential.ClassTransient, Reason: credential.ReasonUnavailable})
		assert.Zero(t, b.policy.LoginAt(w.Record), "this one was not even looked at")
		b.policy.CanLogin = false
		assert.Zero(t, b.policy.LoginAt(b.held.Record))
	}

	// A session in the background is not called, nor by who returns.
	b := setup(t)
	b.session(credential.PresenceBackground)
	b.onlyLogin()
	b.held.Record.Session.Ended, b.held.Record.ExpiresAt, b.held.Record.State = true, noon-minute, credential.StateExpired
	w := fail(b, odd(credential.ReasonInvalidRequest))
	assert.Zero(t, w.Record.RefreshAt)
	assert.Equal(t, noon+hour, b.policy.LoginAt(w.Record))
	back, ok := credential.SetPresence(w.Result(b.held), credential.PresenceActive, b.policy, b.nonce, noon+minute)
	require.True(t, ok)
	assert.Equal(t, noon+hour, back.Record.RefreshAt)

	// A session that ended after an extension which could not be read.
	b = setup(t)
	b.session(credential.PresencePassive)
	b.onlyLogin()
	w = fail(b, credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassAmbiguous, Reason: credential.ReasonMalformedReply})
	over, ok := credential.Advance(w.Result(b.held), b.policy, b.nonce, w.Record.ExpiresAt)
	require.True(t, ok)
	require.Equal(t, credential.MethodLogin, b.policy.Method(over.Record))
	assert.Zero(t, b.policy.LoginAt(over.Record))
	assert.Equal(t, w.Record.ExpiresAt, over.Due, "at once")

	// One that nothing extends, and whose login was held back when it ended.
	b = setup(t)
	b.session(credential.PresencePassive)
	b.policy.Sessions.Extend = false
	b.onlyLogin()
	w = fail(b, odd(credential.ReasonInvalidRequest))
	require.Less(t, w.Record.ExpiresAt, noon+hour)
	over, ok = credential.Advance(w.Result(b.held), b.policy, b.nonce, w.Record.ExpiresAt)
	require.True(t, ok)
	assert.Equal(t, noon+hour, over.Record.RefreshAt)
}

// What a login brings replaces all that was granted before.
func TestLoginInstalled(t *testing.T) {
	t.Parallel()
	for name, refresh := range map[string]string{"with a refresh token": "rt-5", "without": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(credential.StateExpired, false)
			b.onlyLogin()
			b.policy.RefreshAbsolute, b.policy.WarnBefore = 24*time.Hour, time.Hour
			got := credential.Received{
				Method: credential.MethodLogin, Token: token("at-5", refresh), SentAt: sent, ExpiresIn: time.Hour,
				Partial: refresh == "", UserData: credential.UserData(`{"id":1}`),
			}
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				installed(r, b.policy, time.Hour, true)
				r.GrantedAt, r.HasRefresh = sent, refresh != ""
				if refresh != "" {
					r.LimitAt, r.WarnAt = sent+24*hour, sent+23*hour
				}
			}),
				event{credential.EventRecovered, credential.StateActive, credential.StateExpired, credential.ReasonNone},
				event{credential.EventUserDataChanged, credential.StateActive, credential.StateActive, credential.ReasonNone})
			assert.True(t, w.Close, "nothing is in doubt")
			assert.Nil(t, w.Open)
			assert.True(t, w.Spent.IsZero())
			assert.Nil(t, w.SignIn, "it stays")
			assert.Equal(t, credential.UserData(`{"id":1}`), *w.UserData)
			assert.Equal(t, b.held.Record.Grant, w.Record.Grant, "it is the same credential's")
		})
	}
}

// A login that died with its owner is taken from his journal, also where it is
// an access token alone.
func TestTakeLateLogin(t *testing.T) {
	t.Parallel()
	plain := func() credential.Late {
		l := late()
		l.Received.Method, l.Received.Token.Refresh = credential.MethodLogin, credential.Secret{}
		return l
	}
	for name, c := range map[string]struct {
		change func(*bundle, *credential.Late)
		want   credential.LateVerdict
	}{
		"its attempt is open":      {func(*bundle, *credential.Late) {}, credential.LateInstalled},
		"the store has lost it":    {func(b *bundle, _ *credential.Late) { b.held.Attempt = nil }, credential.LateInstalled},
		"told by the record":       {func(b *bundle, l *credential.Late) { b.held.Attempt, l.Received.Method = nil, "" }, credential.LateInstalled},
		"another one is under way": {func(b *bundle, _ *credential.Late) { b.attempt.Nonce = nonceOf(9); b.open(b.attempt) }, credential.LateKept},
		"there is a newer one":     {func(b *bundle, _ *credential.Late) { b.held.Attempt, b.held.Record.Generation = nil, 5 }, credential.LateKnown},
		"it is dead":               {func(b *bundle, l *credential.Late) { b.held.Attempt, l.Received.SentAt = nil, noon-hour }, credential.LateKnown},
		"it is the current one":    {func(b *bundle, _ *credential.Late) { b.held.Attempt, b.held.Token = nil, token("at-5", "") }, credential.LateKnown},
		"its grant is over":        {func(b *bundle, _ *credential.Late) { b.held.Record.Grant++ }, credential.LateRevoke},
		"it waits as an alternate": {func(b *bundle, _ *credential.Late) {
			b.attempt.Nonce = nonceOf(9)
			b.open(b.attempt)
			b.held.Alternates = []credential.Alternate{{Nonce: nonceOf(7), Generation: 4}}
		}, credential.LateKnown},
		"a refresh token was there": {func(b *bundle, l *credential.Late) {
			b.held.Attempt, b.held.Record.HasRefresh, l.Received.Method = nil, true, ""
		}, credential.LateKnown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, l := setup(t), plain()
			b.in(credential.StateExpired, false)
			b.onlyLogin()
			c.change(b, &l)
			w, verdict := b.takeLate(l, true)
			require.Equal(t, c.want, verdict)
			after := w.Result(b.held)
			switch verdict {
			case credential.LateInstalled:
				assert.Equal(t, credential.StateActive, after.Record.State)
				assert.Equal(t, "at-5", after.Token.Access.Reveal())
				assert.True(t, after.Token.Refresh.IsZero())
				assert.Nil(t, after.Attempt)
			case credential.LateKept:
				alt, spent, ok := credential.NextAlternate(after)
				require.True(t, ok && spent, "it comes before anything else is presented")
				after.Attempt = nil
				w = credential.InstallAlternate(after, alt, b.policy, b.nonce, credential.BySchedule, noon)
				assert.Equal(t, "at-5", w.Token.Access.Reveal())
				assert.Equal(t, sent, w.Record.GrantedAt, "when the backend was asked")
				assert.Empty(t, *w.Alternates)
			case credential.LateKnown, credential.LateRevoke, credential.LateAwaits:
				assert.Empty(t, cmp.Diff(credential.Write{}, w))
			}
		})
	}
}
