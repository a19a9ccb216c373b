package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// tuned is what becomes of the fixture's record at noon, by the present settings.
func (b *bundle) tuned(t *testing.T) credential.Record {
	t.Helper()
	b.held.Attempt = nil
	before := copyRecord(b.held.Record)
	w, ok := credential.Tune(b.held, b.policy, nonceOf(30), noon)
	require.True(t, ok)
	assert.Empty(t, w.Events)
	assert.Equal(t, before, b.held.Record)
	assert.Equal(t, before.Version, w.Record.Version)
	checkNextDue(t, w.Record, nil)
	assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
	again, ok := credential.Tune(w.Result(b.held), b.policy, nonceOf(31), noon)
	assert.False(t, ok, "%+v", again.Record)
	return w.Record
}

// A living token is a session as soon as its provider has any: it counts as used
// when it was issued, and ends no later than it would have.
func TestATokenBecomesASession(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		presence credential.Presence
		change   func(*bundle)
		expires  credential.Millis
		from, to credential.Millis // the planned extension
	}{
		"its clock runs from the moment of its issue": {
			presence: credential.PresencePassive, change: func(*bundle) {},
			expires: issued + 30*minute, from: issued + 20*minute, to: issued + 22*minute,
		},
		"its clock would have run out": {
			change:  func(b *bundle) { b.policy.Sessions.Idle = time.Minute },
			expires: issued + hour, from: noon, to: noon,
		},
		"its clock would have run out, and nothing replaces it": {
			change: func(b *bundle) {
				b.policy.Sessions.Idle, b.policy.Sessions.Extend = time.Minute, false
				b.held.Record.HasRefresh = false
			},
			expires: issued + hour,
		},
		"it would have ended before": {
			change:  func(b *bundle) { b.policy.Sessions.Idle = 2 * time.Hour },
			expires: issued + hour, from: issued + 20*minute, to: issued + 28*minute,
		},
		"its refresh failed": {
			change:  func(b *bundle) { b.held.Record.Failures, b.held.Record.RefreshAt = 2, noon+5*minute },
			expires: issued + 30*minute, from: noon + 5*minute, to: noon + 5*minute,
		},
		"nobody needs it": {
			presence: credential.PresenceBackground, change: func(*bundle) {},
			expires: issued + 30*minute,
		},
		"the end of its refresh token is not its own": {
			change:  func(b *bundle) { b.held.Record.LimitAt, b.held.Record.WarnAt = issued+25*minute, issued+minute },
			expires: issued + 30*minute, from: issued + 20*minute, to: issued + 22*minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.held.Record.Presence = row.presence
			_, differs := credential.Tune(b.held, b.policy, nonceOf(30), noon)
			require.False(t, differs, "nothing has changed")
			b.policy.Sessions = credential.SessionPolicy{Idle: 30 * time.Minute, Extend: true, OnActive: credential.ActiveExtend}
			row.change(b)
			r := b.tuned(t)
			assert.Equal(t, b.policy.Sessions.Idle, r.Session.Idle)
			assert.Equal(t, issued, r.Session.StartedAt, "from where a limit counts")
			assert.Zero(t, r.LimitAt)
			assert.Zero(t, r.WarnAt)
			assert.Equal(t, row.expires, r.ExpiresAt)
			assert.GreaterOrEqual(t, r.RefreshAt, row.from)
			assert.LessOrEqual(t, r.RefreshAt, row.to)
			assert.Equal(t, b.policy.Method(r) != credential.MethodNone, r.Refreshable)
			assert.Equal(t, noon.Add(b.policy.Sessions.Idle), r.Touched(noon).ExpiresAt)
		})
	}
}

// An absolute limit counts from the moment of its issue, too; one that has passed
// ends nothing.
func TestATokenBecomesASessionWithALimit(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		absolute       time.Duration
		limit, expires credential.Millis
	}{
		{50 * time.Minute, issued + 50*minute, issued + 50*minute},
		{10 * time.Minute, 0, issued + hour},
	} {
		b := setup(t)
		b.policy.Sessions = credential.SessionPolicy{Idle: 10 * time.Minute, Absolute: row.absolute, Extend: true}
		r := b.tuned(t)
		assert.Equal(t, row.limit, r.LimitAt)
		assert.Equal(t, row.expires, r.ExpiresAt)
	}
}

