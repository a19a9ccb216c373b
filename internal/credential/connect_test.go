package credential_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// login is what an owner brings at noon.
func login() credential.Login {
	return credential.Login{
		ID: "acct-1", Provider: "acme", Subject: "u-9", Labels: map[string]string{"team": "red"},
		Token: token("at-new", "rt-new"), ExpiresIn: 2 * time.Hour,
	}
}

// connected is the record that login is expected to make of r.
func connected(r *credential.Record, p credential.Policy, in credential.Login, life time.Duration) {
	if r.CreatedAt == 0 || r.State == credential.StateDeleted {
		r.CreatedAt = noon
	}
	r.ID, r.Provider, r.Subject, r.Labels = in.ID, in.Provider, in.Subject, in.Labels
	r.Grant++
	r.Generation++
	r.GrantedAt, r.AskedAt = noon, noon
	r.IssuedAt, r.Lifetime, r.ExpiresAt = noon, life, noon.Add(life)
	r.Refreshable, r.RefreshAt = !in.Token.Refresh.IsZero(), 0
	r.HasRefresh, r.HasLogin = r.Refreshable, false
	if r.Refreshable {
		r.RefreshAt = p.PlanRefresh(r.ID, r.Version+1, noon, life)
	}
	r.LimitAt, r.WarnAt = 0, 0
	r.Failures, r.Rejected = 0, 0
	r.Rotations, r.LastAttempt = credential.Rotated{}, credential.Attempts{}
	entered(r, credential.StateActive, credential.ReasonNone)
}

// checkConnect checks what every login does beside the record.
func checkConnect(t *testing.T, w credential.Write, in credential.Login) {
	t.Helper()
	assert.Empty(t, cmp.Diff(&in.Token, w.Token))
	assert.True(t, w.Close, "an attempt of the earlier login stays open")
	assert.Nil(t, w.Open)
	assert.True(t, w.Attempt.IsZero(), "a login depends on an attempt")
	assert.False(t, w.Erase)
	if assert.NotNil(t, w.Alternates, "alternates of the earlier login stay") {
		assert.Empty(t, *w.Alternates)
	}
	for _, e := range w.Events {
		assert.Equal(t, credential.ByOwner, e.InitiatedBy)
		assert.Equal(t, in.Subject, e.Subject)
		assert.Equal(t, in.Labels, e.Labels)
		assert.Equal(t, w.Record.ExpiresAt, e.ExpiresAt)
	}
	assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
}

func TestConnectFirst(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	w := credential.Connect(nil, in, b.policy, b.nonce, noon)
	checkConnect(t, w, in)
	checkWrite(t, credential.Held{}, w, changed(credential.Held{}, w, noon, func(r *credential.Record) {
		connected(r, b.policy, in, 2*time.Hour)
	}), event{credential.EventConnected, credential.StateActive, "", credential.ReasonNone})
	assert.Zero(t, w.Revision)
	assert.True(t, w.Spent.IsZero())
	assert.Equal(t, uint64(1), w.Record.Version)
	assert.Equal(t, uint64(1), w.Record.Generation)
	assert.Equal(t, uint64(1), w.Record.Grant)
}

func TestConnectAgain(t *testing.T) {
	t.Parallel()
	for _, state := range credential.States() {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b, in := setup(t), login()
			b.in(state, true)
			b.held.Record.Rejected = 3
			b.held.Record.WarnAt, b.held.Record.LimitAt = noon+hour, noon+2*hour
			b.held.Alternates = []credential.Alternate{{Nonce: nonceOf(1), Generation: 4}}
			w := credential.Connect(&b.held, in, b.policy, b.nonce, noon)
			checkConnect(t, w, in)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				connected(r, b.policy, in, 2*time.Hour)
			}), event{credential.EventReauthorized, credential.StateActive, state, credential.ReasonNone})
			assert.Equal(t, "rt-4", w.Spent.Reveal(), "the replaced refresh token must not come back")
		})
	}
}

func TestConnectSameRefreshToken(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	in.Token = token("at-new", "rt-4")
	assert.True(t, credential.Connect(&b.held, in, b.policy, b.nonce, noon).Spent.IsZero())
}

