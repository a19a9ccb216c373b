package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	idle   = 15 * time.Minute
	used   = noon - 5*minute // when the fixture's session was used last
	idleAt = used + 15*minute
)

// session makes the fixture's token a sliding session, which was used five
// minutes ago, with nothing but its extension to keep it alive.
func (b *bundle) session(presence credential.Presence) {
	b.policy.Rotates = credential.RotatesNo
	b.policy.Sessions = credential.SessionPolicy{
		Idle: idle, Extend: true, WarnBefore: 2 * time.Minute,
		OnActive: credential.ActiveExtend, OnDeath: credential.DeathReauth,
	}
	in := credential.Login{ID: "acct-1", Provider: "acme", Subject: "u-7", Labels: map[string]string{"team": "blue"}, Token: token("at-4", "")}
	once := b.held.Record.OnceAt
	h := credential.Connect(&b.held, in, b.policy, nonceOf(5), used).Result(b.held)
	h.Record.OnceAt = once
	if presence != credential.PresencePassive {
		w, ok := credential.SetPresence(h, presence, b.policy, nonceOf(6), used)
		if ok {
			h = w.Result(h)
		}
	}
	b.held = h
	b.attempt.Generation, b.attempt.Grant = h.Record.Generation, h.Record.Grant
	b.open(b.attempt)
}

// touched is the record at a moment at which its user used the session.
func (b *bundle) touched(at credential.Millis) { b.held.Record = b.held.Record.Touched(at) }

func (b *bundle) extend(sentAt, now credential.Millis) credential.Write {
	got := credential.Received{Method: credential.MethodExtend, SentAt: sentAt}
	return credential.Extend(b.held, b.attempt, got, b.policy, credential.BySchedule, now)
}

// over is a backend's word that a session has ended.
func over() credential.Outcome {
	return credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassPermanent, Reason: credential.ReasonSessionEnded, Detail: "401"}
}

func types(w credential.Write) []credential.EventType {
	var list []credential.EventType
	for _, e := range w.Events {
		list = append(list, e.Type)
	}
	return list
}

// The clock starts with the login and ends after the idle timeout; who extends
// it depends on who uses it.
func TestSessionPlan(t *testing.T) {
	t.Parallel()
	twoThirds := used.Add(idle * 2 / 3)
	for name, c := range map[string]struct {
		presence           credential.Presence
		change             func(*credential.SessionPolicy)
		refreshes          bool
		from, to           credential.Millis // the planned extension
		countdown, expires credential.Millis
	}{
		"passive":             {credential.PresencePassive, nil, true, twoThirds, used.Add(idle * 3 / 4), 0, idleAt},
		"active":              {credential.PresenceActive, nil, true, idleAt - 150*second, idleAt - 30*second, idleAt - 2*minute, idleAt},
		"active, and ends":    {credential.PresenceActive, func(p *credential.SessionPolicy) { p.OnActive = credential.ActiveEnd }, false, 0, 0, idleAt - 2*minute, idleAt},
		"active, and no word": {credential.PresenceActive, func(p *credential.SessionPolicy) { p.WarnBefore = 0 }, true, idleAt - 150*second, idleAt - 30*second, 0, idleAt},
		"a long countdown":    {credential.PresenceActive, func(p *credential.SessionPolicy) { p.WarnBefore = time.Hour }, true, idleAt - 150*second, idleAt - 30*second, used, idleAt},
		"background":          {credential.PresenceBackground, nil, false, 0, 0, 0, idleAt},
		"nothing extends it":  {credential.PresencePassive, func(p *credential.SessionPolicy) { p.Extend = false }, false, 0, 0, 0, idleAt},
		"absolute limit":      {credential.PresencePassive, func(p *credential.SessionPolicy) { p.Absolute = 5 * time.Minute }, false, 0, 0, 0, used + 5*minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.session(credential.PresencePassive)
			if c.change != nil {
				c.change(&b.policy.Sessions)
			}
			in := login()
			in.Token.Refresh, in.ExpiresIn, in.ExpiresAt = credential.Secret{}, 3*time.Hour, used+2*hour // no expiry counts
			h := credential.Connect(&b.held, in, b.policy, b.nonce, used).Result(b.held)
			if c.presence != credential.PresencePassive {
				w, ok := credential.SetPresence(h, c.presence, b.policy, b.nonce, used)
				require.True(t, ok)
				assert.Empty(t, w.Events)
				h = w.Result(h)
			}
			r := h.Record
			assert.Equal(t, c.expires, r.ExpiresAt)
			assert.Equal(t, c.countdown, r.Session.CountdownAt)
			if !c.refreshes {
				assert.Zero(t, r.RefreshAt)
				return
			}
			assert.GreaterOrEqual(t, r.RefreshAt, c.from)
			assert.LessOrEqual(t, r.RefreshAt, c.to)
			assert.True(t, r.Refreshable)
			checkNextDue(t, r, nil)
		})
	}
}

