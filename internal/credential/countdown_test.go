package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

// watched is a session that somebody looks at, from its login at noon on.
type watched struct {
	t      require.TestingT
	policy credential.Policy
	held   credential.Held
	now    credential.Millis
	nonces uint64
	told   []telling
}

// telling is one session.expiring.
type telling struct{ at, ends credential.Millis }

func watch(t require.TestingT, p credential.Policy, in credential.SignIn) *watched {
	w := &watched{t: t, policy: p, now: noon}
	w.store(credential.Connect(nil, credential.Login{ID: "acct-1", Provider: "acme", Token: token("at-1", ""), SignIn: in}, p, w.nonce(), noon))
	w.presence(credential.PresenceActive)
	return w
}

func (w *watched) nonce() credential.Nonce {
	w.nonces++
	return nonceOf(w.nonces)
}

func (w *watched) store(write credential.Write) {
	w.held = write.Result(w.held)
	for _, e := range write.Events {
		if e.Type == credential.EventSessionExpiring {
			w.told = append(w.told, telling{w.now, e.ExpiresAt})
		}
	}
}

// pass lets time pass, and tells what has to be told meanwhile.
func (w *watched) pass(to credential.Millis) {
	for {
		due := w.held.Record.Clock()
		if due == 0 || due > to {
			w.now = to
			return
		}
		w.now = max(w.now, due)
		write, ok := credential.Advance(w.held, w.policy, w.nonce(), w.now)
		require.True(w.t, ok)
		w.store(write)
	}
}

func (w *watched) touch() { w.held.Record = w.held.Record.Touched(w.now) }

func (w *watched) presence(to credential.Presence) {
	if write, ok := credential.SetPresence(w.held, to, w.policy, w.nonce(), w.now); ok {
		w.store(write)
	}
}

func (w *watched) tune() {
	if write, ok := credential.Tune(w.held, w.policy, w.nonce(), w.now); ok {
		w.store(write)
	}
}

// call is one that somebody asked for by hand.
func (w *watched) call(settle func(credential.Attempt) credential.Write) {
	r := w.held.Record
	a := credential.Attempt{Nonce: w.nonce(), Generation: r.Generation, Grant: r.Grant, BegunAt: w.now}
	w.held.Attempt = &a
	w.store(settle(a))
}

func (w *watched) extend() {
	w.call(func(a credential.Attempt) credential.Write {
		got := credential.Received{Method: credential.MethodExtend, SentAt: w.now}
		return credential.Extend(w.held, a, got, w.policy, credential.ByDemand, w.now)
	})
}

func (w *watched) rename() {
	w.call(func(a credential.Attempt) credential.Write {
		got := credential.Received{Method: credential.MethodExtend, Token: token("at-2", ""), SentAt: w.now}
		return credential.Install(w.held, a, got, w.policy, credential.ByDemand, w.now)
	})
}

func (w *watched) login() {
	w.call(func(a credential.Attempt) credential.Write {
		got := credential.Received{Method: credential.MethodLogin, Token: token("at-2", ""), SentAt: w.now}
		return credential.Install(w.held, a, got, w.policy, credential.BySchedule, w.now)
	})
}