// A tombstone's numbers are continued: nobody who remembers the deleted record
// takes the new one for an old version of it.
func TestConnectContinuesTombstone(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	dead := credential.Delete(b.held, nonceOf(40), noon-minute).Result(b.held)
	w := credential.Connect(&dead, in, b.policy, b.nonce, noon)
	checkConnect(t, w, in)
	checkWrite(t, dead, w, changed(dead, w, noon, func(r *credential.Record) { connected(r, b.policy, in, 2*time.Hour) }),
		event{credential.EventConnected, credential.StateActive, credential.StateDeleted, credential.ReasonNone})
	assert.Equal(t, b.held.Record.Version+2, w.Record.Version)
	assert.Equal(t, b.held.Record.Grant+2, w.Record.Grant)
	assert.Equal(t, b.held.Record.Generation+1, w.Record.Generation)
	assert.Equal(t, dead.Record.Revision, w.Revision)
	assert.True(t, w.Spent.IsZero())
}

func TestConnectExpiry(t *testing.T) {
	t.Parallel()
	type given struct {
		in    time.Duration
		at    credential.Millis
		plain bool // without a refresh token
	}
	for name, c := range map[string]struct {
		given
		assumed time.Duration
		want    credential.Millis
		life    time.Duration
		state   credential.State
	}{
		"told":                      {given{in: time.Minute}, 0, noon + minute, time.Minute, credential.StateActive},
		"told, without refresh":     {given{in: time.Minute, plain: true}, 0, noon + minute, time.Minute, credential.StateActive},
		"told for ever":             {given{in: 9 * credential.MaxLifetime}, 0, noon.Add(credential.MaxLifetime), credential.MaxLifetime, credential.StateActive},
		"a moment":                  {given{at: noon + 1}, 0, noon + 1, time.Millisecond, credential.StateActive},
		"a moment wins":             {given{in: time.Minute, at: noon + hour}, 0, noon + hour, time.Hour, credential.StateActive},
		"a moment in the year 9999": {given{at: 253_402_300_799_000}, 0, noon.Add(credential.MaxLifetime), credential.MaxLifetime, credential.StateActive},
		"a moment two years off":    {given{at: noon.Add(2 * credential.MaxLifetime)}, 0, noon.Add(credential.MaxLifetime), credential.MaxLifetime, credential.StateActive},
		"nothing":                   {given{}, 0, noon + hour, time.Hour, credential.StateActive},
		"the provider's":            {given{}, 8 * time.Hour, noon + 8*hour, 8 * time.Hour, credential.StateActive},
		"now":                       {given{at: noon}, 0, noon, 0, credential.StateExpired},
		"a millisecond ago":         {given{at: noon - 1}, 0, noon - 1, 0, credential.StateExpired},
		"years ago":                 {given{at: noon - 90_000*hour}, 0, noon - 90_000*hour, 0, credential.StateExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, in := setup(t), login()
			b.policy.DefaultLifetime = c.assumed
			in.ExpiresIn, in.ExpiresAt = c.in, c.at
			if c.plain {
				in.Token.Refresh = credential.Secret{}
			}
			w := credential.Connect(&b.held, in, b.policy, b.nonce, noon)
			checkConnect(t, w, in)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				connected(r, b.policy, in, c.life)
				r.ExpiresAt, r.State = c.want, c.state
				if c.state == credential.StateExpired {
					r.RefreshAt, r.Since = noon, noon
				}
			}), event{credential.EventReauthorized, c.state, credential.StateActive, credential.ReasonNone})
			if c.state == credential.StateExpired {
				assert.Equal(t, credential.Work{Refresh: true}, credential.Due(w.Record, nil, noon))
			}
		})
	}
}

