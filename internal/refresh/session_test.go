package refresh

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

const idle = 15 * time.Minute

// sliding makes the provider a backend with sessions.
func (b *bundle) sliding() {
	b.backend()
	b.policy.Sessions = credential.SessionPolicy{
		Idle: idle, Extend: true, WarnBefore: 2 * time.Minute, OnActive: credential.ActiveExtend, OnDeath: credential.DeathReauth,
	}
	b.provider.set(func(p *fakeProvider) { p.sessions = map[string]bool{} })
}

// session stores a session of alice's, with her password or without.
func (b *bundle) session(n *node, withPassword bool) {
	b.t.Helper()
	login := signIn(password)
	if !withPassword {
		token := b.provider.grant("alice")
		token.Refresh = credential.Secret{}
		b.provider.set(func(p *fakeProvider) { p.sessions[token.Access.Reveal()] = true })
		login = credential.Login{ID: "alice", Provider: acme, Token: token}
	}
	_, err := n.Put(b.t.Context(), login, Expect{})
	require.NoError(b.t, err)
}

// end ends every session at the backend.
func (p *fakeProvider) end() {
	p.set(func(p *fakeProvider) { clear(p.sessions) })
}

func TestASessionIsExtendedWhenNobodyUsedIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, false)
	began := b.held(n, "alice")
	b.clock.advance(idle * 3 / 5)
	b.batch(n, "alice")
	_, extended := b.provider.counted()
	assert.Zero(t, extended, "too early")
	b.clock.advance(idle / 5)
	b.batch(n, "alice")
	_, extended = b.provider.counted()
	assert.Equal(t, 1, extended)
	h := b.held(n, "alice")
	assert.Equal(t, b.clock.Now().Add(idle), h.Record.ExpiresAt)
	assert.Equal(t, began.Record.Generation, h.Record.Generation, "it is the same token")
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventSessionExtended}, b.events(n, "alice"))
}

func TestATouchMovesTheClock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, false)
	for range 5 {
		b.clock.advance(idle * 3 / 5)
		touches, err := n.Touch(t.Context(), []credential.ID{"alice", "nobody"})
		require.NoError(t, err)
		assert.Equal(t, credential.TouchDone, touches[0].Result)
		assert.Equal(t, b.clock.Now().Add(idle), touches[0].Deadline)
		assert.NotEqual(t, credential.TouchDone, touches[1].Result)
		b.batch(n, "alice")
	}
	_, extended := b.provider.counted()
	assert.Zero(t, extended, "it was in use all the time")
	assert.Equal(t, []credential.EventType{credential.EventConnected}, b.events(n, "alice"))

	// A neighbour knows, although no event told him.
	other := b.node("two")
	b.clock.advance(idle * 3 / 5)
	_, err := other.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	_, err = n.Touch(t.Context(), []credential.ID{"alice"})
	require.NoError(t, err)
	b.clock.advance(idle * 3 / 5)
	_, err = other.Token(t.Context(), "alice", 0)
	require.NoError(t, err)
	_, extended = b.provider.counted()
	assert.Zero(t, extended)
}

// In the last moments before its absolute limit no extension helps a session: none
// is made, however long a life is asked for.
func TestNoExtensionIsAskedForBeforeTheLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	b.policy.Sessions.Absolute = idle + idle/2
	n := b.node("one")
	b.session(n, false)
	b.clock.advance(idle * 4 / 5)
	b.batch(n, "alice")
	_, extended := b.provider.counted()
	require.Equal(t, 1, extended)
	limit := b.held(n, "alice").Record.LimitAt
	require.Equal(t, limit, b.held(n, "alice").Record.ExpiresAt)
	b.clock.advance(limit.Sub(b.clock.Now()) - 20*time.Second)
	_, err := n.Token(t.Context(), "alice", 10*time.Second)
	require.NoError(t, err)
	_, err = n.Token(t.Context(), "alice", 25*time.Second)
	short := new(MinTTLError)
	require.ErrorAs(t, err, &short)
	assert.Equal(t, 19*time.Second, short.Longest)
	b.clock.advance(19*time.Second + 500*time.Millisecond)
	late := new(UnavailableError)
	_, err = n.Token(t.Context(), "alice", 0)
	require.ErrorAs(t, err, &late)
	assert.Equal(t, credential.ReasonAbsoluteTimeout, late.Reason)
	_, err = n.Refresh(t.Context(), "alice", 1)
	require.ErrorAs(t, err, &late)
	_, extended = b.provider.counted()
	assert.Equal(t, 1, extended)
}