func (w *watched) loginFails() {
	w.call(func(a credential.Attempt) credential.Write {
		o := credential.Outcome{Method: credential.MethodLogin, Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
		return credential.Fail(w.held, a, o, w.policy, credential.BySchedule, w.now)
	})
}

func watchedPolicy(s credential.SessionPolicy) credential.Policy {
	s.Extend = true
	return credential.Policy{RefreshAt: 2.0 / 3, Times: credential.DefaultTimes(0), Rotates: credential.RotatesNo, Sessions: s}
}

// A countdown to the absolute limit, which no use moves, goes on whatever uses
// there are, and comes to its end. It begins anew for somebody else, and by other
// settings.
func TestCountdownToTheLimit(t *testing.T) {
	t.Parallel()
	const limit = noon + 2*minute
	for name, c := range map[string]struct {
		signIn     credential.SignIn // kept
		warnBefore time.Duration
		unused     [2]credential.Millis // from when to when before the limit nobody uses it
		at         credential.Millis    // how long before the limit something happens
		happens    func(*watched)
		want       []credential.Millis // how long before the limit it is told
	}{
		"used all the time":     {warnBefore: 20 * time.Second, want: []credential.Millis{20 * second, 10 * second, 5 * second}},
		"extended by hand":      {warnBefore: 20 * time.Second, at: 15 * second, happens: (*watched).extend, want: []credential.Millis{20 * second, 10 * second, 5 * second}},
		"extended at its end":   {warnBefore: 20 * time.Second, at: 3 * second, happens: (*watched).extend, want: []credential.Millis{20 * second, 10 * second, 5 * second}},
		"under another name":    {warnBefore: 20 * time.Second, at: 15 * second, happens: (*watched).rename, want: []credential.Millis{20 * second, 10 * second, 5 * second}},
		"looked at once more":   {warnBefore: 20 * time.Second, at: 15 * second, happens: (*watched).tune, want: []credential.Millis{20 * second, 10 * second, 5 * second}},
		"active, said again":    {warnBefore: 20 * time.Second, at: 15 * second, happens: func(w *watched) { w.presence(credential.PresenceActive) }, want: []credential.Millis{20 * second, 10 * second, 5 * second}},
		"somebody else is here": {warnBefore: 20 * time.Second, at: 12 * second, happens: func(w *watched) { w.presence(credential.PresenceBackground); w.presence(credential.PresenceActive) }, want: []credential.Millis{20 * second, 12 * second, 6 * second}},
		"somebody comes late":   {warnBefore: 20 * time.Second, at: 3 * second, happens: func(w *watched) { w.presence(credential.PresencePassive); w.presence(credential.PresenceActive) }, want: []credential.Millis{20 * second, 10 * second, 5 * second, 3 * second}},
		"nobody is here":        {warnBefore: 20 * time.Second, at: 15 * second, happens: func(w *watched) { w.presence(credential.PresencePassive) }, want: []credential.Millis{20 * second}},
		"told later":            {warnBefore: 20 * time.Second, at: 15 * second, happens: func(w *watched) { w.policy.Sessions.WarnBefore = 8 * time.Second; w.tune() }, want: []credential.Millis{20 * second, 8 * second}},
		"told earlier":          {warnBefore: 8 * time.Second, at: 12 * second, happens: func(w *watched) { w.policy.Sessions.WarnBefore = 20 * time.Second; w.tune() }, want: []credential.Millis{12 * second, 6 * second}},
		"the limit comes late":  {warnBefore: 25 * time.Second, unused: [2]credential.Millis{34 * second, 16 * second}, want: []credential.Millis{29 * second, 16500, 16 * second, 8 * second}},
		"a login is planned":    {signIn: signIn("secret"), warnBefore: 25 * time.Second, want: []credential.Millis{20 * second, 10 * second, 5 * second}},
		"a login fails":         {signIn: signIn("secret"), warnBefore: 25 * time.Second, at: 28 * second, happens: (*watched).loginFails, want: []credential.Millis{25 * second, 12500, 6250}},
		"a login fails late":    {signIn: signIn("secret"), warnBefore: 25 * time.Second, at: 15 * second, happens: (*watched).loginFails, want: []credential.Millis{20 * second, 10 * second, 5 * second}},
		"no login is planned any more": {signIn: signIn("secret"), warnBefore: 25 * time.Second, at: 22 * second, happens: func(w *watched) {
			w.policy.CanLogin = false
			w.tune()
		}, want: []credential.Millis{22 * second, 11 * second, 5500}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := watchedPolicy(credential.SessionPolicy{Idle: 30 * time.Second, Absolute: 2 * time.Minute, WarnBefore: c.warnBefore})
			p.CanLogin = !c.signIn.IsZero()
			w := watch(t, p, c.signIn)
			for w.now < limit {
				w.pass(w.now + second)
				left := limit - w.now
				if left >= c.unused[0] || left <= c.unused[1] {
					w.touch()
				}
				if c.happens != nil && left == c.at {
					c.happens(w)
				}
			}
			require.Equal(t, limit, w.held.Record.LimitAt)
			var got []credential.Millis
			for _, told := range w.told {
				got = append(got, limit-told.at)
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// A session that was logged in anew is told of from its own beginning, also where
// it ends when the one before would have.
func TestCountdownOfAnotherSession(t *testing.T) {
	t.Parallel()
	p := watchedPolicy(credential.SessionPolicy{Idle: 30 * time.Second, Absolute: 2 * time.Minute, WarnBefore: 29 * time.Second})
	p.CanLogin = true
	w := watch(t, p, signIn("secret"))
	for w.now < noon+90*second {
		w.pass(w.now + second)
		w.touch()
	}
	ends := w.held.Record.ExpiresAt
	require.Equal(t, w.held.Record.LimitAt, ends)
	planned := w.held.Record.Session.CountdownAt
	w.login()
	require.Equal(t, ends, w.held.Record.ExpiresAt)
	require.NotEqual(t, planned, w.held.Record.Session.CountdownAt)
	assert.Equal(t, ends-29*second, w.held.Record.Session.CountdownAt)
}

// Of two events of a countdown to the same end the second comes some seconds after
// the first, whatever uses there are, and the end of a session in use is told.
func TestCountdownsTakeTheirTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		idle := time.Duration(rapid.IntRange(10, 1800).Draw(t, "idle")) * time.Second
		p := watchedPolicy(credential.SessionPolicy{
			Idle:       idle,
			Absolute:   idle + time.Duration(rapid.IntRange(0, 3600).Draw(t, "absolute"))*time.Second,
			WarnBefore: time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(idle)-int64(time.Millisecond)).Draw(t, "warn before")),
			OnActive:   rapid.SampledFrom([]credential.OnActive{credential.ActiveExtend, credential.ActiveEnd}).Draw(t, "on active"),
		})
		w := watch(t, p, credential.SignIn{})
		limit := w.held.Record.LimitAt
		for w.now < limit && !w.held.Record.State.Terminal() {
			w.pass(w.now + credential.Millis(rapid.Int64Range(1, max(idle.Milliseconds()/3, 5000)).Draw(t, "passes")))
			if w.held.Record.State.Terminal() {
				break
			}
			switch rapid.IntRange(0, 7).Draw(t, "what") {
			case 0:
				w.extend()
			case 1:
				w.tune()
			case 2: // nothing
			default:
				w.touch()
			}
		}
		for i, told := range w.told {
			if i == 0 || w.told[i-1].ends != told.ends {
				continue
			}
			if apart := told.at.Sub(w.told[i-1].at); apart < 5*time.Second {
				t.Fatalf("told %s after the last time of the same end: %+v", apart, w.told)
			}
		}
		if w.held.Record.Reason == credential.ReasonAbsoluteTimeout && (len(w.told) == 0 || w.told[len(w.told)-1].ends != limit) {
			t.Fatalf("its limit was never told: %+v", w.told)
		}
	})
}