func TestTouched(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	b.held.Record.Rejected = 3
	before := copyRecord(b.held.Record)
	r := b.held.Record.Touched(noon)
	assert.Equal(t, before, b.held.Record)
	assert.Equal(t, noon, r.IssuedAt)
	assert.Equal(t, noon.Add(idle), r.ExpiresAt)
	assert.GreaterOrEqual(t, r.RefreshAt, noon.Add(idle*2/3), "not due within two thirds")
	assert.Zero(t, r.Rejected, "it was good for that")
	assert.Equal(t, before.Revision, r.Revision)
	assert.Equal(t, before.Version, r.Version)

	b.policy.Sessions.Absolute = 20 * time.Minute
	b.held.Record.LimitAt = noon + 10*minute
	assert.Equal(t, noon+10*minute, b.held.Record.Touched(noon).ExpiresAt, "never beyond the limit")

	for name, change := range map[string]func(*credential.Record){
		"an older one":    func(r *credential.Record) { r.IssuedAt = noon },
		"too late":        func(r *credential.Record) { r.ExpiresAt = noon },
		"over":            func(r *credential.Record) { r.Session.Ended = true },
		"no session":      func(r *credential.Record) { r.Session = credential.Session{} },
		"pending":         func(r *credential.Record) { r.State = credential.StatePending },
		"expired":         func(r *credential.Record) { r.State = credential.StateExpired },
		"reauth_required": func(r *credential.Record) { r.State = credential.StateReauthRequired },
		"logged_out":      func(r *credential.Record) { r.State = credential.StateLoggedOut },
	} {
		r := copyRecord(b.held.Record)
		change(&r)
		assert.Equal(t, r, r.Touched(noon), name)
	}
	b.session(credential.PresenceBackground)
	r = b.held.Record.Touched(noon)
	assert.Equal(t, noon.Add(idle), r.ExpiresAt)
	assert.Zero(t, credential.NextDue(r, nil), "the clock moves, and nothing is done")
}

func TestExtend(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	w := b.extend(sent, noon)
	assert.Equal(t, []credential.EventType{credential.EventSessionExtended}, types(w))
	assert.Equal(t, sent.Add(idle), w.Record.ExpiresAt, "it counts from when it was sent")
	assert.Equal(t, sent.Add(idle), w.Events[0].ExpiresAt)
	assert.Equal(t, b.held.Record.Generation, w.Record.Generation, "the token is the same")
	assert.Nil(t, w.Token)
	assert.Equal(t, b.attempt.Nonce, w.Attempt)
	assert.Equal(t, b.attempt.Nonce, w.Nonce)
	assert.True(t, w.Close)
	assert.Equal(t, noon, w.Record.LastAttempt.SucceededAt)
	checkUnshared(t, b.held, w)

	b.touched(noon - 1)
	assert.Equal(t, noon-1, b.extend(sent, noon).Record.IssuedAt, "a later use stays")

	for _, state := range []credential.State{credential.StateDegraded, credential.StateExpired} {
		b.session(credential.PresencePassive)
		b.held.Record.State, b.held.Record.Failures = state, 2
		w = b.extend(sent, noon)
		assert.Equal(t, []credential.EventType{credential.EventRecovered, credential.EventSessionExtended}, types(w))
		assert.Zero(t, w.Record.Failures)
		assert.Equal(t, credential.StateActive, w.Record.State)
	}
}