// Whoever asks for the token of a session that has just reached its absolute limit
// hears of its end, or has its user logged in, and does not wait for a schedule.
func TestASessionAtItsLimitIsToldToBeOver(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(n *node) (credential.Held, error){
		"a token":   func(n *node) (credential.Held, error) { return n.Token(t.Context(), "alice", 0) },
		"long":      func(n *node) (credential.Held, error) { return n.Token(t.Context(), "alice", time.Minute) },
		"a refusal": func(n *node) (credential.Held, error) { return n.Refresh(t.Context(), "alice", 1) },
	} {
		for _, login := range []bool{false, true} {
			b := setup(t)
			b.sliding()
			b.policy.Sessions.Absolute, b.policy.Sessions.OnActive = idle+idle/2, credential.ActiveEnd
			n := b.node("one")
			b.session(n, login)
			_, err := n.SetPresence(t.Context(), "alice", credential.PresenceActive, "")
			require.NoError(t, err)
			for range 2 {
				b.clock.advance(idle * 3 / 5)
				_, err = n.Touch(t.Context(), []credential.ID{"alice"})
				require.NoError(t, err)
			}
			limit := b.held(n, "alice").Record.LimitAt
			require.Equal(t, limit, b.held(n, "alice").Record.ExpiresAt)
			b.clock.advance(limit.Sub(b.clock.Now()) + time.Second)
			got, err := ask(n)
			_, extended := b.provider.counted()
			assert.Zero(t, extended, name)
			if login {
				require.NoError(t, err, name)
				assert.EqualValues(t, 2, got.Record.Generation, name)
				continue
			}
			over := new(StateError)
			require.ErrorAs(t, err, &over, name)
			assert.Equal(t, credential.StateReauthRequired, over.State, name)
			assert.Equal(t, credential.ReasonAbsoluteTimeout, over.Reason, name)
		}
	}
}

// Nor does who asks for a life that the limit would not leave, of a session whose
// idle timeout has passed shortly before that.
func TestASessionThatIdledOutBeforeItsLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	b.policy.Sessions.Absolute = idle + 30*time.Second
	n := b.node("one")
	b.session(n, false)
	b.clock.advance(idle + time.Second)
	_, err := n.Token(t.Context(), "alice", time.Minute)
	over := new(StateError)
	require.ErrorAs(t, err, &over)
	assert.Equal(t, credential.ReasonIdleTimeout, over.Reason)
}

func TestADeadSessionIsReplacedSilently(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, true)
	before := b.held(n, "alice")
	b.provider.end()
	got, err := n.Refresh(t.Context(), "alice", before.Record.Generation)
	require.NoError(t, err)
	assert.Equal(t, before.Record.Generation+1, got.Record.Generation)
	assert.NotEqual(t, before.Token.Access, got.Token.Access)
	logins, extended := b.provider.counted()
	assert.Equal(t, 2, logins)
	assert.Equal(t, 1, extended, "the backend is asked before the user is logged in again")
}

// A session that no extension can be made of lives to its idle deadline, and is then
// replaced as one that is dead.
func TestASessionThatCannotBeExtendedIsReplacedSilently(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, true)
	before := b.held(n, "alice")
	b.provider.set(func(p *fakeProvider) {
		p.prepare = func() *credential.Outcome {
			return &credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonInvalidRequest}
		}
	})
	b.clock.advance(idle * 4 / 5)
	b.batch(n, "alice")
	h := b.held(n, "alice")
	require.Equal(t, credential.StateDegraded, h.Record.State)
	require.Equal(t, before.Record.ExpiresAt, h.Record.ExpiresAt)
	b.provider.set(func(p *fakeProvider) { p.prepare = nil })
	b.clock.advance(idle / 5)
	b.batch(n, "alice")
	b.batch(n, "alice")
	h = b.held(n, "alice")
	assert.Equal(t, credential.StateActive, h.Record.State)
	assert.Equal(t, before.Record.Generation+1, h.Record.Generation)
	logins, extended := b.provider.counted()
	assert.Equal(t, 2, logins)
	assert.Zero(t, extended)
}

