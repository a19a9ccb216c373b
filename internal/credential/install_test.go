package credential_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// sent is when the fixture's exchange was sent.
const sent = noon - second

// installed is the record that a received token is expected to make of r.
func installed(r *credential.Record, p credential.Policy, life time.Duration, rotated bool) {
	r.Generation++
	r.IssuedAt, r.Lifetime, r.ExpiresAt = sent, life, sent.Add(life)
	r.RefreshAt = p.PlanRefresh(r.ID, r.Version+1, sent, life)
	r.Failures, r.RefreshOnly, r.Rejected = 0, 0, 0
	r.LastAttempt.SucceededAt = noon
	if rotated {
		r.Rotations = credential.Rotated{Seen: true}
	} else {
		r.Rotations.Kept++
	}
	entered(r, credential.StateActive, credential.ReasonNone)
}

// failed is the edit of a record on which one more attempt failed.
func failed(r *credential.Record, p credential.Policy, reason credential.Reason) {
	r.Failures++
	r.LastAttempt.FailedAt, r.LastAttempt.Failure, r.LastAttempt.Detail = noon, reason, ""
	r.RefreshAt = noon.Add(p.Backoff(r.ID, r.Failures, r.Lifetime))
}

func TestInstallRotated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := credential.Received{Token: token("at-5", "rt-5"), SentAt: sent, ExpiresIn: 2 * time.Hour}
	w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { installed(r, b.policy, 2*time.Hour, true) }),
		event{credential.EventRefreshed, credential.StateActive, credential.StateActive, credential.ReasonNone})
	want := token("at-5", "rt-5")
	want.Scope = "read write" // told by neither: unchanged
	assert.Empty(t, cmp.Diff(&want, w.Token))
	assert.Equal(t, "rt-4", w.Spent.Reveal())
	assert.Equal(t, b.attempt.Nonce, w.Attempt)
	assert.Equal(t, b.attempt.Nonce, w.Nonce, "an installed token is recognised by its attempt's nonce")
	assert.True(t, w.Close)
	assert.Nil(t, w.Open)
	assert.Nil(t, w.Alternates)
	assert.Equal(t, w.Record.RefreshAt, w.Due)
	assert.Equal(t, credential.BySchedule, w.Events[0].InitiatedBy)
	assert.Equal(t, sent+2*hour, w.Events[0].ExpiresAt)
}

func TestInstallKept(t *testing.T) {
	t.Parallel()
	for name, refresh := range map[string]string{"none told": "", "the same again": "rt-4"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.policy.Rotates = credential.RotatesAuto
			b.held.Record.Rotations = credential.Rotated{Kept: 1}
			got := credential.Received{Token: token("at-5", refresh), SentAt: sent, ExpiresIn: time.Hour}
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.ByDemand, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { installed(r, b.policy, time.Hour, false) }),
				event{credential.EventRefreshed, credential.StateActive, credential.StateActive, credential.ReasonNone})
			assert.Equal(t, "rt-4", w.Token.Refresh.Reveal(), "RFC 6749 section 6")
			assert.Equal(t, "at-5", w.Token.Access.Reveal())
			assert.True(t, w.Spent.IsZero())
			assert.Equal(t, 2, w.Record.Rotations.Kept)
			assert.True(t, w.Close)
		})
	}
}

func TestInstallRecovers(t *testing.T) {
	t.Parallel()
	for _, state := range []credential.State{credential.StatePending, credential.StateDegraded, credential.StateExpired} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(state, state != credential.StateExpired)
			b.held.Record.Failures = 7
			got := credential.Received{Token: token("at-5", "rt-5"), SentAt: sent, ExpiresIn: time.Hour}
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { installed(r, b.policy, time.Hour, true) }),
				event{credential.EventRecovered, credential.StateActive, state, credential.ReasonNone})
		})
	}
}

func TestInstallScope(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, told, after string
		changed             bool
	}{
		"not told":            {"read write", "", "read write", false},
		"the same":            {"read write", "read write", "read write", false},
		"another order":       {"read write", "write  read", "write  read", false},
		"twice the same":      {"read write", "read read write", "read read write", false},
		"shrank":              {"read write", "read", "read", true},
		"grew":                {"read", "read write", "read write", true},
		"another":             {"read", "write", "write", true},
		"case counts":         {"read", "Read", "Read", true},
		"never known, told":   {"", "read", "read", false},
		"never known, untold": {"", "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.held.Token.Scope = c.before
			got := credential.Received{Token: token("at-5", "rt-5"), SentAt: sent, ExpiresIn: time.Hour}
			got.Token.Scope = c.told
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
			events := []event{{credential.EventRefreshed, credential.StateActive, credential.StateActive, credential.ReasonNone}}
			if c.changed {
				events = append(events, event{credential.EventClaimsChanged, credential.StateActive, credential.StateActive, credential.ReasonNone})
			}
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { installed(r, b.policy, time.Hour, true) }), events...)
			assert.Equal(t, c.after, w.Token.Scope)
		})
	}
}

