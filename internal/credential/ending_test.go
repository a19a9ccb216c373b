package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestAdvance(t *testing.T) {
	t.Parallel()
	none := credential.ReasonNone
	for name, c := range map[string]struct {
		state       credential.State
		expires     credential.Millis
		warn        credential.Millis
		refreshable bool
		events      []event
		final       credential.State
	}{
		"nothing has come":           {credential.StateActive, noon + 1, noon + 1, true, nil, ""},
		"expired already":            {credential.StateExpired, noon - hour, 0, true, nil, ""},
		"given up already":           {credential.StateReauthRequired, noon - hour, noon - hour, true, nil, ""},
		"logged out":                 {credential.StateLoggedOut, noon - hour, noon - hour, true, nil, ""},
		"expiry":                     {credential.StateActive, noon, 0, true, []event{{credential.EventExpired, credential.StateExpired, credential.StateActive, none}}, credential.StateExpired},
		"expiry of a degraded one":   {credential.StateDegraded, noon - hour, 0, true, []event{{credential.EventExpired, credential.StateExpired, credential.StateDegraded, credential.ReasonUnavailable}}, credential.StateExpired},
		"warning":                    {credential.StateActive, noon + hour, noon, true, []event{{credential.EventExpiring, credential.StateActive, credential.StateActive, none}}, credential.StateActive},
		"warning of an expired one":  {credential.StateExpired, noon - hour, noon, true, []event{{credential.EventExpiring, credential.StateExpired, credential.StateExpired, credential.ReasonUnavailable}}, credential.StateExpired},
		"warning of a pending one":   {credential.StatePending, 0, noon, true, []event{{credential.EventExpiring, credential.StatePending, credential.StatePending, none}}, credential.StatePending},
		"warning and expiry at once": {credential.StateActive, noon - minute, noon - hour, true, []event{{credential.EventExpiring, credential.StateActive, credential.StateActive, none}, {credential.EventExpired, credential.StateExpired, credential.StateActive, none}}, credential.StateExpired},
		"expiry without a refresh token": {credential.StateActive, noon, 0, false, []event{
			{credential.EventExpired, credential.StateExpired, credential.StateActive, none},
			{credential.EventReauthRequired, credential.StateReauthRequired, credential.StateExpired, credential.ReasonNotRefreshable},
		}, credential.StateReauthRequired},
		"all three": {credential.StateDegraded, noon - 1, noon - 1, false, []event{
			{credential.EventExpiring, credential.StateDegraded, credential.StateDegraded, credential.ReasonUnavailable},
			{credential.EventExpired, credential.StateExpired, credential.StateDegraded, credential.ReasonUnavailable},
			{credential.EventReauthRequired, credential.StateReauthRequired, credential.StateExpired, credential.ReasonNotRefreshable},
		}, credential.StateReauthRequired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(c.state, true)
			r := &b.held.Record
			r.ExpiresAt, r.WarnAt, r.Refreshable, r.HasRefresh = c.expires, c.warn, c.refreshable, c.refreshable
			b.held.Attempt = nil
			w, ok := credential.Advance(b.held, b.policy, b.nonce, noon)
			if assert.Equal(t, len(c.events) > 0, ok); !ok {
				assert.Zero(t, w)
				return
			}
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				if r.WarnAt <= noon {
					r.WarnAt = 0
				}
				for _, e := range c.events {
					entered(r, e.State, e.Reason)
				}
				if c.final == credential.StateReauthRequired {
					r.RefreshAt = 0
				}
			}), c.events...)
			assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
			assert.False(t, w.Close)
			assert.Nil(t, w.Token)
			_, again := credential.Advance(w.Result(b.held), b.policy, nonceOf(99), noon)
			assert.False(t, again, "announced twice")
		})
	}
}

// An expiry does not end the attempt that is under way, and is not put off by
// it.
func TestAdvanceBesideAnAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.in(credential.StateActive, false)
	w, ok := credential.Advance(b.held, b.policy, b.nonce, noon)
	assert.True(t, ok)
	assert.False(t, w.Close)
	assert.Nil(t, w.Open)
	assert.True(t, w.Attempt.IsZero(), "it holds whatever becomes of the attempt")
	assert.Equal(t, b.attempt.Deadline, w.Due)

	b.attempt.Doubt, b.attempt.RecoverAt = true, noon+minute
	b.open(b.attempt)
	w, ok = credential.Advance(b.held, b.policy, b.nonce, noon)
	assert.True(t, ok)
	assert.Equal(t, noon+minute, w.Due)
}

// ended is what logout and deletion have in common.
func ended(r *credential.Record, state credential.State) {
	r.Grant++
	r.Acts++
	r.Refreshable, r.HasRefresh, r.HasLogin, r.Paused, r.Presence = false, false, false, false, ""
	r.IssuedAt, r.ExpiresAt, r.RefreshAt, r.LimitAt, r.WarnAt, r.OnceAt, r.Lifetime = 0, 0, 0, 0, 0, 0, 0
	r.Session, r.Learned = credential.Session{}, credential.Learned{}
	r.Failures = 0
	entered(r, state, credential.ReasonOwner)
}