// What an extension tells of the user is told on, the first of it included.
func TestExtendTellsOfTheUser(t *testing.T) {
	t.Parallel()
	extended, told := credential.EventSessionExtended, credential.EventUserDataChanged
	for name, c := range map[string]struct {
		before, got credential.UserData
		want        []credential.EventType
	}{
		"nothing":  {nil, nil, []credential.EventType{extended}},
		"first":    {nil, credential.UserData(`{"id":1}`), []credential.EventType{extended, told}},
		"the same": {credential.UserData(`{"id":1}`), credential.UserData(`{ "id": 1 }`), []credential.EventType{extended}},
		"another":  {credential.UserData(`{"id":1}`), credential.UserData(`{"id":2}`), []credential.EventType{extended, told}},
	} {
		b := setup(t)
		b.session(credential.PresencePassive)
		b.held.UserData = c.before
		before := b.held.Record.Version
		got := credential.Received{Method: credential.MethodExtend, SentAt: sent, UserData: c.got}
		w := credential.Extend(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
		assert.Equal(t, c.want, types(w), name)
		assert.Equal(t, before+uint64(len(c.want)), w.Record.Version, name)
	}
}

// A reply that came when the session's limit was reached extends nothing.
func TestExtendBeyondTheLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	b.held.Record.LimitAt, b.held.Record.Session.StartedAt = noon, 0
	w := b.extend(sent, noon)
	assert.Equal(t, []credential.EventType{credential.EventExpired, credential.EventReauthRequired}, types(w))
	assert.Equal(t, credential.ReasonAbsoluteTimeout, w.Record.Reason)
	assert.True(t, w.Close)
	assert.Zero(t, w.Due)
}

// A session that goes on under another name keeps its limit, one that is new has
// one of its own.
func TestSessionsLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	b.policy.Sessions.Absolute = time.Hour
	b.held.Record.LimitAt = used + hour
	install := func(method credential.Method) credential.Record {
		got := credential.Received{Method: method, Token: token("at-5", ""), SentAt: sent, RefreshExpiresIn: time.Minute}
		return credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon).Record
	}
	assert.Equal(t, used+hour, install(credential.MethodExtend).LimitAt)
	assert.Equal(t, sent+hour, install(credential.MethodLogin).LimitAt)
	assert.Equal(t, sent+hour, install(credential.MethodRefresh).LimitAt)
}

// countdown drives Advance from one due moment to the next and returns the
// moments at which something was told.
func countdown(t *testing.T, b *bundle) (at []credential.Millis, last credential.Write) {
	t.Helper()
	b.held.Attempt = nil
	for n := range uint64(20) {
		due := b.held.Record.Clock()
		w, ok := credential.Advance(b.held, b.policy, nonceOf(500+n), due)
		require.True(t, ok)
		at, last = append(at, due), w
		b.held = w.Result(b.held)
		if types(w)[0] != credential.EventSessionExpiring {
			return at, last
		}
		assert.Equal(t, idleAt, w.Events[0].ExpiresAt, "the deadline")
	}
	t.Fatal("the countdown does not end")
	return nil, last
}