func TestADeadSessionWithoutAPassword(t *testing.T) {
	t.Parallel()
	for death, want := range map[credential.OnDeath]credential.State{
		credential.DeathReauth: credential.StateReauthRequired, credential.DeathLogout: credential.StateLoggedOut,
	} {
		b := setup(t)
		b.sliding()
		b.policy.Sessions.OnDeath = death
		n := b.node("one")
		b.session(n, false)
		b.provider.end()
		_, err := n.Refresh(t.Context(), "alice", 1)
		var state *StateError
		require.ErrorAs(t, err, &state)
		assert.Equal(t, want, state.State)
		assert.Equal(t, credential.ReasonSessionEnded, state.Reason)
		h := b.held(n, "alice")
		assert.Equal(t, death == credential.DeathLogout, h.Token.Access.IsZero())
		_, err = n.Touch(t.Context(), []credential.ID{"alice"})
		require.NoError(t, err)
		assert.Equal(t, h, b.held(n, "alice"), "nothing revives it")
	}
}

// The backend takes the session, and yet its resource refused it: that is said,
// and no loop.
func TestALivingSessionThatIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, true)
	first := b.held(n, "alice").Record.Generation
	got, err := n.Refresh(t.Context(), "alice", first)
	require.NoError(t, err)
	assert.Equal(t, first, got.Record.Generation)
	_, err = n.Refresh(t.Context(), "alice", first)
	require.ErrorIs(t, err, ErrFreshRejected)
	logins, extended := b.provider.counted()
	assert.Equal(t, 1, logins)
	assert.Equal(t, 1, extended)
}

func TestASessionInTheBackground(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		away time.Duration
		want credential.EventType
	}{
		"still valid": {idle * 9 / 10, credential.EventSessionExtended},
		"expired":     {2 * idle, credential.EventRecovered},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sliding()
			n := b.node("one")
			b.session(n, true)
			_, err := n.SetPresence(t.Context(), "alice", credential.PresenceBackground, "")
			require.NoError(t, err)
			b.clock.advance(c.away)
			b.batch(n, "alice")
			_, extended := b.provider.counted()
			assert.Zero(t, extended, "its clock runs, and nothing is done")
			assert.Equal(t, []credential.EventType{credential.EventConnected}, b.events(n, "alice"))
			if c.away > idle {
				b.provider.end()
			}
			_, err = n.SetPresence(t.Context(), "alice", credential.PresencePassive, "")
			require.NoError(t, err)
			b.batch(n, "alice")
			h := b.held(n, "alice")
			assert.Equal(t, credential.StateActive, h.Record.State)
			assert.Equal(t, b.clock.Now().Add(idle), h.Record.ExpiresAt)
			events := b.events(n, "alice")
			assert.Equal(t, c.want, events[len(events)-1])
		})
	}
}

// Whoever returns when two thirds are over and leaves before the call was made
// has his session extended, once, as soon as that can be done.
func TestAReturnIsNotTakenBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		held time.Duration // how long no call gets through
		want int
	}{
		"at once":         {0, 1},
		"after a failure": {time.Minute, 1},
		"too late":        {idle, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.sliding()
			n := b.node("one")
			b.session(n, false)
			_, err := n.SetPresence(t.Context(), "alice", credential.PresenceBackground, "")
			require.NoError(t, err)
			b.clock.advance(idle * 4 / 5)
			for _, to := range []credential.Presence{credential.PresencePassive, credential.PresenceActive, credential.PresenceBackground} {
				_, err = n.SetPresence(t.Context(), "alice", to, "")
				require.NoError(t, err)
			}
			if c.held > 0 {
				away := credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonUnavailable}
				b.provider.set(func(p *fakeProvider) { p.prepare = func() *credential.Outcome { return &away } })
				b.batch(n, "alice")
				b.provider.set(func(p *fakeProvider) { p.prepare = nil })
				b.clock.advance(c.held)
			}
			told := b.events(n, "alice")
			for range 3 {
				b.batch(n, "alice")
			}
			_, extended := b.provider.counted()
			assert.Equal(t, c.want, extended)
			h := b.held(n, "alice")
			assert.Equal(t, credential.PresenceBackground, h.Record.Presence)
			assert.Zero(t, credential.NextDue(h.Record, h.Attempt), "nothing more in the background")
			if c.want > 0 {
				assert.Equal(t, b.clock.Now().Add(idle), h.Record.ExpiresAt)
				return
			}
			assert.Equal(t, told, b.events(n, "alice"), "nobody is told until somebody returns")
			_, err = n.SetPresence(t.Context(), "alice", credential.PresencePassive, "")
			var over *StateError
			require.ErrorAs(t, err, &over)
			assert.Equal(t, credential.ReasonIdleTimeout, over.Reason)
		})
	}
}

