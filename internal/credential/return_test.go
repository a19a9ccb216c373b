package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

const away, passive, active = credential.PresenceBackground, credential.PresencePassive, credential.PresenceActive

// lastThird is a moment in the last third of the fixture's session.
const lastThird = used + 12*minute

// stored takes w for written.
func (b *bundle) stored(w credential.Write) credential.Write {
	b.held = w.Result(b.held)
	return w
}

// set stores who is there.
func (b *bundle) set(t *testing.T, to credential.Presence, now credential.Millis) credential.Write {
	t.Helper()
	w, ok := credential.SetPresence(b.held, to, b.policy, b.nonce, now)
	require.True(t, ok)
	assert.Equal(t, credential.NextDue(w.Record, b.held.Attempt), w.Due)
	checkNextDue(t, w.Record, b.held.Attempt)
	return b.stored(w)
}

// call begins the call that is due, and settles it.
func (b *bundle) call(t *testing.T, now credential.Millis, settle func() credential.Write) credential.Write {
	t.Helper()
	begun := credential.Begin{ID: "acct-1", Nonce: nonceOf(90), Owner: "owner-1", Lasts: time.Minute}
	refusal, attempt := credential.Grant(b.held, begun, now)
	require.Equal(t, credential.RefusedNot, refusal)
	b.open(*attempt)
	return b.stored(settle())
}

// asleep returns a bundle whose session is in the background.
func asleep(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	b.session(away)
	b.held.Attempt = nil
	return b
}

// Who returns when two thirds are over and leaves before the call was made has
// it made all the same, once, and nothing else.
func TestWhoLooksInIsNotForgotten(t *testing.T) {
	t.Parallel()
	for name, visit := range map[string][]credential.Presence{
		"a moment":       {passive, away},
		"active":         {active, away},
		"becomes active": {passive, active, away},
		"relaxes":        {active, passive, away},
		"flaps":          {passive, away, active, away, passive, away, passive, active, away},
	} {
		for _, end := range []credential.OnActive{credential.ActiveExtend, credential.ActiveEnd} {
			t.Run(name+", "+string(end), func(t *testing.T) {
				t.Parallel()
				b := asleep(t)
				b.policy.Sessions.OnActive = end
				now := lastThird
				for _, to := range visit {
					now += 10
					w := b.set(t, to, now)
					assert.True(t, credential.Due(w.Record, nil, now).Refresh, "%s at %d", to, now)
				}
				assert.LessOrEqual(t, b.held.Record.RefreshAt, now, "it was due before he left")
				assert.Empty(t, b.held.Record.Session.CountdownAt, "nobody is told of the end")

				w := b.call(t, now+minute, func() credential.Write { return b.extend(now+minute, now+minute+second) })
				assert.Equal(t, []credential.EventType{credential.EventSessionExtended}, types(w))
				assert.Equal(t, (now + minute).Add(idle), w.Record.ExpiresAt)
				assert.Zero(t, w.Due, "nothing more in the background")
				w = b.set(t, passive, now+2*minute)
				assert.False(t, credential.Due(w.Record, nil, now+2*minute).Refresh, "nor on a return right after it")
			})
		}
	}
}

// A departure keeps what has come due, and no more.
func TestADepartureBringsNothingForward(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from credential.Presence
		at   credential.Millis
		keep bool
	}{
		"passive, early":        {passive, used + minute, false},
		"passive, not yet due":  {passive, used.Add(idle * 2 / 3), false},
		"passive, due":          {passive, lastThird, true},
		"passive, at the end":   {passive, idleAt - 1, true},
		"passive, over":         {passive, idleAt, false},
		"active, not yet due":   {active, lastThird, false},
		"active, the last call": {active, idleAt - 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.session(c.from)
			b.held.Attempt = nil
			planned := b.held.Record.RefreshAt
			require.NotZero(t, planned)
			w := b.set(t, away, c.at)
			if c.keep {
				assert.Equal(t, planned, w.Due)
			} else {
				assert.Zero(t, w.Due)
				assert.Zero(t, w.Record.RefreshAt)
			}
		})
	}

	b := asleep(t)
	b.set(t, passive, lastThird)
	b.held.Record.Refreshable = false
	assert.Zero(t, b.set(t, away, lastThird+1).Record.RefreshAt, "there is no way")
}

// A touch is the use that the extension would have been, before the departure and
// after it.
func TestATouchTakesTheExtensionsPlace(t *testing.T) {
	t.Parallel()
	b := asleep(t)
	b.set(t, passive, lastThird)
	b.touched(lastThird + second)
	assert.Zero(t, b.set(t, away, lastThird+2*second).Due)

	b = asleep(t)
	b.set(t, passive, lastThird)
	b.set(t, away, lastThird+second)
	b.touched(lastThird + 2*second)
	assert.Zero(t, credential.NextDue(b.held.Record, nil))
	assert.Equal(t, (lastThird + 2*second).Add(idle), b.held.Record.ExpiresAt)
}