// A token that is dead on arrival and cannot be refreshed is for a person to
// mend; "expired" would promise refreshes that never come.
func TestConnectDeadForGood(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	in.ExpiresIn, in.ExpiresAt, in.Token.Refresh = 0, noon-minute, credential.Secret{}
	w := credential.Connect(nil, in, b.policy, b.nonce, noon)
	checkConnect(t, w, in)
	checkWrite(t, credential.Held{}, w, changed(credential.Held{}, w, noon, func(r *credential.Record) {
		connected(r, b.policy, in, 0)
		r.ExpiresAt = noon - minute
		r.State, r.Reason = credential.StateReauthRequired, credential.ReasonNotRefreshable
	}),
		event{credential.EventConnected, credential.StateExpired, "", credential.ReasonNone},
		event{credential.EventReauthRequired, credential.StateReauthRequired, credential.StateExpired, credential.ReasonNotRefreshable})
	assert.Zero(t, w.Due)
}

// A refresh token alone is a login whose first access token is still to come.
func TestConnectRefreshTokenAlone(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	in.Token.Access = credential.Secret{}
	w := credential.Connect(nil, in, b.policy, b.nonce, noon)
	checkConnect(t, w, in)
	assert.Equal(t, credential.StatePending, w.Record.State)
	assert.False(t, w.Record.ValidAt(noon, 0), "an empty token would be served")
	assert.Zero(t, w.Record.ExpiresAt)
	assert.Equal(t, credential.Work{Refresh: true}, credential.Due(w.Record, nil, noon))
	checkUnshared(t, credential.Held{}, w)
}

// Who has no token yet was not authorised, whatever was there before.
func TestConnectPendingIsNotReauthorized(t *testing.T) {
	t.Parallel()
	for _, state := range credential.States() {
		b, in := setup(t), login()
		b.in(state, false)
		b.policy.CanLogin = true
		in.Token, in.SignIn = credential.Token{}, signIn("pw")
		in.Failed = credential.Outcome{Method: credential.MethodLogin, Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
		w := credential.Connect(&b.held, in, b.policy, b.nonce, noon)
		assert.Equal(t, []credential.EventType{credential.EventConnected}, types(w), state)
		assert.Equal(t, credential.StatePending, w.Record.State, state)
		assert.Equal(t, state, w.Events[0].PreviousState)
		assert.Equal(t, credential.ReasonUnavailable, w.Events[0].Reason, state)
		assert.Equal(t, b.held.Record.Version+1, w.Record.Version, state)
	}
}

// A login that was not even begun tells why, and counts as no failure: it is due as
// soon as nothing stands in its way.
func TestConnectOfALoginThatWasNotBegun(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	b.policy.CanLogin = true
	in.Token, in.SignIn = credential.Token{}, signIn("pw")
	in.Failed = credential.Outcome{Reason: credential.ReasonRateLimited}
	w := credential.Connect(nil, in, b.policy, b.nonce, noon)
	assert.Equal(t, credential.StatePending, w.Record.State)
	assert.Equal(t, credential.ReasonRateLimited, w.Record.Reason)
	assert.Equal(t, credential.Attempts{FailedAt: noon, Failure: credential.ReasonRateLimited}, w.Record.LastAttempt)
	assert.Zero(t, w.Record.Failures)
	assert.Equal(t, credential.Work{Refresh: true}, credential.Due(w.Record, nil, noon))
	checkUnshared(t, credential.Held{}, w)
}

// A pause is its owner's word about calls, which a new login does not take back.
// With the credential itself it ends.
func TestConnectKeepsThePause(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	b.held.Record.Paused = true
	w := credential.Connect(&b.held, in, b.policy, b.nonce, noon)
	assert.True(t, w.Record.Paused)
	assert.Equal(t, w.Record.ExpiresAt, w.Due, "its expiry is told, and nothing is presented")

	in.Token, in.SignIn, b.policy.CanLogin = credential.Token{}, signIn("pw"), true
	w = credential.Connect(&b.held, in, b.policy, b.nonce, noon)
	assert.Equal(t, credential.StatePending, w.Record.State)
	assert.Zero(t, w.Due)
	on, ok := credential.SetPaused(w.Result(b.held), false, nonceOf(41), noon+minute)
	assert.True(t, ok)
	assert.True(t, credential.Due(on.Record, nil, noon+minute).Refresh, "it signs in once it may")

	gone := credential.Delete(b.held, nonceOf(40), noon).Result(b.held)
	assert.False(t, credential.Connect(&gone, login(), b.policy, b.nonce, noon).Record.Paused)
}

func TestConnectAbsoluteLimit(t *testing.T) {
	t.Parallel()
	const day = 24 * hour
	for name, c := range map[string]struct {
		absolute, before time.Duration
		plain            bool
		limit, warn      credential.Millis
	}{
		"none":                     {0, 7 * 24 * time.Hour, false, 0, 0},
		"a year":                   {365 * 24 * time.Hour, 7 * 24 * time.Hour, false, noon + 365*day, noon + 358*day},
		"announced when it comes":  {24 * time.Hour, 0, false, noon + day, noon + day},
		"shorter than the warning": {24 * time.Hour, 7 * 24 * time.Hour, false, noon + day, noon + day/2},
		"as long as the warning":   {24 * time.Hour, 24 * time.Hour, false, noon + day, noon + day/2},
		"a moment":                 {time.Millisecond, time.Hour, false, noon + 1, noon + 1},
		"no refresh token to die":  {24 * time.Hour, time.Hour, true, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, in := setup(t), login()
			b.policy.RefreshAbsolute, b.policy.WarnBefore = c.absolute, c.before
			if c.plain {
				in.Token.Refresh = credential.Secret{}
			}
			w := credential.Connect(&b.held, in, b.policy, b.nonce, noon)
			assert.Equal(t, c.limit, w.Record.LimitAt)
			assert.Equal(t, c.warn, w.Record.WarnAt)
			assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
		})
	}
}

