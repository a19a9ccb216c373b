package credential_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

// TestVisits lets the user of one session come and go, and a scheduler look when
// it finds the time. What must hold is told by the visits alone: who was there in
// the last third of the idle timeout keeps the session, by one call.
func TestVisits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := newVisits(t)
		act := func(action func(*rapid.T)) func(*rapid.T) {
			return func(t *rapid.T) { v.t = t; action(t) }
		}
		t.Repeat(map[string]func(*rapid.T){
			"":                 act(func(*rapid.T) { v.check() }),
			"time passes":      act(v.timePasses),
			"to a third":       act(v.toAThird),
			"to the call":      act(v.toTheCall),
			"comes or goes":    act(v.comesOrGoes),
			"looks in":         act(v.looksIn),
			"uses it":          act(v.uses),
			"scheduler":        act(v.scheduler),
			"scheduler, again": act(v.scheduler),
		})
	})
}

// visits is a session as its user and its backend know it.
type visits struct {
	t      *rapid.T
	policy credential.Policy
	held   credential.Held
	now    credential.Millis
	nonces uint64
	idle   time.Duration

	used    credential.Millis // the last use that the backend saw
	there   bool              // its user, in the last third since then
	earned  bool              // he came back then, or was there when it was due
	failed  credential.Millis // the last call, if it came to nothing; 0 if not
	notSoon credential.Millis // the backend asked for that
}

func newVisits(t *rapid.T) *visits {
	v := &visits{t: t, now: noon}
	v.idle = rapid.SampledFrom([]time.Duration{30 * time.Second, 15 * time.Minute, 3 * time.Hour}).Draw(t, "idle")
	v.policy = credential.Policy{RefreshAt: 2.0 / 3, Times: credential.DefaultTimes(0), Rotates: credential.RotatesNo}
	v.policy.Sessions = credential.SessionPolicy{
		Idle: v.idle, Extend: true, WarnBefore: v.idle / 6,
		OnActive: rapid.SampledFrom([]credential.OnActive{credential.ActiveExtend, credential.ActiveEnd}).Draw(t, "on active"),
	}
	v.logIn()
	return v
}

func (v *visits) logIn() {
	in := credential.Login{ID: "acct-1", Provider: "acme", Token: token("at-1", "")}
	var before *credential.Held
	if v.held.Record.Revision > 0 {
		before = &v.held
	}
	v.stored(credential.Connect(before, in, v.policy, v.nonce(), v.now))
	v.use()
}

func (v *visits) nonce() credential.Nonce {
	v.nonces++
	return nonceOf(v.nonces)
}

func (v *visits) stored(w credential.Write) {
	v.t.Helper()
	v.held = w.Result(v.held)
	if w.Due != credential.NextDue(v.held.Record, v.held.Attempt) {
		v.t.Fatalf("the score is %d: %+v", w.Due, v.held.Record)
	}
}

// use is a use that the backend sees.
func (v *visits) use() {
	v.used, v.there, v.earned, v.failed, v.notSoon = v.now, false, false, 0, 0
}

func (v *visits) twoThirds() credential.Millis { return v.used.Add(v.idle / 3 * 2) }
func (v *visits) end() credential.Millis       { return v.used.Add(v.idle) }
func (v *visits) asleep() bool                 { return v.held.Record.Presence == away }

// lives skips the action where the session is known to be over.
func (v *visits) lives(t *rapid.T) {
	if v.held.Record.State.Terminal() {
		t.Skip("over")
	}
}

func (v *visits) timePasses(t *rapid.T) {
	v.pass(v.now + credential.Millis(rapid.Int64Range(1, v.idle.Milliseconds()/4).Draw(t, "passes")))
}

func (v *visits) toAThird(t *rapid.T) {
	third := rapid.SampledFrom([]credential.Millis{v.used.Add(v.idle / 3), v.twoThirds(), v.end()}).Draw(t, "third")
	v.pass(third + credential.Millis(rapid.Int64Range(-1, 1).Draw(t, "offset")))
}

func (v *visits) toTheCall(t *rapid.T) {
	v.pass(v.held.Record.RefreshAt + credential.Millis(rapid.Int64Range(-1, 1).Draw(t, "offset")))
}

func (v *visits) pass(to credential.Millis) {
	if to <= v.now {
		v.t.Skip("over")
	}
	v.now = to
}

// note looks at who is there.
func (v *visits) note() {
	if v.asleep() || v.now < v.twoThirds() || v.now >= v.end() {
		return
	}
	v.there = true
	// A failure of before the last use may put the extension off to the last moment.
	if v.held.Record.Presence != active && v.now >= v.used.Add(v.idle*72/100) && v.held.Record.Failures == 0 {
		v.earned = true
	}
}

func (v *visits) comesOrGoes(t *rapid.T) {
	v.lives(t)
	v.set(t, rapid.SampledFrom(credential.Presences()).Draw(t, "presence"))
}