func TestInstallTokenType(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := credential.Received{Token: token("at-5", "rt-5"), SentAt: sent}
	got.Token.Type = ""
	assert.Equal(t, "Bearer", credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon).Token.Type)
	got.Token.Type = "DPoP"
	assert.Equal(t, "DPoP", credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon).Token.Type)
}

func TestInstallLifetime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in      time.Duration
		at      credential.Millis
		assumed time.Duration
		want    time.Duration
	}{
		"told":                  {90 * time.Minute, 0, 0, 90 * time.Minute},
		"told beats JWT":        {90 * time.Minute, sent + hour, 0, 90 * time.Minute},
		"JWT":                   {0, sent + 2*hour, 8 * time.Hour, 2 * time.Hour},
		"JWT already expired":   {0, sent - hour, 8 * time.Hour, 8 * time.Hour},
		"JWT in the year 3000":  {0, 32_503_680_000_000, 0, credential.MaxLifetime},
		"provider":              {0, 0, 8 * time.Hour, 8 * time.Hour},
		"nothing":               {0, 0, 0, time.Hour},
		"five minutes":          {5 * time.Minute, 0, 0, 5 * time.Minute},
		"for ever":              {1 << 62, 0, 0, credential.MaxLifetime},
		"just alive on arrival": {1001 * time.Millisecond, 0, 0, 1001 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.policy.DefaultLifetime = c.assumed
			got := credential.Received{Token: token("at-5", "rt-5"), SentAt: sent, ExpiresIn: c.in, ExpiresAt: c.at}
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { installed(r, b.policy, c.want, true) }),
				event{credential.EventRefreshed, credential.StateActive, credential.StateActive, credential.ReasonNone})
		})
	}
}

// A token whose life was over before it could be stored is installed all the
// same, for its refresh token is the current one. It is never served.
func TestInstallExpiredOnArrival(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state  credential.State
		events []event
	}{
		{credential.StateActive, []event{{credential.EventExpired, credential.StateExpired, credential.StateActive, credential.ReasonTimeout}}},
		{credential.StateDegraded, []event{{credential.EventExpired, credential.StateExpired, credential.StateDegraded, credential.ReasonTimeout}}},
		{credential.StateExpired, nil},
		{credential.StatePending, nil},
	} {
		t.Run(string(c.state), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(c.state, c.state != credential.StateExpired)
			got := credential.Received{Token: token("at-5", "rt-5"), SentAt: sent, ExpiresIn: time.Second}
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				state, reason := r.State, r.Reason
				since := r.Since
				installed(r, b.policy, time.Second, true)
				r.State, r.Reason, r.Since = state, reason, since
				failed(r, b.policy, credential.ReasonTimeout)
				if len(c.events) > 0 {
					entered(r, credential.StateExpired, credential.ReasonTimeout)
				}
			}), c.events...)
			assert.Equal(t, "rt-5", w.Token.Refresh.Reveal())
			assert.Equal(t, "rt-4", w.Spent.Reveal())
			assert.False(t, w.Record.ValidAt(noon, 0))
			assert.True(t, w.Close)
			assert.Equal(t, w.Record.RefreshAt, w.Due)
		})
	}
}

// A reply that held a new refresh token and no access token: the old access
// token is served to its end, and the next refresh comes soon.
func TestInstallWithoutAccessToken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state  credential.State
		alive  bool
		events []event
	}{
		{credential.StateActive, true, []event{{credential.EventDegraded, credential.StateDegraded, credential.StateActive, credential.ReasonMalformedReply}}},
		{credential.StateActive, false, []event{{credential.EventExpired, credential.StateExpired, credential.StateActive, credential.ReasonMalformedReply}}},
		{credential.StateDegraded, true, nil},
		{credential.StateDegraded, false, []event{{credential.EventExpired, credential.StateExpired, credential.StateDegraded, credential.ReasonMalformedReply}}},
		{credential.StateExpired, false, nil},
		{credential.StatePending, true, nil},
	} {
		t.Run(string(c.state), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(c.state, c.alive)
			before := b.held.Token.Access.Reveal()
			got := credential.Received{
				Token: credential.Token{Refresh: credential.NewSecret("rt-5")}, SentAt: sent, Partial: true, Rejected: true,
				Detail: "HTTP 200, no access_token at token",
			}
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
				r.Generation++ // nothing is learned: the token that was refused is served on
				r.RefreshOnly++
				r.Rotations = credential.Rotated{Seen: true}
				failed(r, b.policy, credential.ReasonMalformedReply)
				r.LastAttempt.Detail = got.Detail
				if len(c.events) > 0 {
					entered(r, c.events[0].State, credential.ReasonMalformedReply)
				}
			}), c.events...)
			assert.Equal(t, b.held.Record.Generation, w.Record.AccessGeneration(), "it is no newer one")
			assert.Equal(t, before, w.Token.Access.Reveal())
			assert.Equal(t, "rt-5", w.Token.Refresh.Reveal())
			assert.Equal(t, "rt-4", w.Spent.Reveal())
			assert.Equal(t, "Bearer", w.Token.Type)
			assert.Equal(t, "read write", w.Token.Scope)
			assert.True(t, w.Close)
			assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)

			after := w.Result(b.held)
			got.Token = credential.Token{Access: credential.NewSecret("at-6"), Refresh: credential.NewSecret("rt-6")}
			r := credential.Install(after, b.attempt, got, b.policy, credential.BySchedule, noon).Record
			assert.Equal(t, b.held.Record.Generation+2, r.AccessGeneration())
		})
	}
}