// An active user is told of the end of what has become a session, as of any other.
func TestATokenBecomesASessionOfAnActiveUser(t *testing.T) {
	t.Parallel()
	for _, idle := range []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour} {
		b := setup(t)
		b.held.Record.Presence = credential.PresenceActive
		b.policy.Sessions = credential.SessionPolicy{Idle: idle, Extend: true, WarnBefore: 10 * time.Minute, OnActive: credential.ActiveExtend}
		r := b.tuned(t)
		assert.Equal(t, min(issued.Add(idle), issued+hour), r.ExpiresAt)
		assert.Equal(t, r.ExpiresAt-10*minute, r.Session.CountdownAt)
		assert.Greater(t, r.RefreshAt, r.Session.CountdownAt, "at the last moment")
		assert.Less(t, r.RefreshAt, r.ExpiresAt)
	}
}

// A living session is a token as soon as its provider has none: it lives as long as
// one that was told no expiry, from its login on, or as long as it is known to.
func TestASessionBecomesAToken(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		presence credential.Presence
		change   func(*bundle)
		expires  credential.Millis
		from, to credential.Millis // the planned refresh
	}{
		"as told by nobody": {
			change:  func(*bundle) {},
			expires: used + 30*minute, from: used + 15*minute, to: used + 25*minute,
		},
		"in the background": {
			presence: credential.PresenceBackground, change: func(*bundle) {},
			expires: used + 30*minute, from: used + 15*minute, to: used + 25*minute,
		},
		"used long after its login": {
			change:  func(b *bundle) { b.held.Record.Session.StartedAt -= 3 * hour },
			expires: idleAt, from: noon, to: noon,
		},
		"used long after its login, and nothing replaces it": {
			change: func(b *bundle) {
				b.held.Record.Session.StartedAt -= 3 * hour
				b.policy.CanLogin = false
			},
			expires: idleAt,
		},
		"as its JWT tells": {
			change: func(b *bundle) {
				b.held.Token.Access = credential.NewSecret("e30.eyJleHAiOjE4MDAwMDMwMDB9.x")
			},
			expires: issued + 50*minute, from: noon, to: issued + 50*minute,
		},
		"its extension failed": {
			change:  func(b *bundle) { b.held.Record.Failures, b.held.Record.RefreshAt = 2, used+28*minute },
			expires: used + 30*minute, from: used + 28*minute, to: used + 28*minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.limited(credential.PresencePassive)
			b.held.Record.Presence = row.presence
			b.policy.Sessions = credential.SessionPolicy{}
			b.policy.DefaultLifetime = 30 * time.Minute
			row.change(b)
			r := b.tuned(t)
			assert.Zero(t, r.Session)
			assert.Zero(t, r.LimitAt)
			assert.Equal(t, row.expires, r.ExpiresAt)
			assert.GreaterOrEqual(t, r.RefreshAt, row.from)
			assert.LessOrEqual(t, r.RefreshAt, row.to)
			assert.Equal(t, b.policy.Method(r) != credential.MethodNone, r.Refreshable)
		})
	}
}

// What is not alive, or not at rest, becomes nothing else: what is under way was
// begun by what it is.
func TestOnlyWhatIsAtRestBecomesASessionOrAToken(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*bundle){
		"under way": func(b *bundle) { b.open(b.attempt) },
		"expired":   func(b *bundle) { b.held.Record.State = credential.StateExpired },
		"pending":   func(b *bundle) { b.in(credential.StatePending, false) },
		"at an end": func(b *bundle) { b.held.Record.ExpiresAt = noon },
	} {
		for _, session := range []bool{false, true} {
			b := setup(t)
			sessions := credential.SessionPolicy{Idle: time.Hour, Extend: true}
			if session {
				b.limited(credential.PresencePassive)
				sessions = credential.SessionPolicy{}
			}
			b.held.Attempt = nil
			change(b)
			b.policy.Sessions = sessions
			_, differs := credential.Tune(b.held, b.policy, nonceOf(30), noon)
			assert.False(t, differs, "%s, a session: %t", name, session)
		}
	}

	b := setup(t)
	b.limited(credential.PresencePassive)
	b.usedAt(b.due())
	at := b.due()
	b.loginFails(t, at, credential.Outcome{Class: credential.ClassRefused, Reason: credential.ReasonInvalidRequest})
	b.policy.Sessions = credential.SessionPolicy{}
	_, differs := credential.Tune(b.held, b.policy, nonceOf(30), at)
	assert.False(t, differs, "its login is not to be made before its wait is over")
}