func checkEnded(t *testing.T, b *bundle, w credential.Write) {
	t.Helper()
	assert.True(t, w.Erase)
	assert.True(t, w.Close)
	assert.Nil(t, w.Open)
	assert.Nil(t, w.Token)
	assert.Zero(t, w.Due)
	assert.True(t, w.Attempt.IsZero())
	if assert.NotNil(t, w.Alternates) {
		assert.Empty(t, *w.Alternates)
	}
	assert.Equal(t, b.nonce, w.Nonce)
	after := w.Result(b.held)
	assert.True(t, after.Token.Access.IsZero())
	assert.True(t, after.Token.Refresh.IsZero())
	assert.True(t, after.SignIn.IsZero())
	assert.Nil(t, after.UserData)
	assert.Nil(t, after.Attempt)
	assert.Equal(t, map[string]string{"team": "blue"}, w.Events[0].Labels, "subscribers filter by labels")
	assert.Equal(t, "u-7", w.Events[0].Subject)
	assert.Equal(t, credential.ByOwner, w.Events[0].InitiatedBy)
	assert.Zero(t, w.Events[0].ExpiresAt)
}

// It counts, and touches nothing else. So does every end at an owner's word, from then on.
func TestRepeat(t *testing.T) {
	t.Parallel()
	for _, state := range []credential.State{credential.StateActive, credential.StateLoggedOut} {
		b := setup(t)
		b.in(state, true)
		b.held.Record.Acts = 3
		w := credential.Repeat(b.held, b.nonce, noon)
		checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { r.Acts = 4 }))
		after := w.Result(b.held)
		assert.Equal(t, b.held.Token, after.Token)
		assert.Equal(t, b.held.Attempt, after.Attempt)
		assert.Equal(t, credential.NextDue(b.held.Record, b.held.Attempt), w.Due)
		assert.EqualValues(t, 5, credential.Logout(after, b.nonce, noon).Record.Acts)
		gone := credential.Delete(after, b.nonce, noon).Result(after)
		assert.EqualValues(t, 5, gone.Record.Acts)
		again := credential.Repeat(gone, b.nonce, noon)
		checkWrite(t, gone, again, changed(gone, again, noon, func(r *credential.Record) { r.Acts = 6 }))
	}
}

// The UID is all that changes, but for what failed for want of it, and an event tells of it.
func TestTakeSubject(t *testing.T) {
	t.Parallel()
	for _, reason := range []credential.Reason{credential.ReasonInvalidRequest, credential.ReasonRateLimited} {
		due := reason == credential.ReasonInvalidRequest
		b := setup(t)
		b.in(credential.StateDegraded, true)
		b.held.Attempt = nil
		b.held.Record.LastAttempt.Failure = reason
		w := credential.TakeSubject(b.held, "u-8", b.nonce, noon)
		checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
			r.Acts, r.Subject = 1, "u-8"
			if due {
				r.Failures, r.RefreshAt = 0, noon
			}
		}), event{credential.EventClaimsChanged, credential.StateDegraded, credential.StateDegraded, b.held.Record.Reason})
		assert.Equal(t, "u-8", w.Events[0].Subject)
		assert.Equal(t, credential.ByOwner, w.Events[0].InitiatedBy)
		assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
		assert.Equal(t, due, w.Due == noon, reason)
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	for _, state := range credential.States() {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(state, true)
			r := &b.held.Record
			r.WarnAt, r.LimitAt, r.OnceAt = noon+hour, noon+2*hour, noon+3*hour
			r.HasLogin, r.Paused, r.Presence = true, true, credential.PresenceActive
			r.Session, r.Learned = credential.Session{Idle: time.Hour, CountdownAt: noon}, credential.Learned{Life: time.Minute}
			b.held.SignIn, b.held.UserData = signIn("pw"), credential.UserData(`{"a":1}`)
			b.held.Alternates = []credential.Alternate{{Nonce: nonceOf(1)}}
			w := credential.Logout(b.held, b.nonce, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { ended(r, credential.StateLoggedOut) }),
				event{credential.EventLoggedOut, credential.StateLoggedOut, state, credential.ReasonOwner})
			checkEnded(t, b, w)
		})
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	for _, state := range credential.States() {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(state, true)
			b.held.Record.LastAttempt.Detail = "400 invalid_grant"
			w := credential.Delete(b.held, b.nonce, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				ended(r, credential.StateDeleted)
				r.Labels, r.Subject = nil, ""
				r.LastAttempt = credential.Attempts{}
			}), event{credential.EventDeleted, credential.StateDeleted, state, credential.ReasonOwner})
			checkEnded(t, b, w)
		})
	}
}

// What an open attempt presents is spent, whoever ends the credential
// meanwhile: brought back by a later login it would be presented twice. A token
// that nobody presented may be brought back.
func TestEndingRemembersWhatIsInTheAir(t *testing.T) {
	t.Parallel()
	end := map[string]func(credential.Held) credential.Write{
		"logout": func(h credential.Held) credential.Write { return credential.Logout(h, nonceOf(9), noon) },
		"delete": func(h credential.Held) credential.Write { return credential.Delete(h, nonceOf(9), noon) },
		"login": func(h credential.Held) credential.Write {
			return credential.Connect(&h, login(), setup(t).policy, nonceOf(9), noon)
		},
	}
	for name, ends := range end {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(credential.StateActive, true)
			b.held.Attempt = &credential.Attempt{Nonce: nonceOf(1), Generation: 4}
			assert.Equal(t, "rt-4", ends(b.held).Spent.Reveal())
			assert.Equal(t, b.held.Record.Spent, ends(b.held).Record.Spent, "what was spent before stays known")
			b.held.Attempt = nil
			assert.True(t, ends(b.held).Spent.IsZero())
		})
	}
}
