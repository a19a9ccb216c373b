package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

const absolute = 2 * time.Hour

// limited makes the fixture's session one that its backend ends two hours after
// its login, used or not, and of which the login is kept.
func (b *bundle) limited(presence credential.Presence) {
	b.session(credential.PresencePassive)
	b.policy.RefreshAt, b.policy.CanLogin = 2.0/3, true
	b.policy.Sessions.Absolute = absolute
	in := credential.Login{ID: "acct-1", Provider: "acme", Token: token("at-4", ""), SignIn: signIn("secret")}
	h := credential.Connect(&b.held, in, b.policy, nonceOf(5), used).Result(b.held)
	if w, ok := credential.SetPresence(h, presence, b.policy, nonceOf(6), used); ok {
		h = w.Result(h)
	}
	b.held = h
}

// useUntil is a user who uses the session every five minutes; it returns the
// moment at which something is due all the same, at the latest until.
func (b *bundle) useUntil(until credential.Millis) credential.Millis {
	for {
		next := credential.NextDue(b.held.Record, b.held.Attempt)
		if at := b.held.Record.IssuedAt + 5*minute; next == 0 || next > at {
			if at >= until {
				return until
			}
			b.touched(at)
			continue
		}
		return min(next, until)
	}
}

// A session with an absolute limit is replaced by a silent login ahead of it, with
// the lead of a login ahead of an expiry, also where it is in use all the time.
func TestASessionIsReplacedAheadOfItsLimit(t *testing.T) {
	t.Parallel()
	limit := used.Add(absolute)
	for name, row := range map[string]struct {
		presence credential.Presence
		onActive credential.OnActive
		ahead    bool
	}{
		"passive":            {credential.PresencePassive, credential.ActiveExtend, true},
		"active":             {credential.PresenceActive, credential.ActiveExtend, true},
		"active, and ends":   {credential.PresenceActive, credential.ActiveEnd, false},
		"in the background":  {credential.PresenceBackground, credential.ActiveExtend, false},
		"passive, and ends":  {credential.PresencePassive, credential.ActiveEnd, true},
		"nobody has told of": {"", credential.ActiveExtend, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.limited(credential.PresencePassive)
			b.policy.Sessions.OnActive = row.onActive
			if row.presence != credential.PresencePassive {
				w, ok := credential.SetPresence(b.held, row.presence, b.policy, nonceOf(9), used)
				require.True(t, ok)
				b.held = w.Result(b.held)
			}
			var due credential.Millis
			for due = b.useUntil(limit); due < limit; due = b.useUntil(limit) {
				if credential.Due(b.held.Record, nil, due).Refresh {
					break
				}
				w, ok := credential.Advance(b.held, b.policy, nonceOf(10), due) // a warning
				require.True(t, ok, "%+v", b.held.Record)
				b.held = w.Result(b.held)
			}
			if !row.ahead {
				assert.Equal(t, limit, due)
				return
			}
			assert.GreaterOrEqual(t, due, used.Add(absolute/2))
			assert.Less(t, due, used.Add(absolute*9/10))
			for kind := range b.held.Record.LastEvents {
				assert.NotEqual(t, credential.EventSessionExpiring, kind, "of an end that does not come")
				assert.NotEqual(t, credential.EventExpiring, kind, "of an end that does not come")
			}
		})
	}
}

// An extension whose new idle deadline could not come later than the limit, which
// is the session's end already, is not made.
func TestNoExtensionThatBringsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.limited(credential.PresencePassive)
	b.policy.CanLogin, b.policy.Sessions.Absolute = false, 25*time.Minute
	in := credential.Login{ID: "acct-1", Provider: "acme", Token: token("at-4", "")}
	b.held = credential.Connect(&b.held, in, b.policy, nonceOf(7), used).Result(b.held)
	b.touched(used + 9*minute)
	assert.GreaterOrEqual(t, b.held.Record.RefreshAt, used+19*minute, "the limit is a minute after the idle deadline")
	b.touched(used + 10*minute)
	assert.Zero(t, b.held.Record.RefreshAt, "it lives to its limit")
	assert.Equal(t, used+25*minute, b.held.Record.ExpiresAt)
}

// due is the moment at which the fixture's session is replaced.
func (b *bundle) due() credential.Millis { return b.held.Record.Session.Successor.At }

// loginFails is a login ahead of the limit, at a moment, that brings nothing.
func (b *bundle) loginFails(t *testing.T, at credential.Millis, o credential.Outcome) credential.Write {
	t.Helper()
	refusal, attempt := credential.Grant(b.held, credential.Begin{ID: "acct-1", Nonce: nonceOf(100 + b.held.Record.Revision), Lasts: time.Minute}, at)
	require.Equal(t, credential.RefusedNot, refusal)
	require.Equal(t, credential.MethodLogin, b.policy.MethodAt(b.held.Record, at))
	b.open(*attempt)
	o.Method = credential.MethodLogin
	w := credential.Fail(b.held, *attempt, o, b.policy, credential.BySchedule, at)
	b.held = w.Result(b.held)
	return w
}

