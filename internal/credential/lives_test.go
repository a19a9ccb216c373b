package credential_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

func someUserData(t *rapid.T) credential.UserData {
	return credential.UserData(fmt.Sprintf(`{"id": %d, "plan": "basic"}`, rapid.IntRange(1, 3).Draw(t, "user")))
}

// mayCall checks that an attempt may present what it was begun for.
func (w *world) mayCall(f flight, forced bool) {
	r := f.held.Record
	if r.State.Terminal() || r.Paused {
		w.fatalf("a call in state %s, paused %t", r.State, r.Paused)
	}
	away := r.Session.Sliding() && r.Presence == credential.PresenceBackground
	if away && !forced && !f.attempt.Recovery && r.OnceAt == 0 && (w.left != clockOf(r) || !livesAt(r, w.now)) {
		w.fatalf("a call although nobody needs it: %+v", r)
	}
	held := map[credential.Method]bool{
		credential.MethodNone:    false,
		credential.MethodRefresh: !f.held.Token.Refresh.IsZero() && !w.policy.NoRefresh,
		credential.MethodLogin:   !f.held.SignIn.IsZero() && w.policy.CanLogin,
		credential.MethodExtend:  !f.held.Token.Access.IsZero() && w.policy.Sessions.Extend,
	}
	if !held[f.method] {
		w.fatalf("there is nothing to present by %q: %+v", f.method, r)
	}
	if f.method == credential.MethodLogin && w.refused {
		w.fatalf("a name and a password are presented that the backend has refused")
	}
}

// extended makes the backend's reply to an extension: most sessions keep their
// name.
func (w *world) extended(t *rapid.T, f flight, got *credential.Received) {
	before := f.held.Token.Access
	w.use(before, got.SentAt)
	if rapid.IntRange(0, 2).Draw(t, "another name") == 0 {
		got.Token.Access = w.newSecret("at")
		w.issued(got.Token.Access, got.SentAt, 0, before)
	}
}

// extend stores that the session was used.
func (w *world) extend(h credential.Held, got credential.Received) {
	write := w.unchanged(h, func(h credential.Held) credential.Write {
		return credential.Extend(h, *h.Attempt, got, w.policy, credential.BySchedule, w.now)
	})
	if w.commit(h, write, growth{}) != credential.StatusWritten {
		w.fatalf("an extension was not taken")
	}
	if r := w.store.load().Record; h.Attempt.Recovery && h.Record.HasRefresh && !r.State.Terminal() && w.store.load().Attempt == nil {
		w.fatalf("an extension took a doubt away: %+v", h.Attempt)
	}
}

// died checks what the backend's last word on something leads to.
func (w *world) died(f flight, before credential.Record) {
	h := w.store.load()
	r := h.Record
	if f.method == credential.MethodLogin {
		w.refused = true
		if r.State != credential.StateReauthRequired {
			w.fatalf("a refused login led to %s", r.State)
		}
	}
	if f.method == credential.MethodRefresh && r.HasRefresh && r.State != credential.StateReauthRequired {
		w.fatalf("a dead refresh token is still there: %+v", r)
	}
	if f.method == credential.MethodExtend && !r.Session.Ended && r.State != credential.StateLoggedOut {
		w.fatalf("a session goes on that its backend has ended: %+v", r)
	}
	another := before.HasLogin && w.policy.CanLogin && f.method != credential.MethodLogin ||
		before.HasRefresh && !w.policy.NoRefresh && f.method == credential.MethodExtend
	if another == r.State.Terminal() && f.method != credential.MethodRefresh {
		w.fatalf("after %s ended the state is %s, and another way is %t", f.method, r.State, another)
	}
}