// takeOut takes `session` out of the settings of the fixture's provider, whose
// tokens live for three hours where nothing else is told.
func (b *bundle) takeOut() {
	b.limited(credential.PresencePassive)
	b.held.Attempt = nil
	b.policy.Sessions = credential.SessionPolicy{}
	b.policy.DefaultLifetime = 3 * time.Hour
}

// Of a session whose provider has none any more nothing but its life as a token is
// told when time passes, whatever of the session comes first.
func TestTimeEndsNoSessionThatWasTakenOut(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*bundle)
		at     credential.Millis
		events []credential.EventType
		state  credential.State
	}{
		"its clock has run out": {
			change: func(*bundle) {}, at: idleAt, state: credential.StateActive,
		},
		"its clock has run out, and nothing replaces it": {
			change: func(b *bundle) { b.policy.CanLogin = false }, at: idleAt, state: credential.StateActive,
		},
		"its limit comes": {
			change: func(b *bundle) {
				b.held.Record.WarnAt, b.held.Record.Session.Successor = used+minute, credential.Successor{}
			},
			at: used + minute, state: credential.StateActive,
		},
		"its user is told of its end": {
			change: func(b *bundle) { b.held.Record.Session.CountdownAt = used + minute }, at: used + minute, state: credential.StateActive,
		},
		"a refresh token is in doubt": {
			change: func(b *bundle) {
				b.held.Attempt = &credential.Attempt{Nonce: nonceOf(7), Generation: b.held.Record.Generation, Doubt: true}
			},
			at: idleAt, state: credential.StateActive,
		},
		"its life as a token is over, too": {
			change: func(b *bundle) { b.policy.DefaultLifetime = 10 * time.Minute }, at: idleAt,
			events: []credential.EventType{credential.EventExpired}, state: credential.StateExpired,
		},
		"its life as a token is over, too, and nothing replaces it": {
			change: func(b *bundle) { b.policy.CanLogin, b.policy.DefaultLifetime = false, 10*time.Minute }, at: idleAt,
			events: []credential.EventType{credential.EventExpired, credential.EventReauthRequired}, state: credential.StateReauthRequired,
		},
		"its login ahead of its limit failed, and is none any more": {
			change: func(b *bundle) { b.held.Record.Session.Successor.Failures, b.policy.CanLogin = 1, false },
			at:     idleAt, state: credential.StateActive,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.takeOut()
			row.change(b)
			w, ok := credential.Advance(b.held, b.policy, b.nonce, row.at)
			require.True(t, ok)
			var events []credential.EventType
			for _, e := range w.Events {
				events = append(events, e.Type)
			}
			assert.Equal(t, row.events, events)
			assert.Equal(t, row.state, w.Record.State)
			assert.Zero(t, w.Record.Session)
			after := w.Result(b.held)
			assert.Equal(t, b.held.Attempt, after.Attempt)
			assert.Equal(t, credential.NextDue(after.Record, after.Attempt), w.Due)
			assert.Equal(t, b.policy.CanLogin, w.Record.Refreshable)
			_, ok = credential.Advance(after, b.policy, nonceOf(9), row.at)
			assert.False(t, ok, "it is told")
		})
	}
}