// The caller's labels stay the caller's.
func TestConnectCopiesLabels(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	w := credential.Connect(nil, in, b.policy, b.nonce, noon)
	in.Labels["team"] = "green"
	assert.Equal(t, map[string]string{"team": "red"}, w.Record.Labels)
	assert.Equal(t, map[string]string{"team": "red"}, w.Events[0].Labels)
}

// A login that was made at the backend counts from when that was asked; one whose
// token was brought counts as an act of its owner's, where somebody can log in there.
// A record of what nobody logs in to stays as it is.
func TestConnectTellsALoginFromWhatWasBrought(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		canLogin bool
		asked    credential.Millis
		granted  credential.Millis
		acts     uint64
	}{
		"brought, and nobody logs in":             {granted: noon, acts: 3},
		"brought, and somebody may log in":        {canLogin: true, granted: noon, acts: 4},
		"made at the backend":                     {canLogin: true, asked: noon - minute, granted: noon - minute, acts: 3},
		"made, and the clock has been set since":  {canLogin: true, asked: noon + minute, granted: noon, acts: 3},
		"made, and the settings have lost a call": {asked: noon - minute, granted: noon - minute, acts: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, in := setup(t), login()
			b.policy.CanLogin, b.held.Record.Acts, in.AskedAt = c.canLogin, 3, c.asked
			r := credential.Connect(&b.held, in, b.policy, b.nonce, noon).Record
			assert.Equal(t, c.granted, r.GrantedAt)
			assert.Equal(t, c.acts, r.Acts)
			assert.Equal(t, noon, r.IssuedAt)
		})
	}
}

// What is known of a user stays with the next token of the same one, and goes with that
// of anybody else, and of somebody of whom nothing is told.
func TestConnectKeepsTheUserDataOfTheSameSubject(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, subject, provider string
		kept                      bool
	}{
		"the same":            {"user-1", "user-1", "acme", true},
		"another":             {"user-1", "user-2", "acme", false},
		"of another provider": {"user-1", "user-1", "other", false},
		"not told":            {"user-1", "", "acme", false},
		"not known":           {"", "user-1", "acme", false},
		"neither":             {"", "", "acme", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, in := setup(t), login()
			b.held.Record.Provider, b.held.Record.Subject = "acme", c.before
			b.held.UserData = credential.UserData(`{"tier":1}`)
			in.Provider, in.Subject = c.provider, c.subject
			w := credential.Connect(&b.held, in, b.policy, b.nonce, noon)
			assert.Equal(t, c.kept, w.Result(b.held).UserData != nil)
		})
	}
}