func (v *visits) looksIn(t *rapid.T) {
	for _, to := range []credential.Presence{away, rapid.SampledFrom([]credential.Presence{active, passive}).Draw(t, "as"), away} {
		v.lives(t)
		v.set(t, to)
		v.note()
	}
}

func (v *visits) set(t *rapid.T, to credential.Presence) {
	asleep := v.asleep()
	w, ok := credential.SetPresence(v.held, to, v.policy, v.nonce(), v.now)
	if !ok {
		return
	}
	if asleep && to != away && v.now >= v.twoThirds() && v.now < v.end() {
		v.earned = true
	}
	v.stored(w)
	if over := v.held.Record.State.Terminal(); over && v.now < v.end() {
		t.Fatalf("over before its end: %+v", v.held.Record)
	}
}

// uses is a use of which refreshd is told.
func (v *visits) uses(t *rapid.T) {
	v.lives(t)
	if v.now >= v.end() || v.now == v.used {
		t.Skip("over, or used just now")
	}
	v.held.Record = v.held.Record.Touched(v.now)
	v.use()
}

// scheduler does what is due, as the engine does, with what comes of it.
func (v *visits) scheduler(t *rapid.T) {
	if v.held.Record.State.Terminal() {
		v.logIn()
		return
	}
	begin := credential.Begin{ID: "acct-1", Nonce: v.nonce(), Owner: "owner", Lasts: v.policy.Times.Attempt()}
	due := credential.Due(v.held.Record, v.held.Attempt, v.now)
	refusal, attempt := credential.Grant(v.held, begin, v.now)
	if (refusal == credential.RefusedNot) != due.Refresh {
		t.Fatalf("%s, and due is %+v", refusal, due)
	}
	if refusal == credential.RefusedNot {
		v.held.Attempt = attempt
		v.call(t, *attempt)
		return
	}
	if w, ok := credential.Advance(v.held, v.policy, v.nonce(), v.now); ok {
		if v.asleep() && len(w.Events) > 0 {
			t.Fatalf("told although nobody is there: %+v", w.Events)
		}
		v.stored(w)
	}
}

// call is the extension. It checks that it may be made.
func (v *visits) call(t *rapid.T, a credential.Attempt) {
	r := v.held.Record
	switch {
	case v.now < v.twoThirds():
		t.Fatalf("called %s after the last use", v.now.Sub(v.used))
	case v.failed != 0 && v.now < max(v.failed.Add(900*time.Millisecond), v.notSoon):
		t.Fatalf("called again %s after a failure", v.now.Sub(v.failed))
	case v.now >= v.end():
		t.Fatalf("called %s after its end: %+v", v.now.Sub(v.end()), r)
	case v.asleep() && !v.there:
		t.Fatalf("called for nobody: %+v", r)
	}
	if rapid.IntRange(0, 2).Draw(t, "fails") > 0 {
		got := credential.Received{Method: credential.MethodExtend, SentAt: v.now}
		v.stored(credential.Extend(v.held, a, got, v.policy, credential.BySchedule, v.now))
		v.use()
		return
	}
	o := credential.Outcome{Method: credential.MethodExtend, Class: credential.ClassTransient, Reason: credential.ReasonUnavailable}
	if rapid.Bool().Draw(t, "limited") {
		o.Class, o.RetryAfter = credential.ClassRateLimited, time.Duration(rapid.Int64Range(1, int64(v.idle)).Draw(t, "told"))
	}
	v.failed, v.notSoon = v.now, v.now.Add(o.RetryAfter)
	v.stored(credential.Fail(v.held, a, o, v.policy, credential.BySchedule, v.now))
}

func (v *visits) check() {
	v.note()
	r := v.held.Record
	checkNextDue(v.t, r, v.held.Attempt)
	if r.State.Terminal() {
		if v.now < v.end() {
			v.t.Fatalf("over before its end: %+v", r)
		}
		return
	}
	if r.ExpiresAt != v.end() && !r.Session.Ended {
		v.t.Fatalf("its backend ends it at %d: %+v", v.end(), r)
	}
	next := credential.NextDue(r, v.held.Attempt)
	switch {
	case v.asleep() && !v.there && next != 0:
		v.t.Fatalf("to be looked at for nobody: %+v", r)
	case !v.earned || v.now >= v.end():
	case v.failed == 0 && !credential.Due(r, v.held.Attempt, v.now).Refresh:
		v.t.Fatalf("its user was there in time, and it is not extended: %+v", r)
	case v.failed != 0 && (r.RefreshAt == 0 || r.RefreshAt < v.notSoon):
		v.t.Fatalf("its user was there in time, and a call that failed is not made again, or too soon: %+v", r)
	case v.failed != 0 && r.RefreshAt > max(v.failed.Add(6*time.Minute), v.failed.Add(v.notSoon.Sub(v.failed)*12/10)):
		v.t.Fatalf("its user was there in time, and a call that failed is made again much later: %+v", r)
	}
}