// An active user is told at warn_before and at half of what is left each time,
// and is never extended where the provider says so.
func TestCountdown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresenceActive)
	b.policy.Sessions.OnActive = credential.ActiveEnd
	b.held.Record.Presence = credential.PresencePassive
	w, ok := credential.SetPresence(b.held, credential.PresenceActive, b.policy, b.nonce, used)
	require.True(t, ok)
	b.held = w.Result(b.held)
	at, last := countdown(t, b)
	assert.Equal(t, []credential.Millis{
		idleAt - 120*second, idleAt - 60*second, idleAt - 30*second, idleAt - 15*second, idleAt - 7500, idleAt,
	}, at)
	assert.Equal(t, []credential.EventType{credential.EventExpired, credential.EventReauthRequired}, types(last))
	assert.Equal(t, credential.ReasonIdleTimeout, last.Record.Reason)
	assert.Zero(t, last.Due)

	b.session(credential.PresenceActive)
	b.held.Attempt = nil
	w, ok = credential.Advance(b.held, b.policy, b.nonce, idleAt-2*minute)
	require.True(t, ok)
	b.held = w.Result(b.held)
	b.touched(idleAt - minute)
	assert.Equal(t, (idleAt-minute).Add(idle)-2*minute, b.held.Record.Session.CountdownAt, "whoever reacts starts it anew")
}

// What becomes of a session that has run out, or that its backend has ended.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	reauth := []credential.EventType{credential.EventExpired, credential.EventReauthRequired}
	for name, c := range map[string]struct {
		presence credential.Presence
		login    bool
		refresh  bool
		onActive credential.OnActive
		onDeath  credential.OnDeath
		clock    bool // it ran out; else its backend says so
		events   []credential.EventType
		method   credential.Method
	}{
		"nobody can log in":           {credential.PresencePassive, false, false, "", "", true, reauth, ""},
		"nobody can log in, told":     {credential.PresencePassive, false, false, "", "", false, reauth, ""},
		"logged out":                  {credential.PresencePassive, false, false, "", credential.DeathLogout, true, []credential.EventType{credential.EventLoggedOut}, ""},
		"logged out, told":            {credential.PresencePassive, false, false, "", credential.DeathLogout, false, []credential.EventType{credential.EventLoggedOut}, ""},
		"logged in again":             {credential.PresencePassive, true, false, "", credential.DeathLogout, true, []credential.EventType{credential.EventExpired}, credential.MethodLogin},
		"logged in again, told":       {credential.PresenceActive, true, false, credential.ActiveEnd, credential.DeathLogout, false, []credential.EventType{credential.EventExpired}, credential.MethodLogin},
		"refreshed":                   {credential.PresencePassive, true, true, "", "", false, []credential.EventType{credential.EventExpired}, credential.MethodRefresh},
		"active, extended too late":   {credential.PresenceActive, true, false, credential.ActiveExtend, "", true, []credential.EventType{credential.EventExpired}, credential.MethodLogin},
		"active, did not react":       {credential.PresenceActive, true, true, credential.ActiveEnd, "", true, reauth, ""},
		"active, did not react, gone": {credential.PresenceActive, true, true, credential.ActiveEnd, credential.DeathLogout, true, []credential.EventType{credential.EventLoggedOut}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.session(c.presence)
			b.policy.Sessions.OnActive, b.policy.Sessions.OnDeath = c.onActive, c.onDeath
			if c.login {
				b.withLogin()
			}
			if c.refresh {
				b.held.Record.HasRefresh, b.held.Token.Refresh = true, credential.NewSecret("rt-4")
			}
			var w credential.Write
			now, reason := noon, credential.ReasonSessionEnded
			if c.clock {
				b.held.Attempt = nil
				now, reason = idleAt, credential.ReasonIdleTimeout
				b.held.Record.Session.CountdownAt = 0 // told before
				w, _ = credential.Advance(b.held, b.policy, b.nonce, now)
			} else {
				w = fail(b, over())
			}
			require.Equal(t, c.events, types(w))
			after := w.Result(b.held)
			assert.Equal(t, reason, after.Record.Reason)
			assert.Nil(t, after.Attempt)
			checkUnshared(t, b.held, w)
			switch {
			case c.method != "":
				assert.True(t, after.Record.Session.Ended)
				assert.Equal(t, c.method, b.policy.Method(after.Record))
				assert.Equal(t, now, w.Due, "at once")
			case after.Record.State == credential.StateLoggedOut:
				assert.True(t, w.Erase)
				assert.Equal(t, b.held.Record.Grant+1, after.Record.Grant)
				assert.True(t, after.Token.Access.IsZero())
				assert.True(t, after.SignIn.IsZero())
				l := late()
				l.Grant, l.Generation = b.held.Record.Grant, b.held.Record.Generation
				_, verdict := credential.TakeLate(after, l, false, b.policy, nonceOf(60), credential.BySchedule, now)
				assert.Equal(t, credential.LateRevoke, verdict, "a late reply never brings it back")
				_, wanted := credential.TakeEnded(after, b.attempt, over(), b.policy, now)
				assert.False(t, wanted)
			default:
				assert.Equal(t, credential.StateReauthRequired, after.Record.State)
				assert.Zero(t, w.Due)
			}
		})
	}
}