// touch is the owner's word that the session was used.
func (w *world) touch(t *rapid.T) {
	h := w.live()
	r := h.Record
	touched := r.Touched(w.now)
	if touched.IssuedAt == r.IssuedAt {
		t.Skip("no session, or over")
	}
	w.use(h.Token.Access, w.now)
	w.store.touch(w.now)
	if touched.Version != r.Version || touched.Revision != r.Revision || touched.State != r.State {
		w.fatalf("a touch changed more than the clock")
	}
	r.Presence = touched.Presence
	if r.Presence == credential.PresenceActive || r.OnceAt != 0 || h.Attempt != nil {
		return
	}
	left := touched.ExpiresAt.Sub(w.now) - time.Millisecond
	quiet := min(touched.Session.Idle*2/3-time.Millisecond, left)
	if at := touched.ByHandOrLimit(); at != 0 { // it is replaced ahead of its limit, whatever uses there are
		quiet = min(quiet, at.Sub(w.now)-time.Millisecond)
	}
	if quiet >= 0 && credential.Due(touched, nil, w.now.Add(quiet)).Refresh {
		w.fatalf("due %s after a touch: %+v", quiet, touched)
	}
}

func (w *world) presence(t *rapid.T) {
	h := w.live()
	to := rapid.SampledFrom(credential.Presences()).Draw(t, "presence")
	write, ok := credential.SetPresence(h, to, w.policy, w.nonce(), w.now)
	if !ok {
		t.Skip("known")
	}
	if w.commit(h, write, growth{}) != credential.StatusWritten {
		w.fatalf("a presence was not taken")
	}
	r := w.store.load().Record
	if r.Session.Sliding() && to == credential.PresenceBackground {
		w.leaves(h.Record, r)
	}
	if h.Record.Presence != credential.PresenceBackground || !r.Session.Sliding() || h.Attempt != nil || !r.Refreshable || r.State.Terminal() {
		return
	}
	alive := !r.Session.Ended && (r.State == credential.StateActive || r.State == credential.StateDegraded)
	twoThirds := r.IssuedAt.Add(r.Session.Idle * 2 / 3)
	switch {
	case alive && w.now < twoThirds:
		if r.RefreshAt != 0 && r.RefreshAt < twoThirds {
			w.fatalf("somebody came back soon, and it is due before two thirds: %+v", r)
		}
	case r.Failures == 0 && !r.Paused && !credential.Due(r, nil, w.now).Refresh:
		w.fatalf("somebody came back late, and nothing is due: %+v", r)
	}
}

// leaves notes whether the extension of a session had come due when its user
// left, and checks that it is neither put off nor brought forward.
func (w *world) leaves(before, after credential.Record) {
	late := before.IssuedAt.Add(before.Session.Idle * 2 / 3)
	due := before.RefreshAt <= w.now && w.now >= late
	failed := before.Failures > 0 && before.LastAttempt.FailedAt >= late
	w.left = clock{}
	if before.RefreshAt != 0 && before.Refreshable && livesAt(before, w.now) && (due || failed) {
		w.left = clockOf(after)
		if after.RefreshAt != before.RefreshAt {
			w.fatalf("its user leaves, and what was due at %d is due at %d", before.RefreshAt, after.RefreshAt)
		}
	}
}

func (w *world) pause(t *rapid.T) {
	h := w.live()
	write, ok := credential.SetPaused(h, !h.Record.Paused, w.nonce(), w.now)
	if !ok {
		t.Skip("nothing to pause")
	}
	if w.commit(h, write, growth{}) != credential.StatusWritten {
		w.fatalf("a pause was not taken")
	}
}

func (w *world) once(t *rapid.T) {
	h := w.live()
	at := w.now + credential.Millis(rapid.Int64Range(-1000, 7_200_000).Draw(t, "moment"))
	write, ok := credential.PlanOnce(h, at, w.nonce(), w.now)
	if !ok {
		t.Skip("no calls are made")
	}
	if w.commit(h, write, growth{}) != credential.StatusWritten {
		w.fatalf("a planned refresh was not taken")
	}
	if r := write.Record; r.Refreshable && !r.Paused && credential.Due(r, nil, max(at, w.now)).None() {
		w.fatalf("asked for, and not due: %+v", r)
	}
}