// An active user of a session that is learned to live shorter than its provider's
// settings say is warned as much earlier or later as that is shorter: not with
// each use, and not after the extension at the last moment.
func TestCountdownOfALearnedIdleTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		idle, warnBefore time.Duration
		onActive         credential.OnActive
		learned          time.Duration
		want             time.Duration
	}{
		"longer than told":              {10 * time.Minute, 2 * time.Minute, credential.ActiveExtend, time.Hour, 2 * time.Minute},
		"half":                          {10 * time.Minute, 2 * time.Minute, credential.ActiveEnd, 5 * time.Minute, time.Minute},
		"as long as the warning":        {10 * time.Minute, 2 * time.Minute, credential.ActiveEnd, 2 * time.Minute, 24 * time.Second},
		"shorter than the warning":      {10 * time.Minute, 2 * time.Minute, credential.ActiveEnd, time.Minute, 12 * time.Second},
		"a warning of almost the whole": {10 * time.Minute, 9 * time.Minute, credential.ActiveEnd, 5 * time.Minute, 270 * time.Second},
		// The last call is made 35 s before the end, or a sixth of what is learned.
		"extended then":                  {605 * time.Second, 2 * time.Minute, credential.ActiveExtend, time.Minute, 10*time.Second + 85*time.Second*50/570},
		"extended before it, as settled": {10 * time.Minute, 30 * time.Second, credential.ActiveExtend, time.Minute, 3 * time.Second},
		"nobody is warned":               {10 * time.Minute, 0, credential.ActiveExtend, time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := watchedPolicy(credential.SessionPolicy{Idle: c.idle, WarnBefore: c.warnBefore, OnActive: c.onActive})
			w := watch(t, p, credential.SignIn{})
			w.held.Record.Learned.Life = c.learned
			w.tune()
			for range 600 {
				w.pass(w.now + second)
				w.touch()
			}
			if n := len(w.told); n > 0 {
				t.Fatalf("its user is there, and is told %d times", n)
			}
			r := w.held.Record
			assert.InDelta(t, c.want.Seconds(), r.Session.WarnBefore.Seconds(), 0.001)
			if c.want == 0 {
				assert.Zero(t, r.Session.CountdownAt)
				return
			}
			assert.Equal(t, r.ExpiresAt.Add(-r.Session.WarnBefore), r.Session.CountdownAt)
			if c.onActive == credential.ActiveExtend && c.warnBefore > p.Times.LastCall(c.idle) {
				assert.Less(t, r.Session.CountdownAt, r.RefreshAt, "before the last call")
			}
		})
	}
}