// A session that runs out while it is being extended waits for the answer.
func TestSessionRunsOutInTheAir(t *testing.T) {
	t.Parallel()
	for _, death := range []credential.OnDeath{credential.DeathReauth, credential.DeathLogout} {
		b := setup(t)
		b.session(credential.PresencePassive)
		b.policy.Sessions.OnDeath = death
		w, ok := credential.Advance(b.held, b.policy, b.nonce, idleAt)
		require.True(t, ok)
		assert.Equal(t, []credential.EventType{credential.EventExpired}, types(w))
		b.held = w.Result(b.held)
		require.NotNil(t, b.held.Attempt)
		assert.Equal(t, credential.StateExpired, b.held.Record.State)
		_, ok = credential.Advance(b.held, b.policy, b.nonce, idleAt)
		assert.False(t, ok)

		good := b.extend(idleAt-second, idleAt+second)
		assert.Equal(t, credential.StateActive, good.Record.State)
		bad := credential.Fail(b.held, b.attempt, over(), b.policy, credential.BySchedule, idleAt+second)
		assert.True(t, bad.Record.State.Terminal())
		assert.NotContains(t, types(bad), credential.EventExpired, "told before")
		unknown := credential.Fail(b.held, b.attempt, credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassTransient, Reason: credential.ReasonTimeout}, b.policy, credential.BySchedule, idleAt+second)
		assert.Equal(t, credential.StateExpired, unknown.Record.State)
		assert.Equal(t, credential.MethodExtend, b.policy.Method(unknown.Record), "it is for the backend to say")
		assert.Greater(t, unknown.Due, idleAt+second)
		unsent := credential.Abandon(b.held, b.attempt, credential.BySchedule, idleAt+second)
		assert.Equal(t, credential.MethodExtend, b.policy.Method(unsent.Record))
		assert.NotZero(t, unsent.Due)
	}
}

// An end that was heard under an extension ends the session whoever stores it,
// once, and unless it was used since.
func TestTakeEndedOfASession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	b.withLogin()
	w, wanted := credential.TakeEnded(b.held, b.attempt, over(), b.policy, noon)
	require.True(t, wanted)
	after := w.Result(b.held)
	assert.True(t, after.Record.Session.Ended)
	assert.Equal(t, credential.StateExpired, after.Record.State)
	assert.Equal(t, credential.MethodLogin, b.policy.Method(after.Record))
	assert.Nil(t, after.Attempt)
	_, wanted = credential.TakeEnded(after, b.attempt, over(), b.policy, noon+minute)
	assert.False(t, wanted, "it is over already")

	told, _ := credential.Advance(b.held, b.policy, b.nonce, idleAt)
	w, wanted = credential.TakeEnded(told.Result(b.held), b.attempt, over(), b.policy, idleAt)
	require.True(t, wanted, "told to be expired meanwhile")
	assert.True(t, w.Record.Session.Ended)
	assert.False(t, w.Record.State.Terminal(), "it is not the login that was refused")

	b.held.Attempt = nil
	b.touched(noon)
	_, wanted = credential.TakeEnded(b.held, b.attempt, over(), b.policy, noon+minute)
	assert.False(t, wanted, "it was used since")
}