func (w *world) userData(t *rapid.T) {
	h := w.live()
	write, ok := credential.TakeUserData(h, someUserData(t), "", w.nonce(), credential.BySchedule, w.now)
	if !ok {
		t.Skip("known")
	}
	if w.commit(h, write, growth{}) != credential.StatusWritten {
		w.fatalf("user data was not taken")
	}
}

// tokenIsRefused has the provider say, asked about the token, that it does not take
// it any more.
func (w *world) tokenIsRefused(t *rapid.T) {
	w.rarely(t)
	h := w.live()
	_, _, alternate := credential.NextAlternate(h)
	write, wanted := credential.TakeRefused(h, h.Record, notTaken(), w.policy, w.nonce(), w.now)
	if !wanted {
		if !h.Record.State.Terminal() && !h.Record.Refreshable && h.Attempt == nil {
			w.fatalf("a token is dead that nothing can replace, and nobody is asked for: %+v", h.Record)
		}
		t.Skip("it can be replaced, or nothing is to be told")
	}
	if w.commit(h, write, growth{generation: alternate}) != credential.StatusWritten {
		w.fatalf("a refusal was not taken")
	}
	if r := w.store.load().Record; !alternate && r.State != credential.StateReauthRequired {
		w.fatalf("a token is dead that nothing can replace, and nobody is asked for: %+v", r)
	}
}

// settingsChange takes a call for refresh tokens or for logins out of the settings, or
// puts it back; what lives is looked at some time later, or never.
func (w *world) settingsChange(t *rapid.T) {
	w.rarely(t)
	if w.sliding() || rapid.Bool().Draw(t, "which") {
		w.policy.NoRefresh = !w.policy.NoRefresh
	} else {
		w.policy.CanLogin = !w.policy.CanLogin
	}
	h := w.store.load()
	if h == nil {
		return
	}
	was := *h
	write, differs := credential.Tune(was, w.policy, w.nonce(), w.now)
	if !differs {
		return
	}
	if w.commit(was, write, growth{}) != credential.StatusWritten {
		w.fatalf("other settings were not taken")
	}
}

// nothingToPresent settles an attempt for which there is no call by the present
// settings: while its token lives it ends nothing.
func (w *world) nothingToPresent(f flight) {
	alive := f.held.Record.ValidAt(w.now, 0)
	w.settle(f, func(h credential.Held) credential.Write {
		if alive {
			return credential.PutOff(h, f.attempt, w.policy, credential.BySchedule, w.now)
		}
		o := credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonNotRefreshable}
		return credential.Fail(h, f.attempt, o, w.policy, credential.BySchedule, w.now)
	})
	after := w.live()
	if alive && (after.Record.State != f.held.Record.State || after.Record.ExpiresAt != f.held.Record.ExpiresAt) {
		w.fatalf("settings have ended it: %+v", after.Record)
	}
	if alive {
		w.stillInDoubt(f)
	}
	if credential.Due(after.Record, after.Attempt, w.now).Refresh {
		w.fatalf("it is due again at once: %+v", after.Record)
	}
}

// broughtAgain stores the refresh token once more of a credential that was over for
// want of a call. Whether it was presented is checked when it is.
func (w *world) broughtAgain(t *rapid.T) {
	h := w.live()
	refresh := h.Token.Refresh
	if !h.Record.Unasked() || refresh.IsZero() || w.store.spentBefore(refresh) {
		t.Skip("it does not count as unused")
	}
	in := credential.Login{ID: "acct-1", Provider: "acme", Subject: "u-7", Token: credential.Token{Refresh: refresh, Access: w.newSecret("at")}, ExpiresIn: time.Hour}
	w.issued(in.Token.Access, w.now, w.now.Add(in.ExpiresIn), credential.Secret{})
	write := credential.Connect(&h, in, w.policy, w.nonce(), w.now)
	if w.commit(h, write, growth{generation: true, grant: true}) != credential.StatusWritten {
		w.fatalf("a login was not taken")
	}
}