func TestTheCountdownOfAnActiveUser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, true)
	_, err := n.SetPresence(t.Context(), "alice", credential.PresenceActive, "")
	require.NoError(t, err)
	b.clock.advance(idle - 2*time.Minute)
	b.batch(n, "alice")
	b.clock.advance(time.Minute)
	b.batch(n, "alice")
	assert.Equal(t, []credential.EventType{
		credential.EventConnected, credential.EventSessionExpiring, credential.EventSessionExpiring,
	}, b.events(n, "alice"))
	_, extended := b.provider.counted()
	assert.Zero(t, extended)
	b.clock.advance(time.Minute - 10*time.Second)
	b.batch(n, "alice")
	b.batch(n, "alice")
	_, extended = b.provider.counted()
	assert.Equal(t, 1, extended, "nobody reacted, and the settings say so")
}

// What rests while its provider is paused has its place again before anybody is
// told of the resumption, also where it rests until its token dies.
func TestAResumptionWakesWhatRests(t *testing.T) {
	t.Parallel()
	for name, what := range map[string]string{"provider": acme, "service": credential.AllClients} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			resumed := make(chan string, 1)
			n := b.node("one", func(o *Options) { o.OnClientRecovered = func(provider string) { resumed <- provider } })
			b.put(n, "alice")
			due := b.held(n, "alice").Record.RefreshAt
			_, err := n.PauseProvider(t.Context(), what, true)
			require.NoError(t, err)
			for _, left := range []time.Duration{life / 4, 3 * time.Second} {
				b.clock.advance(b.held(n, "alice").Record.ExpiresAt.Sub(b.clock.Now()) - left)
				b.batch(n, "alice")
				rests, _, err := n.store.NextDue(t.Context(), 0, acme)
				require.NoError(t, err)
				require.Equal(t, b.clock.Now().Add(min(idlePause, left)), rests)
				_, err = n.PauseProvider(t.Context(), what, false)
				require.NoError(t, err)
				assert.Equal(t, acme, soon(t, resumed, "the resumption"))
				awake, _, err := n.store.NextDue(t.Context(), 0, acme)
				require.NoError(t, err)
				assert.Equal(t, due, awake)
				_, err = n.PauseProvider(t.Context(), what, true)
				require.NoError(t, err)
			}
		})
	}
}

// Who keeps no session has no clock that presence could move. A session that is
// still to be opened has its presence already.
func TestPresenceWithoutASession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	before := b.held(n, "alice")
	_, err := n.SetPresence(t.Context(), "alice", credential.PresenceActive, "")
	require.ErrorIs(t, err, ErrNoSession)
	assert.Equal(t, before, b.held(n, "alice"))
	_, err = n.Logout(t.Context(), "alice", Expect{})
	require.NoError(t, err)
	_, err = n.SetPresence(t.Context(), "alice", credential.PresenceActive, "")
	var ended *StateError
	require.ErrorAs(t, err, &ended, "its end says more")
	_, err = n.SetPresence(t.Context(), "nobody", credential.PresenceActive, "")
	require.ErrorIs(t, err, ErrNotFound)

	b = setup(t)
	b.sliding()
	b.backend()
	away := credential.Outcome{Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
	b.provider.set(func(p *fakeProvider) { p.login = func(credential.SignIn) *credential.Outcome { return &away } })
	n = b.node("one")
	_, err = n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	held, err := n.SetPresence(t.Context(), "alice", credential.PresenceActive, "")
	require.NoError(t, err)
	assert.Equal(t, credential.StatePending, held.Record.State)
	assert.Equal(t, credential.PresenceActive, held.Record.Presence)
}