// A doubt about a refresh token outlives what is done for the session meanwhile.
func TestExtensionKeepsADoubt(t *testing.T) {
	t.Parallel()
	for name, settle := range map[string]func(*bundle) credential.Write{
		"extended": func(b *bundle) credential.Write { return b.extend(sent, noon) },
		"renamed": func(b *bundle) credential.Write {
			return credential.Install(b.held, b.attempt, credential.Received{Method: credential.MethodExtend, Token: token("at-5", ""), SentAt: sent}, b.policy, credential.BySchedule, noon)
		},
		"not answered": func(b *bundle) credential.Write {
			return fail(b, credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout})
		},
		"ended": func(b *bundle) credential.Write { return fail(b, over()) },
		"renamed, late": func(b *bundle) credential.Write {
			doubt := b.attempt
			doubt.Nonce, doubt.Doubt = nonceOf(70), true
			b.open(doubt)
			l := late()
			l.Generation, l.Grant = b.held.Record.Generation, b.held.Record.Grant
			l.Received.Method, l.Received.Token.Refresh = credential.MethodExtend, credential.Secret{}
			w, verdict := b.takeLate(l, true)
			require.Equal(t, credential.LateInstalled, verdict)
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.session(credential.PresencePassive)
			b.policy.Rotates = credential.RotatesYes
			b.held.Record.HasRefresh, b.held.Token.Refresh = true, credential.NewSecret("rt-4")
			b.recovery(noon - minute)
			after := settle(b).Result(b.held)
			require.NotNil(t, after.Attempt)
			assert.True(t, after.Attempt.Doubt)
			assert.Equal(t, noon-minute, after.Attempt.FirstSent)
			assert.Equal(t, after.Record.Generation, after.Attempt.Generation)
			assert.NotZero(t, credential.NextDue(after.Record, after.Attempt))
			assert.Equal(t, "rt-4", after.Token.Refresh.Reveal())
		})
	}
}

func TestSetPresence(t *testing.T) {
	t.Parallel()
	const away = credential.PresenceBackground
	twoThirds := used.Add(idle * 2 / 3)
	for name, c := range map[string]struct {
		from, to credential.Presence
		at       credential.Millis
		login    bool
		onActive credential.OnActive
		onDeath  credential.OnDeath
		events   []credential.EventType
		state    credential.State
		refresh  credential.Millis // the planned extension; 0: none
	}{
		"goes away":                    {credential.PresencePassive, away, noon, false, "", "", nil, credential.StateActive, 0},
		"back in time":                 {away, credential.PresenceActive, twoThirds, false, "", "", nil, credential.StateActive, twoThirds},
		"back in time, silently":       {away, credential.PresencePassive, idleAt - 1, false, "", "", nil, credential.StateActive, idleAt - 1},
		"back too late":                {away, credential.PresenceActive, idleAt, false, "", "", []credential.EventType{credential.EventExpired, credential.EventReauthRequired}, credential.StateReauthRequired, 0},
		"back too late, logs out":      {away, credential.PresenceActive, idleAt, false, "", credential.DeathLogout, []credential.EventType{credential.EventLoggedOut}, credential.StateLoggedOut, 0},
		"back too late, logged in":     {away, credential.PresenceActive, idleAt + hour, true, "", "", []credential.EventType{credential.EventExpired}, credential.StateExpired, idleAt + hour},
		"nobody told him that it ends": {away, credential.PresenceActive, idleAt + hour, true, credential.ActiveEnd, "", []credential.EventType{credential.EventExpired}, credential.StateExpired, idleAt + hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.session(c.from)
			b.held.Attempt = nil
			b.policy.Sessions.OnActive, b.policy.Sessions.OnDeath = c.onActive, c.onDeath
			if c.login {
				b.withLogin()
			}
			if c.from == away {
				assert.Zero(t, credential.NextDue(b.held.Record, nil), "nothing is done, and nothing told")
			}
			w, ok := credential.SetPresence(b.held, c.to, b.policy, b.nonce, c.at)
			require.True(t, ok)
			assert.Equal(t, c.events, types(w))
			assert.Equal(t, c.state, w.Record.State)
			assert.Equal(t, c.refresh, w.Record.RefreshAt)
			assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
			if c.state != credential.StateLoggedOut {
				assert.Equal(t, c.to, w.Record.Presence)
				_, ok = credential.SetPresence(w.Result(b.held), c.to, b.policy, b.nonce, c.at)
				assert.False(t, ok)
			}
			checkUnshared(t, b.held, w)
		})
	}
}