// A reply that was cut off after its access token may have held a new refresh
// token: the access token is served, and the old refresh token is in doubt.
func TestInstallCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Record.Rotations = credential.Rotated{Kept: 1}
	got := credential.Received{Token: token("at-5", ""), SentAt: sent, ExpiresIn: time.Hour, Partial: true, Detail: "HTTP 200, cut off"}
	w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
		installed(r, b.policy, time.Hour, false)
		r.Rotations = credential.Rotated{Kept: 1} // nothing was learned
		r.LastAttempt.FailedAt, r.LastAttempt.Failure, r.LastAttempt.Detail = noon, credential.ReasonMalformedReply, got.Detail
	}), event{credential.EventRefreshed, credential.StateActive, credential.StateActive, credential.ReasonNone})
	assert.False(t, w.Close)
	want := b.attempt
	want.Generation++
	want.Doubt, want.FirstSent, want.RecoverAt = true, b.attempt.BegunAt, sent+hour-minute
	assert.Empty(t, cmp.Diff(&want, w.Open))
	assert.Equal(t, w.Open.RecoverAt, w.Due)

	b.policy.Rotates = credential.RotatesNo
	w = credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	assert.True(t, w.Close, "where nothing rotates there is no doubt")
	assert.Nil(t, w.Open)

	b.policy.Rotates = credential.RotatesYes
	got.Token.Refresh = credential.NewSecret("rt-5")
	w = credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	assert.True(t, w.Close, "both tokens were read: nothing that matters is missing")
	assert.Nil(t, w.Open)
}

// Where every refresh brings a new refresh token, a whole reply without one was
// read wrongly: the access token is served, and the old refresh token may be
// spent.
func TestInstallWithoutTheRotation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Record.Rotations = credential.Rotated{Kept: 1}
	got := credential.Received{Token: token("at-5", ""), SentAt: sent, ExpiresIn: time.Hour, Detail: "HTTP 200, refresh_token was not found"}
	w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
		installed(r, b.policy, time.Hour, false)
		r.Rotations = credential.Rotated{Kept: 1} // nothing was learned
		r.LastAttempt.FailedAt, r.LastAttempt.Failure, r.LastAttempt.Detail = noon, credential.ReasonMalformedReply, got.Detail
	}), event{credential.EventRefreshed, credential.StateActive, credential.StateActive, credential.ReasonNone})
	assert.False(t, w.Close)
	want := b.attempt
	want.Generation++
	want.Doubt, want.FirstSent, want.RecoverAt = true, b.attempt.BegunAt, sent+hour-minute
	assert.Empty(t, cmp.Diff(&want, w.Open))
	assert.Equal(t, w.Open.RecoverAt, w.Due)

	b.policy.Grace = 2 * time.Hour
	w = credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	assert.Equal(t, w.Record.RefreshAt, w.Open.RecoverAt, "inside the grace the old one still works")
	b.recovery(b.attempt.BegunAt)
	lost := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	assert.Equal(t, lost.Record.RefreshAt, lost.Open.RecoverAt, "the doubt was about a reply that was lost")
	b.held.Record.LastAttempt = w.Record.LastAttempt
	w = credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	assert.Equal(t, sent+hour-minute, w.Open.RecoverAt, "once, and not over and over")
	b.held.Record.LastAttempt = credential.Attempts{}

	for _, rotates := range []credential.Rotates{credential.RotatesAuto, credential.RotatesNo} {
		b.policy.Rotates = rotates
		w = credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
		assert.True(t, w.Close, "the old one stays (RFC 6749 section 6): %s", rotates)
		assert.Equal(t, 2, w.Record.Rotations.Kept)
		assert.Empty(t, w.Record.LastAttempt.Detail)
	}
}

// A caller whose token was refused is told so only once per new token.
func TestInstallRejected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := credential.Received{Token: token("at-5", "rt-5"), SentAt: sent, Rejected: true}
	w := credential.Install(b.held, b.attempt, got, b.policy, credential.ByDemand, noon)
	assert.Equal(t, uint64(5), w.Record.Rejected)
	assert.Equal(t, w.Record.Generation, w.Record.Rejected)

	b.held.Record.Rejected = 4
	got.Rejected = false
	assert.Zero(t, credential.Install(b.held, b.attempt, got, b.policy, credential.ByDemand, noon).Record.Rejected)
}

// A token that is no session, and comes with the reply to another call, is a new token.
func TestInstallBesideAnotherCall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := credential.Received{Method: credential.MethodExtend, Token: token("at-5", ""), SentAt: sent, ExpiresIn: time.Hour}
	w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	assert.Equal(t, []credential.EventType{credential.EventRefreshed}, types(w))
}