// Without settings there is nothing to plan by: who tells of a presence is not
// left to believe that it was taken.
func TestPresenceOfAnUnknownProvider(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, true)
	before := b.held(n, "alice")
	n.SetTargets(t.Context(), nil)
	_, err := n.SetPresence(t.Context(), "alice", credential.PresenceActive, "")
	require.ErrorIs(t, err, ErrUnknownProvider)
	assert.Equal(t, before, b.held(n, "alice"))
}

func TestPause(t *testing.T) {
	t.Parallel()
	hold := map[string]func(n *node, paused bool) error{
		"the credential": func(n *node, paused bool) error {
			_, err := n.SetPaused(n.t.Context(), "alice", paused, "")
			return err
		},
		"the provider": func(n *node, paused bool) error {
			_, err := n.PauseProvider(n.t.Context(), acme, paused)
			return err
		},
		"the service": func(n *node, paused bool) error {
			_, err := n.PauseProvider(n.t.Context(), credential.AllClients, paused)
			return err
		},
	}
	for name, set := range hold {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			n := b.node("one")
			b.put(n, "alice")
			require.NoError(t, set(n, true))
			_, err := n.Token(t.Context(), "alice", 0)
			require.NoError(t, err, "what is valid is served")
			n.stop()

			n = b.node("two") // it is stored
			b.clock.advance(2 * life)
			b.batch(n, "alice")
			_, err = n.Token(t.Context(), "alice", 0)
			var away *UnavailableError
			require.ErrorAs(t, err, &away)
			assert.Equal(t, credential.ReasonPaused, away.Reason)
			assert.Zero(t, b.provider.calls())
			assert.Equal(t, credential.StateExpired, b.held(n, "alice").Record.State, "time passes all the same")

			require.NoError(t, set(n, false))
			b.clock.advance(2 * breakerFresh)
			b.batch(n, "alice")
			assert.Equal(t, 1, b.provider.calls())
			assert.Equal(t, credential.StateActive, b.held(n, "alice").Record.State)
		})
	}
}

func TestPauseOfAnUnknownProvider(t *testing.T) {
	t.Parallel()
	n := setup(t).node("one")
	var targets []Target
	for i := range 13 {
		targets = append(targets, Target{Name: fmt.Sprintf("p%02d", i)})
	}
	n.SetTargets(t.Context(), targets)
	_, err := n.PauseProvider(t.Context(), "nobody", true)
	require.ErrorIs(t, err, ErrUnknownProvider)
	assert.EqualError(t, err, `the configuration has no such provider: "nobody"; it has p00, p01, p02, p03, p04, p05, p06, p07, p08, p09 and 3 more; `+
		`if the name is right, put it there and send SIGHUP`)
}

func TestPlanOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	b.put(n, "alice")
	_, err := n.PlanOnce(t.Context(), "alice", 10*time.Minute, "")
	require.NoError(t, err)
	n.stop()
	n = b.node("two")
	b.clock.advance(9 * time.Minute)
	b.batch(n, "alice")
	assert.Zero(t, b.provider.calls())
	b.clock.advance(time.Minute)
	b.batch(n, "alice")
	b.batch(n, "alice")
	assert.Equal(t, 1, b.provider.calls(), "once")
	assert.Zero(t, b.held(n, "alice").Record.OnceAt)

	_, err = n.PlanOnce(t.Context(), "alice", 10*time.Minute, "")
	require.NoError(t, err)
	_, err = n.PlanOnce(t.Context(), "alice", -1, "")
	require.NoError(t, err)
	b.clock.advance(15 * time.Minute)
	b.batch(n, "alice")
	assert.Equal(t, 1, b.provider.calls(), "taken back")
}

func TestUserDataIsToldWhenItChanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.backend()
	b.provider.set(func(p *fakeProvider) { p.user = `{"plan":"free"}` })
	n := b.node("one")
	target := b.target()
	target.Policy.AsksUserData = true
	n.SetTargets(t.Context(), []Target{target})
	_, err := n.Put(t.Context(), signIn(password), Expect{})
	require.NoError(t, err)
	b.due()
	b.batch(n, "alice")
	b.provider.set(func(p *fakeProvider) { p.user = ` { "plan" : "free" } ` })
	b.due()
	b.batch(n, "alice")
	b.provider.set(func(p *fakeProvider) { p.user = `{"plan":"pro"}` })
	b.due()
	b.batch(n, "alice")
	assert.Equal(t, []credential.EventType{
		credential.EventConnected, credential.EventRefreshed, credential.EventRefreshed, credential.EventRefreshed, credential.EventUserDataChanged,
	}, b.events(n, "alice"))
	assert.JSONEq(t, `{"plan":"pro"}`, string(b.held(n, "alice").UserData))
}