// What an extension brings that was begun by the settings before is for whoever
// made it; if he is dead, the session is a token, and no clock of it ends it.
func TestAnExtensionUnderWayWhenSessionIsTakenOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.takeOut()
	b.policy.CanLogin = false
	b.open(credential.Attempt{Nonce: nonceOf(7), Generation: b.held.Record.Generation, Grant: b.held.Record.Grant, BegunAt: idleAt - minute, Deadline: idleAt - second})
	_, ok := credential.Advance(b.held, b.policy, b.nonce, idleAt)
	assert.False(t, ok, "that call may yet extend it")
	w, ok := credential.Inherit(b.held, b.attempt, credential.EvidenceSent, b.policy, idleAt)
	require.True(t, ok)
	after := w.Result(b.held)
	assert.Nil(t, after.Attempt)
	assert.True(t, after.Record.ValidAt(idleAt, time.Hour), "%+v", after.Record)
	assert.Zero(t, after.Record.Session)
}

// A turn that finds nothing to present has ended nothing, neither the token nor a
// doubt.
func TestATurnWithNothingToPresentMakesATokenOfASession(t *testing.T) {
	t.Parallel()
	for _, recovery := range []bool{false, true} {
		b := setup(t)
		b.takeOut()
		b.policy.CanLogin, b.policy.NoRefresh = false, true
		b.held.Record.OnceAt = noon - 3*second
		b.held.Record.HasRefresh = recovery
		b.open(credential.Attempt{Nonce: nonceOf(7), Generation: b.held.Record.Generation, Grant: b.held.Record.Grant, BegunAt: noon - second, Recovery: recovery})
		require.Equal(t, credential.MethodNone, b.policy.MethodAt(b.held.Record, b.attempt.BegunAt))
		w := credential.TakeSessionOut(b.held, b.attempt, b.policy, credential.BySchedule, noon)
		assert.Empty(t, w.Events)
		assert.Equal(t, b.attempt.Nonce, w.Attempt)
		after := w.Result(b.held)
		assert.Zero(t, after.Record.Session)
		assert.Zero(t, after.Record.OnceAt, "it was looked at")
		assert.Equal(t, credential.StateActive, after.Record.State)
		assert.Equal(t, used+3*hour, after.Record.ExpiresAt)
		assert.False(t, after.Record.Refreshable)
		assert.Equal(t, recovery, after.Attempt != nil && after.Attempt.Doubt)
		assert.Equal(t, credential.NextDue(after.Record, after.Attempt), w.Due)
	}
}

// A login that replaces what was a session ends nothing where it fails, and is made
// again no sooner than any other.
func TestALoginThatFailsAfterSessionWasTakenOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.takeOut()
	b.open(credential.Attempt{Nonce: nonceOf(7), Generation: b.held.Record.Generation, Grant: b.held.Record.Grant, BegunAt: idleAt - second})
	w := credential.Fail(b.held, b.attempt, credential.Outcome{Class: credential.ClassRefused, Reason: credential.ReasonInvalidRequest}, b.policy, credential.BySchedule, idleAt)
	r := w.Record
	assert.Equal(t, credential.StateDegraded, r.State, "its token lives, and the login fails")
	assert.Zero(t, r.Session)
	assert.GreaterOrEqual(t, r.RefreshAt, idleAt+hour)
	assert.Equal(t, idleAt+hour, b.policy.LoginAt(r))
}

// Where a login ahead of the limit has failed, its wait outlasts the session, and so
// does the way to another token.
func TestTheWaitOfAFailedLoginOutlastsTheSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.limited(credential.PresencePassive)
	b.usedAt(b.due())
	b.loginFails(t, b.due(), credential.Outcome{Class: credential.ClassRefused, Reason: credential.ReasonInvalidRequest})
	b.policy.Sessions = credential.SessionPolicy{}
	end, again := b.held.Record.ExpiresAt, b.held.Record.Session.Successor.At
	w, ok := credential.SetPresence(b.held, credential.PresenceActive, b.policy, b.nonce, end-second)
	require.True(t, ok)
	b.held = w.Result(b.held)
	assert.Equal(t, end, b.held.Record.ExpiresAt, "no word of its user's moves it")
	w, ok = credential.Advance(b.held, b.policy, b.nonce, end)
	require.True(t, ok)
	assert.Equal(t, credential.StateExpired, w.Record.State)
	assert.Equal(t, again, w.Record.RefreshAt)
}