// Who comes and goes costs no call: on each return the last use decides when the
// session is extended, and a call that failed is not made again for it.
func TestBackAndForth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	b.held.Attempt = nil
	b.touched(noon)
	h, now := b.held, noon
	set := func(to credential.Presence) credential.Write {
		now += 700
		w, ok := credential.SetPresence(h, to, b.policy, b.nonce, now)
		require.True(t, ok)
		h = w.Result(h)
		return w
	}
	for n := range 8 {
		assert.Zero(t, set(credential.PresenceBackground).Due)
		to := credential.PresencePassive
		if n%2 == 1 {
			to = credential.PresenceActive
		}
		w := set(to)
		assert.GreaterOrEqual(t, w.Record.RefreshAt, noon.Add(idle*2/3), "used %s ago", now.Sub(noon))
		assert.Less(t, w.Record.RefreshAt, noon.Add(idle))
		assert.Equal(t, noon.Add(idle), w.Record.ExpiresAt)
		assert.Equal(t, to == credential.PresenceActive, w.Record.Session.CountdownAt != 0)
	}

	// The backend is away when the return leads to a call.
	set(credential.PresenceBackground)
	now = noon.Add(idle * 2 / 3)
	w := set(credential.PresencePassive)
	assert.Equal(t, now, w.Record.RefreshAt, "two thirds have passed")
	b.held = h
	b.attempt.BegunAt = now
	b.open(b.attempt)
	o := credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
	failed := now
	h = credential.Fail(b.held, b.attempt, o, b.policy, credential.BySchedule, failed).Result(b.held)
	for range 4 {
		set(credential.PresenceBackground)
		w = set(credential.PresencePassive)
		assert.GreaterOrEqual(t, w.Record.RefreshAt, failed.Add(b.policy.Backoff(h.Record.ID, 1, h.Record.Lifetime)))
		now = failed
	}
}

// A presence of what has no session running says no more than who is there.
func TestSetPresenceElsewhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, ok := credential.SetPresence(b.held, credential.PresenceBackground, b.policy, b.nonce, noon)
	require.True(t, ok)
	checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { r.Presence, r.Plans = credential.PresenceBackground, uint64(noon) }))
	assert.Equal(t, b.attempt.Deadline, w.Due)

	b.session(credential.PresencePassive)
	b.policy.CanLogin = true
	in := login()
	in.Token, in.SignIn = credential.Token{}, signIn("pw")
	pending := credential.Connect(&b.held, in, b.policy, b.nonce, noon).Result(b.held)
	require.Equal(t, credential.StatePending, pending.Record.State)
	for _, to := range []credential.Presence{credential.PresenceActive, credential.PresencePassive} {
		w, ok = credential.SetPresence(pending, to, b.policy, b.nonce, noon+second)
		require.True(t, ok)
		assert.Equal(t, noon, w.Record.RefreshAt, "the first login is as due as it was")
		assert.Zero(t, w.Record.ExpiresAt)
		_, ok = credential.Advance(w.Result(pending), b.policy, b.nonce, noon+hour)
		assert.False(t, ok)
	}
	w, _ = credential.SetPresence(pending, credential.PresenceBackground, b.policy, b.nonce, noon+second)
	assert.Zero(t, w.Due, "nobody needs it now")
	w, _ = credential.SetPresence(w.Result(pending), credential.PresenceActive, b.policy, b.nonce, noon+hour)
	assert.Equal(t, noon+hour, w.Due)

	again := credential.Connect(new(func() credential.Held {
		w, _ := credential.SetPresence(pending, credential.PresenceBackground, b.policy, b.nonce, noon)
		return w.Result(pending)
	}()), in, b.policy, b.nonce, noon)
	assert.Empty(t, again.Record.Presence, "whoever logs in is there")
	b.in(credential.StateReauthRequired, true)
	_, ok = credential.SetPresence(b.held, credential.PresenceActive, b.policy, b.nonce, noon)
	assert.False(t, ok)
}