// A call that fails is made again for who has left, after the same waits, also if
// it failed before he left, and one that was put off for him is not made sooner
// because he returns.
func TestAFailedExtensionIsStillOwed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		class credential.Class
		told  time.Duration
	}{
		"no answer":   {credential.ClassTransient, 0},
		"not sent":    {credential.ClassNotSent, 0},
		"retry after": {credential.ClassRateLimited, 40 * time.Second},
		"too long":    {credential.ClassRateLimited, time.Hour},
	} {
		for _, leavesFirst := range []bool{true, false} {
			b := asleep(t)
			now := lastThird
			b.set(t, passive, now)
			if leavesFirst {
				b.set(t, away, now)
			}
			o := credential.Outcome{Method: credential.MethodExtend, Class: c.class, Reason: credential.ReasonUnavailable, RetryAfter: c.told}
			w := b.call(t, now, func() credential.Write {
				return credential.Fail(b.held, b.attempt, o, b.policy, credential.BySchedule, now+second)
			})
			again := w.Record.RefreshAt
			assert.GreaterOrEqual(t, again, max((now+second).Add(c.told), now+2*second), name)
			now += 2 * second
			if !leavesFirst {
				b.set(t, away, now)
			}
			for range 3 {
				r := b.held.Record
				assert.Equal(t, again, r.RefreshAt, name)
				assert.Equal(t, min(again, idleAt), credential.NextDue(r, nil), name)
				assert.Equal(t, again < idleAt, credential.Due(r, nil, again).Refresh, "%s: as long as it can save the session", name)
				w = b.set(t, passive, now)
				assert.Equal(t, again, w.Record.RefreshAt, "%s: not sooner", name)
				b.set(t, away, now)
			}
			if again >= idleAt {
				continue
			}
			w = b.call(t, again, func() credential.Write { return b.extend(again, again) })
			assert.Zero(t, w.Due, name)
			assert.Equal(t, again.Add(idle), w.Record.ExpiresAt, name)
		}
	}

	// One that its owner asked for early is made again for nobody who has left.
	b := setup(t)
	b.session(passive)
	o := credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
	failed := b.stored(fail(b, o)).Record.RefreshAt
	assert.Less(t, failed, used.Add(idle*2/3))
	assert.Zero(t, b.set(t, away, failed+second).Due)
}

// What could not be called in time lapses with the session, silently; what was
// asked for by hand stays.
func TestWhatIsOwedLapses(t *testing.T) {
	t.Parallel()
	b := asleep(t)
	b.set(t, passive, lastThird)
	b.set(t, away, lastThird+second)
	r := b.held.Record
	ask := credential.Begin{ID: "acct-1", Nonce: nonceOf(91), Owner: "owner-1", Lasts: time.Minute}
	assert.True(t, credential.Due(r, nil, idleAt-1).Refresh)
	assert.Equal(t, credential.Work{Advance: true}, credential.Due(r, nil, idleAt))
	refusal, _ := credential.Grant(b.held, ask, idleAt)
	assert.Equal(t, credential.RefusedNotDue, refusal)

	paused, ok := credential.SetPaused(b.held, true, b.nonce, idleAt-second)
	require.True(t, ok)
	assert.Equal(t, idleAt, paused.Due)

	b.held.Record.OnceAt = idleAt + second
	assert.False(t, credential.Due(b.held.Record, nil, idleAt).Refresh)
	assert.True(t, credential.Due(b.held.Record, nil, idleAt+second).Refresh)
	b.held.Record.OnceAt = 0

	for _, inTheAir := range []bool{false, true} {
		h := b.held
		if inTheAir {
			_, attempt := credential.Grant(h, ask, idleAt-second)
			require.NotNil(t, attempt)
			h.Attempt = attempt
			assert.Equal(t, idleAt, credential.NextDue(h.Record, attempt))
		}
		w, ok := credential.Advance(h, b.policy, b.nonce, idleAt)
		require.True(t, ok)
		assert.Empty(t, w.Events, "it is told when somebody returns")
		assert.Zero(t, w.Record.RefreshAt)
		assert.Equal(t, credential.StateActive, w.Record.State)
		after := w.Result(h)
		_, ok = credential.Advance(after, b.policy, b.nonce, idleAt+hour)
		assert.False(t, ok)
		if !inTheAir {
			assert.Zero(t, w.Due)
			w, ok = credential.SetPresence(after, active, b.policy, b.nonce, idleAt+hour)
			require.True(t, ok)
			assert.Equal(t, credential.StateReauthRequired, w.Record.State)
			continue
		}
		o := credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
		w = credential.Fail(after, *h.Attempt, o, b.policy, credential.BySchedule, idleAt+second)
		assert.Zero(t, w.Due, "it is not made again")
		got := credential.Received{Method: credential.MethodExtend, SentAt: idleAt - second}
		w = credential.Extend(after, *h.Attempt, got, b.policy, credential.BySchedule, idleAt+second)
		assert.Equal(t, (idleAt - second).Add(idle), w.Record.ExpiresAt, "and one that was taken counts")
		assert.Zero(t, w.Due)
	}
}

// The backend's word that a session is over leaves nothing to be called for who
// has left.
func TestWhatIsOwedEndsWithTheSession(t *testing.T) {
	t.Parallel()
	for _, login := range []bool{true, false} {
		b := asleep(t)
		if login {
			b.withLogin()
		}
		b.set(t, passive, lastThird)
		b.set(t, away, lastThird+second)
		w := b.call(t, lastThird+minute, func() credential.Write {
			return credential.Fail(b.held, b.attempt, over(), b.policy, credential.BySchedule, lastThird+minute)
		})
		assert.Zero(t, w.Due, "the login waits for whoever returns")
		assert.Equal(t, login, w.Record.State == credential.StateExpired)
	}
}