// Who returns to a session that was taken out finds a token, whose time nobody's
// presence moves.
func TestPresenceAfterSessionWasTakenOut(t *testing.T) {
	t.Parallel()
	for _, at := range []credential.Millis{idleAt - minute, idleAt + minute} {
		b := setup(t)
		b.takeOut()
		b.policy.CanLogin = false
		b.held.Record.Presence = credential.PresenceBackground
		w, ok := credential.SetPresence(b.held, credential.PresenceActive, b.policy, b.nonce, at)
		require.True(t, ok)
		assert.Empty(t, w.Events)
		assert.Equal(t, credential.PresenceActive, w.Record.Presence)
		assert.Zero(t, w.Record.Session)
		assert.Equal(t, used+3*hour, w.Record.ExpiresAt)
	}
}

// A token that was a session for a while ends when it was told to, whatever idle
// timeout that session had, and whether it was used.
func TestASessionThatWasATokenKeepsItsEnd(t *testing.T) {
	t.Parallel()
	for _, told := range []time.Duration{30 * time.Minute, 2 * time.Hour} {
		for _, idle := range []time.Duration{25 * time.Minute, told, 4 * time.Hour} {
			for name, use := range map[string]func(*bundle){
				"unused":   func(*bundle) {},
				"used":     func(b *bundle) { b.touched(noon + second) },
				"extended": func(b *bundle) { b.held = b.extend(noon, noon+second).Result(b.held) },
			} {
				b := setup(t)
				b.held.Record.Lifetime, b.held.Record.ExpiresAt = told, issued.Add(told)
				plain := b.policy
				b.policy.Sessions = credential.SessionPolicy{Idle: idle, Extend: true}
				b.held.Record = b.tuned(t)
				b.open(credential.Attempt{Nonce: nonceOf(7), Generation: 4, Grant: 2, BegunAt: noon})
				use(b)
				b.policy = plain
				r := b.tuned(t)
				assert.Equal(t, issued.Add(told), r.ExpiresAt, "told %s, idle %s, %s", told, idle, name)
				assert.Equal(t, told, r.Lifetime)
				assert.Equal(t, issued, r.IssuedAt)
			}
		}
	}
}

// So it does where that is too near for a call: no call can be made without one.
func TestASessionThatWasATokenKeepsAnEndThatIsNear(t *testing.T) {
	t.Parallel()
	for _, left := range []time.Duration{2 * time.Minute, 30 * time.Second, time.Second} {
		b := setup(t)
		end := noon + 10*minute
		b.held.Record.Lifetime, b.held.Record.ExpiresAt = end.Sub(issued), end
		plain := b.policy
		plain.CanLogin, plain.NoRefresh = false, true
		b.policy = plain
		b.policy.Sessions = credential.SessionPolicy{Idle: 4 * time.Hour, Extend: true}
		b.held.Record = b.tuned(t)
		b.open(credential.Attempt{Nonce: nonceOf(7), Generation: 4, Grant: 2, BegunAt: noon})
		b.touched(noon + second)
		b.held.Attempt = nil
		w, ok := credential.Tune(b.held, plain, nonceOf(40), end.Add(-left))
		require.True(t, ok)
		assert.Equal(t, end, w.Record.ExpiresAt, left)
	}
}

// What comes in the place of such a token was told its own end, or none.
func TestWhatReplacesASessionHasNoEndOfATokenBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	plain := b.policy
	b.policy.Sessions = credential.SessionPolicy{Idle: 25 * time.Minute, Extend: true}
	b.held.Record = b.tuned(t)
	b.open(credential.Attempt{Nonce: nonceOf(7), Generation: 4, Grant: 2, BegunAt: noon})
	got := credential.Received{Method: credential.MethodExtend, Token: token("at-5", ""), SentAt: noon}
	b.held = credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon).Result(b.held)
	require.Equal(t, noon+25*minute, b.held.Record.ExpiresAt)
	b.policy = plain
	b.policy.DefaultLifetime = 3 * time.Hour
	assert.Equal(t, issued+3*hour, b.tuned(t).ExpiresAt)
}