// In the background a call that fails is not made again until somebody returns,
// and one that was asked for is.
func TestFailInTheBackground(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresenceBackground)
	o := credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
	assert.Zero(t, fail(b, o).Due)
	b.held.Record.OnceAt = noon - minute
	o.Class = credential.ClassNotSent
	w := fail(b, o)
	assert.Equal(t, w.Record.OnceAt, w.Due)
	assert.Greater(t, w.Due, noon)
	b.withLogin()
	w = fail(b, over())
	assert.Equal(t, credential.StateExpired, w.Record.State)
	assert.Zero(t, w.Due, "the login waits for whoever returns")
}

// A session that its backend ends before its time, twice in a row, has a shorter
// idle timeout than the settings say.
func TestLearnedIdle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	b.onlyLogin()
	for range 2 {
		require.Equal(t, idle, b.held.Record.Session.Idle)
		now := b.held.Record.IssuedAt + 6*minute
		b.held = credential.Fail(b.held, b.attempt, over(), b.policy, credential.BySchedule, now).Result(b.held)
		b.attempt.BegunAt = now
		b.open(b.attempt)
		got := credential.Received{Method: credential.MethodLogin, Token: token("at-5", ""), SentAt: now}
		b.held = credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, now).Result(b.held)
		b.attempt.Generation = b.held.Record.Generation
		b.open(b.attempt)
	}
	assert.Equal(t, 6*time.Minute, b.held.Record.Session.Idle)
	assert.Less(t, b.held.Record.RefreshAt, b.held.Record.IssuedAt+5*minute)
}

// A new session that is dead when it comes is not fetched again at once.
func TestDeadSessionOnArrival(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresenceActive)
	b.onlyLogin()
	b.held = fail(b, over()).Result(b.held)
	b.open(b.attempt)
	got := credential.Received{Method: credential.MethodLogin, Token: token("at-5", ""), SentAt: noon.Add(-idle)}
	w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	assert.Equal(t, credential.StateExpired, w.Record.State)
	assert.Greater(t, w.Due, noon)
	_, ok := credential.Advance(w.Result(b.held), b.policy, b.nonce, noon+hour)
	assert.False(t, ok, "nothing is left to be told")
}

// A session that was brought dead can only be replaced.
func TestConnectDeadSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.session(credential.PresencePassive)
	in := login()
	in.Token.Refresh, in.ExpiresAt = credential.Secret{}, noon-minute
	w := credential.Connect(nil, in, b.policy, b.nonce, noon)
	assert.Equal(t, credential.StateReauthRequired, w.Record.State)
	assert.Equal(t, credential.ReasonNotRefreshable, w.Record.Reason)
	b.policy.CanLogin, in.SignIn = true, signIn("pw")
	w = credential.Connect(nil, in, b.policy, b.nonce, noon)
	assert.Equal(t, credential.StateExpired, w.Record.State)
	assert.Equal(t, credential.MethodLogin, b.policy.Method(w.Record))
	assert.Equal(t, noon, w.Due)
	assert.Equal(t, noon-minute, w.Record.ExpiresAt)
}