// usedAt is the session in use until a moment.
func (b *bundle) usedAt(at credential.Millis) {
	for b.held.Record.IssuedAt+5*minute < at {
		b.touched(b.held.Record.IssuedAt + 5*minute)
	}
}

// A login ahead of the limit that fails leaves the session in use, and its
// extensions alone; it is made again with growing waits, and the end is told from
// then on.
func TestALoginAheadOfTheLimitThatFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.limited(credential.PresenceActive)
	limit := b.held.Record.LimitAt
	b.usedAt(b.due())
	extension := b.held.Record.RefreshAt
	require.NotZero(t, extension)
	away := credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
	at := b.due()
	w := b.loginFails(t, at, away)
	assert.Equal(t, []credential.EventType{credential.EventDegraded}, types(w))
	assert.True(t, w.Record.ValidAt(at, 0))
	assert.Equal(t, extension, w.Record.RefreshAt)
	assert.Zero(t, w.Record.Failures, "they are those of the extension")
	assert.Nil(t, b.held.Attempt)

	b.attempt.Nonce, b.attempt.Generation = nonceOf(11), b.held.Record.Generation
	b.open(b.attempt)
	w = b.extend(at+second, at+second)
	assert.Equal(t, []credential.EventType{credential.EventSessionExtended}, types(w), "it is not recovered yet")
	assert.Equal(t, credential.StateDegraded, w.Record.State)
	b.held = w.Result(b.held)

	waits := 0
	for last := time.Duration(0); b.due() < limit; waits++ {
		wait := b.due().Sub(at)
		assert.GreaterOrEqual(t, wait, last*4/5)
		at, last = b.due(), min(wait, 4*time.Minute)
		b.usedAt(at)
		assert.Empty(t, b.loginFails(t, at, away).Events, "said once")
	}
	assert.Greater(t, waits, 5)
	b.usedAt(limit - minute)
	assert.LessOrEqual(t, b.held.Record.Session.CountdownAt, limit-minute, "the end is told")
	told, ok := credential.Advance(b.held, b.policy, nonceOf(12), limit-minute)
	require.True(t, ok)
	assert.Contains(t, types(told), credential.EventSessionExpiring)
	assert.Contains(t, types(told), credential.EventExpiring)

	over, ok := credential.Advance(b.held, b.policy, nonceOf(13), limit)
	require.True(t, ok)
	assert.Equal(t, credential.StateExpired, over.Record.State)
	assert.Equal(t, credential.ReasonAbsoluteTimeout, over.Record.Reason)
	assert.Equal(t, b.due(), over.Record.RefreshAt, "after its wait")

	got := credential.Received{Method: credential.MethodLogin, Token: token("at-5", ""), SentAt: b.due()}
	b.open(b.attempt)
	next := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, b.due()).Record
	assert.Zero(t, next.Session.Successor.Failures)
	assert.Equal(t, got.SentAt.Add(absolute), next.LimitAt)
	assert.Less(t, next.Session.Successor.At, next.LimitAt)
}

// A login that is answered without a verdict is not made again within the hour,
// also where the session ends before, whoever asks and whoever comes or goes.
func TestALoginAheadOfTheLimitWithoutAVerdict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.limited(credential.PresencePassive)
	at := b.due()
	b.usedAt(at)
	b.loginFails(t, at, credential.Outcome{Class: credential.ClassRefused, Reason: credential.ReasonInvalidRequest})
	for i, to := range []credential.Presence{credential.PresenceActive, credential.PresenceBackground, credential.PresencePassive} {
		w, ok := credential.SetPresence(b.held, to, b.policy, nonceOf(uint64(20+i)), at+second)
		require.True(t, ok)
		b.held = w.Result(b.held)
	}
	assert.GreaterOrEqual(t, b.due(), at+hour)
	b.open(b.attempt)
	o := over()
	w := credential.Fail(b.held, b.attempt, o, b.policy, credential.ByDemand, at+2*second)
	b.held = w.Result(b.held)
	require.Equal(t, credential.MethodLogin, b.policy.Method(w.Record))
	assert.GreaterOrEqual(t, w.Record.RefreshAt, at+hour)
	assert.GreaterOrEqual(t, b.policy.LoginAt(w.Record), at+hour)

	// A refusal stops at once.
	b = setup(t)
	b.limited(credential.PresencePassive)
	b.usedAt(b.due())
	w = b.loginFails(t, b.due(), credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonLoginRefused})
	assert.Equal(t, []credential.EventType{credential.EventReauthRequired}, types(w))
	assert.Zero(t, w.Due)
	assert.False(t, w.Record.HasLogin)
}