// An attempt that may have presented a refresh token leaves it in doubt, whoever
// settles it: his settings may have no call for it, and those that it was begun by had
// one. Put off for want of a call it stays so, and the credential ends with it used.
func TestADoubtOutlivesTheCall(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.NoRefresh = true
	w, ok := credential.Inherit(b.held, b.attempt, credential.EvidenceSent, b.policy, noon)
	require.True(t, ok)
	after := w.Result(b.held)
	require.NotNil(t, after.Attempt)
	assert.True(t, after.Attempt.Doubt)

	b.recovery(noon - minute)
	again := credential.PutOff(b.held, b.attempt, b.policy, credential.BySchedule, noon)
	after = again.Result(b.held)
	assert.Empty(t, again.Events)
	require.NotNil(t, after.Attempt)
	assert.True(t, after.Attempt.Doubt)
	assert.Equal(t, noon-minute, after.Attempt.FirstSent)
	assert.Greater(t, again.Due, noon)
	assert.Less(t, again.Due, after.Record.ExpiresAt)

	o := credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonNotRefreshable}
	over := credential.Fail(b.held, b.attempt, o, b.policy, credential.BySchedule, noon)
	assert.True(t, over.Record.Unasked())
	assert.Equal(t, "rt-4", over.Spent.Reveal())
}

// A wait that a failure has left is not shortened by a call that comes back, and the
// end of a refresh token is not waited for.
func TestATokenGetsTheWayThatWasAdded(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change   func(*credential.Record)
		from, to credential.Millis
	}{
		"as any other":               {func(*credential.Record) {}, issued + 30*minute, issued + 50*minute},
		"its refresh failed":         {func(r *credential.Record) { r.Failures, r.LastAttempt.FailedAt = 9, issued+52*minute }, issued + 55*minute, issued + 58*minute},
		"its refresh token ends":     {func(r *credential.Record) { r.LimitAt = issued + 20*minute }, issued + 8*minute, issued + 8*minute},
		"its refresh token lasts on": {func(r *credential.Record) { r.LimitAt = issued + 48*hour }, issued + 30*minute, issued + 50*minute},
	} {
		b := setup(t)
		r := &b.held.Record
		r.Refreshable, r.RefreshAt = false, 0
		row.change(r)
		planned := b.tuned(t)
		assert.True(t, planned.Refreshable, name)
		assert.GreaterOrEqual(t, planned.RefreshAt, row.from, name)
		assert.LessOrEqual(t, planned.RefreshAt, row.to, name)
	}
}

// A provider may bring a refresh token for which it has no call, as for its logout. A
// login or an extension that a dead process had in the air has not presented it, and
// leaves no doubt.
func TestWhatADeadOwnerHadInTheAirWithoutARefreshCall(t *testing.T) {
	t.Parallel()
	for name, session := range map[string]bool{"a login": false, "an extension": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.policy.NoRefresh, b.policy.CanLogin, b.policy.Rotates = true, true, credential.RotatesAuto
			b.held.Record.HasLogin, b.held.Record.Rotations = true, credential.Rotated{}
			b.held.SignIn = signIn("x")
			if session {
				b.policy.Sessions = credential.SessionPolicy{Idle: life, Extend: true}
				b.held.Record.Session.Idle = life
			}
			w, ok := credential.Inherit(b.held, b.attempt, credential.EvidenceSent, b.policy, noon)
			require.True(t, ok)
			assert.Nil(t, w.Result(b.held).Attempt)
			assert.False(t, w.Doubted)

			b.held.Attempt = nil
			_, ok = credential.Recall(b.held, b.attempt, false, b.policy, noon)
			assert.False(t, ok)
		})
	}
}

// The provider's word that it does not take a token any more ends what there is no call
// for by the present settings, though it was stored with a way to another one.
func TestARefusedTokenWhoseCallWasTakenOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Attempt = nil
	b.policy.NoRefresh = true
	word := credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonRejected}
	w, ok := credential.TakeRefused(b.held, b.held.Record, word, b.policy, b.nonce, noon)
	require.True(t, ok)
	assert.Equal(t, credential.StateReauthRequired, w.Record.State)
}