// A token that the provider does not take any more is replaced at the next
// fetch, before a program meets the refusal.
func TestVerify(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := b.node("one")
	target := b.target()
	target.Verify = true
	n.SetTargets(t.Context(), []Target{target})
	ids := []credential.ID{"alice", "bob", "carol", "nobody"}
	for _, id := range ids[:3] {
		b.put(n, id)
	}
	_, err := n.Logout(t.Context(), "carol", Expect{})
	require.NoError(t, err)
	bob := b.held(n, "bob")
	b.provider.set(func(p *fakeProvider) { p.dead = map[string]bool{bob.Token.Access.Reveal(): true} })
	asked, refused, err := n.Verify(t.Context(), acme, ids)
	require.NoError(t, err)
	assert.Equal(t, 2, asked)
	assert.Equal(t, 1, refused)
	assert.Equal(t, bob.Record.Generation+1, b.held(n, "bob").Record.Generation)
	assert.EqualValues(t, 1, b.held(n, "alice").Record.Generation)
}

// A session with an absolute limit is replaced ahead of it by one login, however
// many look at it.
func TestASessionIsReplacedAheadOfItsLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	b.policy.Sessions.Absolute = 2 * time.Hour
	n := b.node("one")
	other := b.node("two")
	b.session(n, true)
	before := b.held(n, "alice")
	for b.clock.Now() < before.Record.LimitAt-1 && b.held(n, "alice").Record.Generation == before.Record.Generation {
		b.clock.advance(idle / 3)
		_, err := n.Touch(t.Context(), []credential.ID{"alice"})
		require.NoError(t, err)
		b.batch(n, "alice")
		b.batch(other, "alice")
	}
	h := b.held(n, "alice")
	assert.Less(t, b.clock.Now(), before.Record.LimitAt)
	assert.NotEqual(t, before.Token.Access, h.Token.Access)
	assert.Equal(t, b.clock.Now().Add(2*time.Hour), h.Record.LimitAt)
	logins, extended := b.provider.counted()
	assert.Equal(t, 2, logins)
	assert.Zero(t, extended)
	assert.Equal(t, []credential.EventType{credential.EventConnected, credential.EventRefreshed}, b.events(n, "alice"))
}

// Other settings reach a session that nothing but touches reach.
func TestTune(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, false)
	tune := func(provider string) int {
		t.Helper()
		h := b.held(n, "alice")
		tuned, err := n.Tune(t.Context(), provider, []credential.Held{{Record: h.Record, Attempt: h.Attempt}})
		require.NoError(t, err)
		return tuned
	}
	assert.Zero(t, tune(acme))
	b.policy.Sessions.Idle = time.Hour
	other := b.node("two")
	assert.Zero(t, tune(acme), "by its own settings")
	h := b.held(n, "alice")
	assert.Zero(t, tune("another"))
	tuned, err := other.Tune(t.Context(), acme, []credential.Held{h})
	require.NoError(t, err)
	assert.Equal(t, 1, tuned)
	touches, err := n.Touch(t.Context(), []credential.ID{"alice"})
	require.NoError(t, err)
	assert.Equal(t, b.clock.Now().Add(time.Hour), touches[0].Deadline)
	assert.Equal(t, []credential.EventType{credential.EventConnected}, b.events(n, "alice"))
}

// What an owner's word makes due is looked for at once.
func TestAReturnIsLookedForAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sliding()
	n := b.node("one")
	b.session(n, false)
	looked := 0
	n.opts.OnDue = func() { looked++ }
	set := func(presence credential.Presence) {
		t.Helper()
		_, err := n.SetPresence(t.Context(), "alice", presence, "")
		require.NoError(t, err)
	}
	set(credential.PresenceBackground)
	set(credential.PresencePassive)
	assert.Zero(t, looked, "nothing is due")
	set(credential.PresenceBackground)
	b.clock.advance(idle * 4 / 5)
	assert.Zero(t, looked)
	set(credential.PresencePassive)
	assert.Equal(t, 1, looked)
}