// A session lives by the present settings soon after they have changed; it is not
// called dead by them while it lives by those of before.
func TestTune(t *testing.T) {
	t.Parallel()
	tune := func(t *testing.T, b *bundle, now credential.Millis) credential.Record {
		t.Helper()
		b.held.Attempt = nil
		w, ok := credential.Tune(b.held, b.policy, nonceOf(30), now)
		require.True(t, ok)
		assert.Empty(t, w.Events)
		assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
		again, ok := credential.Tune(w.Result(b.held), b.policy, nonceOf(31), now)
		assert.False(t, ok, "%+v", again.Record)
		return w.Record
	}
	for name, c := range map[string]struct {
		presence credential.Presence
		change   func(*credential.Policy)
		check    func(t *testing.T, before, r credential.Record)
	}{
		"longer": {credential.PresencePassive, func(p *credential.Policy) { p.Sessions.Idle = time.Hour }, func(t *testing.T, before, r credential.Record) {
			t.Helper()
			assert.Equal(t, before.IssuedAt+hour, r.ExpiresAt)
			assert.GreaterOrEqual(t, r.RefreshAt, before.IssuedAt+40*minute)
		}},
		"shorter": {credential.PresencePassive, func(p *credential.Policy) { p.Sessions.Idle = 9 * time.Minute }, func(t *testing.T, before, r credential.Record) {
			t.Helper()
			assert.Equal(t, before.IssuedAt+9*minute, r.ExpiresAt)
			assert.Less(t, r.RefreshAt, before.RefreshAt)
		}},
		"over by them": {credential.PresencePassive, func(p *credential.Policy) { p.Sessions.Idle = 4 * time.Minute }, func(t *testing.T, before, r credential.Record) {
			t.Helper()
			assert.Equal(t, before.ExpiresAt, r.ExpiresAt, "that is for its backend to say")
			assert.Equal(t, noon, r.RefreshAt, "at once")
			assert.Equal(t, noon+4*minute, r.Touched(noon+1).ExpiresAt-1)
		}},
		"over by them, and away": {credential.PresenceBackground, func(p *credential.Policy) { p.Sessions.Idle = 4 * time.Minute }, func(t *testing.T, before, r credential.Record) {
			t.Helper()
			assert.Equal(t, before.ExpiresAt, r.ExpiresAt)
			assert.Zero(t, r.RefreshAt)
		}},
		"over by them, and to end": {credential.PresenceActive, func(p *credential.Policy) {
			p.Sessions.Idle, p.Sessions.OnActive = 4*time.Minute, credential.ActiveEnd
		}, func(t *testing.T, before, r credential.Record) {
			t.Helper()
			assert.Equal(t, before.ExpiresAt, r.ExpiresAt)
			assert.Zero(t, r.RefreshAt)
			assert.Equal(t, before.ExpiresAt-2*minute, r.Session.CountdownAt)
		}},
		"told earlier": {credential.PresenceActive, func(p *credential.Policy) { p.Sessions.WarnBefore = 5 * time.Minute }, func(t *testing.T, before, r credential.Record) {
			t.Helper()
			assert.Equal(t, before.ExpiresAt-5*minute, r.Session.CountdownAt)
		}},
		"a limit": {credential.PresencePassive, func(p *credential.Policy) { p.Sessions.Absolute = time.Hour }, func(t *testing.T, _, r credential.Record) {
			t.Helper()
			assert.Equal(t, used+hour, r.LimitAt)
		}},
		"a limit that has passed": {credential.PresencePassive, func(p *credential.Policy) {
			p.Sessions.Absolute, p.WarnBefore, p.Sessions.Idle = 4*time.Minute, 0, 4*time.Minute
		}, func(t *testing.T, before, r credential.Record) {
			t.Helper()
			assert.Zero(t, r.LimitAt)
			assert.Equal(t, before.ExpiresAt, r.ExpiresAt)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.session(c.presence)
			before := copyRecord(b.held.Record)
			_, differs := credential.Tune(b.held, b.policy, nonceOf(30), noon)
			require.False(t, differs, "nothing has changed")
			c.change(&b.policy)
			c.check(t, before, tune(t, b, noon))
			assert.Equal(t, before, b.held.Record)
		})
	}

	b := setup(t)
	b.session(credential.PresencePassive)
	b.policy.Sessions.Idle = time.Hour
	for name, change := range map[string]func(*credential.Record){
		"over":       func(r *credential.Record) { r.Session.Ended = true },
		"expired":    func(r *credential.Record) { r.State = credential.StateExpired },
		"at its end": func(r *credential.Record) { r.ExpiresAt = noon },
		"pending":    func(r *credential.Record) { r.State, r.ExpiresAt = credential.StatePending, 0 },
	} {
		h := copyHeld(b.held)
		change(&h.Record)
		_, differs := credential.Tune(h, b.policy, nonceOf(30), noon)
		assert.False(t, differs, name)
	}
}

// An extension that was begun before the login ahead of the limit had come due,
// and whose process died, is no failure of that login: it is made again with a
// wait of its own. A login whose process died is one.
func TestAnExtensionWhoseOwnerDiedIsNoFailedLogin(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		refresh         bool // there is a refresh token beside the login
		begun           time.Duration
		failed, succeed int
	}{
		"an extension":                        {false, -20 * time.Second, 1, 0},
		"an extension beside a refresh token": {true, -20 * time.Second, 1, 0},
		"a login":                             {false, time.Second, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.limited(credential.PresenceActive)
			b.usedAt(b.due())
			at := b.due().Add(row.begun)
			b.attempt.Generation, b.attempt.BegunAt = b.held.Record.Generation, at
			b.held.Record.HasRefresh = row.refresh
			b.held.Record.RefreshAt = at
			b.open(b.attempt)
			now := b.due() + 10*second
			w := credential.Doubt(b.held, b.attempt, b.policy, now)
			assert.Equal(t, row.failed, w.Record.Failures)
			assert.Equal(t, row.succeed, w.Record.Session.Successor.Failures)
			if row.failed > 0 {
				assert.Greater(t, w.Record.RefreshAt, now, "with a wait")
				assert.Equal(t, b.due(), w.Record.Session.Successor.At, "the login is made now")
			}
		})
	}
}

// Nor is an extension one that brought no token to go on with.
func TestAnExtensionThatBringsNothingIsNoFailedLogin(t *testing.T) {
	t.Parallel()
	for name, got := range map[string]credential.Received{
		"no access token": {Token: token("", "rt-5")},
		"dead on arrival": {Token: token("at-5", "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.limited(credential.PresencePassive)
			b.usedAt(b.due())
			b.attempt.Generation, b.attempt.BegunAt = b.held.Record.Generation, b.due()-20*second
			b.open(b.attempt)
			now := b.due() + 10*second
			got.Method, got.SentAt = credential.MethodExtend, b.attempt.BegunAt
			if !got.Token.Access.IsZero() {
				now = got.SentAt.Add(idle)
			}
			w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, now)
			assert.Equal(t, 1, w.Record.Failures)
			assert.Zero(t, w.Record.Session.Successor.Failures)
		})
	}
}

// Nor is the end announced of a session that was just logged in again after one
// that is over, or by its user, before the login has had its time.
func TestTheCountdownOfANewSessionLeavesTheLoginItsTime(t *testing.T) {
	t.Parallel()
	for _, row := range []string{"a silent login after the end", "its owner's login after the end", "a login in time"} {
		t.Run(row, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.limited(credential.PresencePassive)
			b.policy.Sessions.Idle, b.policy.Sessions.Absolute, b.policy.Sessions.WarnBefore = 10*time.Minute, 10*time.Minute, 5*time.Minute
			in := credential.Login{ID: "acct-1", Provider: "acme", Token: token("at-4", ""), SignIn: signIn("secret")}
			b.held = credential.Connect(&b.held, in, b.policy, nonceOf(5), used).Result(b.held)
			w, ok := credential.SetPresence(b.held, credential.PresenceActive, b.policy, nonceOf(6), used)
			require.True(t, ok)
			b.held = w.Result(b.held)
			at := used + 5*minute
			if row != "a login in time" {
				at = b.held.Record.LimitAt
				w, ok = credential.Advance(b.held, b.policy, nonceOf(7), at)
				require.True(t, ok)
				b.held = w.Result(b.held)
				require.Equal(t, credential.StateExpired, b.held.Record.State)
			}
			if row == "its owner's login after the end" {
				in.Token = token("at-5", "")
				w = credential.Connect(&b.held, in, b.policy, nonceOf(8), at)
			} else {
				b.attempt.Generation, b.attempt.BegunAt = b.held.Record.Generation, at
				b.open(b.attempt)
				got := credential.Received{Method: credential.MethodLogin, Token: token("at-5", ""), SentAt: at}
				w = credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, at)
			}
			r := w.Record
			require.Equal(t, credential.StateActive, r.State)
			assert.Equal(t, at.Add(10*time.Minute), r.LimitAt)
			require.Greater(t, r.QuietUntil(), at+5*minute)
			assert.Equal(t, r.QuietUntil(), r.Session.CountdownAt)
			assert.GreaterOrEqual(t, r.AnnouncedAt(), r.QuietUntil())
		})
	}
}
