package credential_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

// TestOneCredential drives one credential through random lives and checks,
// after every step, what must hold whatever happens.
func TestOneCredential(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		act := func(action func(*rapid.T)) func(*rapid.T) {
			return func(t *rapid.T) { w.t = t; action(t) }
		}
		t.Repeat(map[string]func(*rapid.T){
			"":                  act(func(*rapid.T) { w.check() }),
			"time passes":       act(w.timePasses),
			"until due":         act(w.untilDue),
			"login":             act(w.login),
			"begin":             act(w.begin),
			"begin when due":    act(w.beginWhenDue),
			"reply":             act(w.reply),
			"reply, once more":  act(w.reply),
			"reply on old view": act(w.replyOnOldView),
			"failure":           act(w.failure),
			"give up unsent":    act(w.giveUpUnsent),
			"owner dies":        act(w.ownerDies),
			"owner dies again":  act(w.ownerDies),
			"owner is judged":   act(w.ownerIsJudged),
			"owner is silent":   act(w.ownerIsSilent),
			"journal turns up":  act(w.journalTurnsUp),
			"advance":           act(w.advance),
			"install alternate": act(w.installAlternate),
			"sent again":        act(w.sentAgain),
			"logout":            act(w.logout),
			"delete":            act(w.erase),
			"touch":             act(w.touch),
			"presence":          act(w.presence),
			"pause":             act(w.pause),
			"once":              act(w.once),
			"user data":         act(w.userData),
			"token is refused":  act(w.tokenIsRefused),
			"settings change":   act(w.settingsChange),
			"brought again":     act(w.broughtAgain),
			"previous":          act(w.previous),
		})
	})
}

// rarely skips most of the actions that would end a life before anything has
// happened in it.
func (w *world) rarely(t *rapid.T) {
	h := w.store.load()
	if h != nil && !h.Record.State.Terminal() && rapid.IntRange(0, 5).Draw(t, "really") > 0 {
		t.Skip("not now")
	}
}

func (w *world) timePasses(t *rapid.T) {
	w.now += rapid.OneOf(
		rapid.Map(rapid.Int64Range(1, 5000), millis), rapid.Map(rapid.Int64Range(1, 7_200_000), millis),
	).Draw(t, "passes")
}

func millis(n int64) credential.Millis { return credential.Millis(n) }

func (w *world) untilDue(t *rapid.T) {
	at := w.store.due + credential.Millis(rapid.Int64Range(-1, 1).Draw(t, "offset"))
	if at <= w.now {
		t.Skip("due already")
	}
	w.now = at
}

func (w *world) login(t *rapid.T) {
	w.rarely(t)
	in := credential.Login{ID: "acct-1", Provider: "acme", Subject: "u-7", Labels: map[string]string{"team": "blue"}}
	if rapid.IntRange(0, 9).Draw(t, "bare") > 0 {
		in.Token.Refresh = w.newSecret("rt")
	}
	if rapid.Bool().Draw(t, "with password") {
		in.SignIn = signIn(fmt.Sprintf("pw-%d", w.nonces))
	}
	in.RefreshExpiresIn = time.Duration(rapid.SampledFrom([]int{0, 0, 60, 3600}).Draw(t, "refresh token's life")) * time.Second
	if rapid.Bool().Draw(t, "with user data") {
		in.UserData = someUserData(t)
	}
	w.refused = false
	dies := w.now.Add(w.policy.Lifetime(0, 0, w.now))
	switch rapid.IntRange(0, 3).Draw(t, "expiry") {
	case 0:
		in.ExpiresIn = time.Duration(rapid.Int64Range(1, 7200).Draw(t, "seconds")) * time.Second
		dies = w.now.Add(in.ExpiresIn)
	case 1:
		in.ExpiresAt = w.now + credential.Millis(rapid.Int64Range(-7_200_000, 7_200_000).Draw(t, "moment"))
		dies = in.ExpiresAt
	case 2:
		in.ExpiresAt = w.now + credential.Millis(rapid.Int64Range(1<<43, 1<<60).Draw(t, "far moment"))
		dies = in.ExpiresAt
	}
	if rapid.IntRange(0, 9).Draw(t, "without access") > 0 || in.Token.Refresh.IsZero() && in.SignIn.IsZero() {
		in.Token.Access = w.newSecret("at")
		w.issued(in.Token.Access, w.now, dies, credential.Secret{})
	}
	before := w.store.load()
	var h credential.Held
	if before != nil {
		h = *before
	}
	write := credential.Connect(before, in, w.policy, w.nonce(), w.now)
	if w.commit(h, write, growth{generation: true, grant: true}) != credential.StatusWritten {
		w.fatalf("a login was not taken")
	}
}

// begin asks for an attempt, due or not.
func (w *world) begin(t *rapid.T) { w.ask(rapid.Bool().Draw(t, "force")) }

func (w *world) beginWhenDue(t *rapid.T) {
	if w.store.due == 0 {
		t.Skip("never due")
	}
	w.now = max(w.now, w.store.due)
	w.ask(false)
}

func (w *world) ask(force bool) {
	h := w.live()
	work := credential.Due(h.Record, h.Attempt, w.now)
	begun := w.store.begin(credential.Begin{ID: "acct-1", Nonce: w.nonce(), Owner: "owner", Lasts: w.policy.Times.Attempt(), Force: force}, w.now)
	if begun.Refusal != credential.RefusedNot {
		return
	}
	if !force && !work.Refresh && !work.Recover {
		w.fatalf("begun although nothing is due: %+v", work)
	}
	f := flight{attempt: *begun.Held.Attempt, held: begun.Held, method: w.policy.MethodAt(begun.Held.Record, w.now)}
	if f.method == credential.MethodNone {
		w.nothingToPresent(f)
		return
	}
	w.mayCall(f, force)
	if f.attempt.Recovery && credential.RecoverAt(f.held.Record, f.attempt, w.policy, w.now) > w.now {
		w.settle(f, func(h credential.Held) credential.Write { return credential.Postpone(h, f.attempt, w.policy, w.now) })
		w.stillInDoubt(f)
		return
	}
	w.flying = append(w.flying, f)
}

// take removes one of the flights.
func (w *world) take(t *rapid.T, from *[]flight) flight {
	if len(*from) == 0 {
		t.Skip("no attempt")
	}
	i := rapid.IntRange(0, len(*from)-1).Draw(t, "attempt")
	f := (*from)[i]
	*from = append(append([]flight(nil), (*from)[:i]...), (*from)[i+1:]...)
	return f
}

// takeHeard is take without those that were taken for dead: they can only
// still come with a token, or never.
func (w *world) takeHeard(t *rapid.T) flight {
	f := w.take(t, &w.flying)
	if f.silent {
		w.flying = append(w.flying, f)
		t.Skip("not heard of")
	}
	return f
}

// present is the moment at which a refresh token goes out. It checks that none
// goes out again that may have been rotated, but for a recovery that is inside
// the grace or the last resort.
func (w *world) present(f flight) {
	if f.silent {
		return // long ago
	}
	if f.method != credential.MethodRefresh {
		return
	}
	refresh := f.held.Token.Refresh.Reveal()
	r, a := f.held.Record, f.attempt
	if w.spent[refresh] {
		if !a.Recovery || a.FirstSent == 0 {
			w.fatalf("%s is presented again, by no recovery: %+v", refresh, a)
		}
		inGrace := w.policy.UsableGrace() > 0 && a.BegunAt.Add(w.policy.Times.Exchange+w.policy.Times.Margin) <= a.FirstSent.Add(w.policy.Grace)
		last := r.ExpiresAt.Sub(a.BegunAt) <= time.Minute
		if !inGrace && !last && w.policy.MayRotate(r.Rotations) {
			w.fatalf("%s is presented again %s before its access token dies, outside the grace", refresh, r.ExpiresAt.Sub(a.BegunAt))
		}
	}
}

// maybeRotated notes that the provider may have rotated what f presented.
func (w *world) maybeRotated(f flight) {
	if !f.silent && f.method == credential.MethodRefresh && w.policy.MayRotate(f.held.Record.Rotations) {
		w.spent[f.held.Token.Refresh.Reveal()] = true
	}
}

// issue makes a reply of the provider.
func (w *world) issue(t *rapid.T, f flight) credential.Received {
	got := credential.Received{Method: f.method, SentAt: f.attempt.BegunAt, Rejected: rapid.Bool().Draw(t, "rejected")}
	if rapid.IntRange(0, 4).Draw(t, "tells of the user") == 0 {
		got.Subject, got.UserData = "u-7", someUserData(t)
	}
	if f.method == credential.MethodExtend {
		w.extended(t, f, &got)
		return got
	}
	got.RefreshExpiresIn = time.Duration(rapid.SampledFrom([]int{0, 0, 60, 3600}).Draw(t, "refresh token's life")) * time.Second
	dies := got.SentAt.Add(w.policy.Lifetime(0, 0, got.SentAt))
	switch rapid.IntRange(0, 2).Draw(t, "told") {
	case 0:
		got.ExpiresIn = time.Duration(rapid.Int64Range(1, 7200).Draw(t, "seconds")) * time.Second
		dies = got.SentAt.Add(got.ExpiresIn)
	case 1:
		got.ExpiresAt = got.SentAt + credential.Millis(rapid.Int64Range(1, 1<<45).Draw(t, "jwt"))
		dies = got.ExpiresAt
	}
	if rapid.IntRange(0, 5).Draw(t, "has access") > 0 {
		got.Token.Access = w.newSecret("at")
		w.issued(got.Token.Access, got.SentAt, dies, credential.Secret{})
	}
	got.Token.Scope = rapid.SampledFrom([]string{"", "read", "read write"}).Draw(t, "scope")
	if w.policy.Rotates != credential.RotatesNo && (got.Token.Access.IsZero() || rapid.Bool().Draw(t, "rotates")) {
		got.Token.Refresh = w.newSecret("rt")
	}
	if got.Token.Access.IsZero() && got.Token.Refresh.IsZero() {
		got.Token.Access = w.newSecret("at")
		w.issued(got.Token.Access, got.SentAt, dies, credential.Secret{})
	}
	got.Partial = got.Token.Access.IsZero() || rapid.IntRange(0, 5).Draw(t, "cut off") == 0
	return got
}

// overlooked reports whether the reply may have had a refresh token that was not
// read.
func (w *world) overlooked(got credential.Received) bool {
	return got.Token.Refresh.IsZero() && (got.Partial || w.policy.Rotates == credential.RotatesYes)
}

func (w *world) reply(t *rapid.T) {
	f := w.take(t, &w.flying)
	w.present(f)
	got := w.issue(t, f)
	if w.overlooked(got) {
		w.maybeRotated(f)
	}
	w.keep(f, got)
}

// replyOnOldView installs a token on the record as begin handed it out,
// however long ago that was: the store must refuse it if anything happened.
func (w *world) replyOnOldView(t *rapid.T) {
	f := w.take(t, &w.flying)
	w.present(f)
	got := w.issue(t, f)
	if w.overlooked(got) {
		w.maybeRotated(f)
	}
	now := w.live()
	if got.Token == (credential.Token{}) {
		t.Skip("no token came")
	}
	write := credential.Install(f.held, f.attempt, got, w.policy, credential.ByDemand, w.now)
	moved := now.Record.Revision != f.held.Record.Revision || now.Attempt == nil || now.Attempt.Nonce != f.attempt.Nonce
	status := w.commit(f.held, write, growth{generation: true})
	if (status == credential.StatusMoved) != moved {
		w.fatalf("a token on an old view: %s, although moved is %t", status, moved)
	}
	if !moved {
		w.proved(f, got)
	}
	w.keep(f, got) // what the engine does then; nothing where it was written
}

// proved notes that the provider, in a whole reply, left the token that f
// presented in force.
func (w *world) proved(f flight, got credential.Received) {
	if got.Token.Refresh.IsZero() && !w.overlooked(got) {
		delete(w.spent, f.held.Token.Refresh.Reveal())
	}
}

// keep stores a received token, as the engine does: with its attempt, else as
// an alternate, else not at all.
func (w *world) keep(f flight, got credential.Received) {
	stored := w.store.load()
	if stored == nil || stored.Record.Grant != f.attempt.Grant {
		return // its login is over: it is revoked
	}
	h := *stored
	if !got.Token.Refresh.IsZero() {
		w.received = append(w.received, got.Token)
	}
	own := h.Attempt != nil && h.Attempt.Nonce == f.attempt.Nonce
	if got.Token == (credential.Token{}) {
		if own && h.Record.LastWrite != f.attempt.Nonce {
			w.extend(h, got)
		}
		return
	}
	var verdict credential.LateVerdict
	write := w.unchanged(h, func(h credential.Held) credential.Write {
		late := credential.Late{Nonce: f.attempt.Nonce, Generation: f.attempt.Generation, Grant: f.attempt.Grant, Received: got}
		known := got.Token.Refresh.IsZero() || w.kept[got.Token.Refresh.Reveal()]
		var write credential.Write
		write, verdict = credential.TakeLate(h, late, known, w.policy, w.nonce(), credential.ByDemand, w.now)
		return write
	})
	may := growth{generation: verdict == credential.LateInstalled}
	switch verdict {
	case credential.LateInstalled, credential.LateKept:
		if w.commit(h, write, may) != credential.StatusWritten {
			w.fatalf("a token was not taken")
		}
		if own {
			w.proved(f, got)
		}
	case credential.LateKnown:
		if own && h.Record.LastWrite != f.attempt.Nonce && h.Attempt.Generation == f.attempt.Generation {
			w.fatalf("a token was not taken from its own attempt")
		}
		if f.attempt.Generation+2 < h.Record.Generation {
			w.kept[got.Token.Refresh.Reveal()] = true // outlived
		}
	case credential.LateRevoke, credential.LateAwaits:
		w.fatalf("the token is of this login: %d", verdict)
	}
}

// isHeard reports whether a failed call may have that reason: no backend tells of
// the idle timeout, it is for the record's own clock to say.
func isHeard(r credential.Reason) bool { return r != credential.ReasonIdleTimeout }

func (w *world) failure(t *rapid.T) {
	f := w.takeHeard(t)
	o := credential.Outcome{
		Method:     f.method,
		Class:      rapid.SampledFrom(credential.Classes()).Draw(t, "class"),
		Reason:     rapid.SampledFrom(credential.Reasons()).Filter(isHeard).Draw(t, "reason"),
		RetryAfter: time.Duration(rapid.Int64Range(-60, 7200).Draw(t, "retry after")) * time.Second,
	}
	if o.Class != credential.ClassNotSent {
		w.present(f)
	}
	follows := consequences()[o.Class]
	if follows.maySpend {
		w.maybeRotated(f)
	}
	before := w.store.load()
	open := w.settle(f, func(h credential.Held) credential.Write {
		return credential.Fail(h, f.attempt, o, w.policy, credential.BySchedule, w.now)
	})
	switch {
	case !open:
	case follows.terminal:
		w.died(f, before.Record)
	case !follows.maySpend || f.method != credential.MethodRefresh:
		w.stillInDoubt(f)
	}
}

func (w *world) giveUpUnsent(t *rapid.T) {
	f := w.takeHeard(t)
	if w.settle(f, func(h credential.Held) credential.Write {
		return credential.Abandon(h, f.attempt, credential.BySchedule, w.now)
	}) {
		w.stillInDoubt(f)
	}
}

// settle ends an attempt without a token, if it still is the open one.
func (w *world) settle(f flight, decide func(credential.Held) credential.Write) bool {
	stored := w.store.load()
	if stored == nil || stored.Attempt == nil || stored.Attempt.Nonce != f.attempt.Nonce {
		return false
	}
	if w.commit(*stored, w.unchanged(*stored, decide), growth{drops: true}) != credential.StatusWritten {
		w.fatalf("an attempt was not settled")
	}
	return true
}

// stillInDoubt checks that a recovery that presented nothing, or to no effect,
// leaves the doubt as it found it.
func (w *world) stillInDoubt(f flight) {
	h := w.live()
	switch {
	case h.Record.State.Terminal(): // its session ran out meanwhile
	case !f.attempt.Recovery:
		if h.Attempt != nil {
			w.fatalf("an attempt without effect stays open: %+v", h.Attempt)
		}
	case h.Attempt == nil || !h.Attempt.Doubt || !h.Attempt.Recovery,
		h.Attempt.FirstSent != f.attempt.FirstSent, h.Attempt.Generation != h.Record.Generation:
		w.fatalf("the doubt was lost: %+v, after %+v", h.Attempt, f.attempt)
	}
}

func (w *world) advance(t *rapid.T) {
	h := w.live()
	write, ok := credential.Advance(h, w.policy, w.nonce(), w.now)
	if ok != credential.Due(h.Record, h.Attempt, w.now).Advance {
		w.fatalf("Advance and Due disagree")
	}
	if !ok {
		t.Skip("nothing has come")
	}
	if w.commit(h, write, growth{}) != credential.StatusWritten {
		w.fatalf("an expiry was not taken")
	}
	if after := w.store.load(); credential.Due(after.Record, after.Attempt, w.now).Advance {
		w.fatalf("told, and still to be told: %+v", after.Record)
	}
}

func (w *world) installAlternate(t *rapid.T) {
	h := w.live()
	alt, spent, ok := credential.NextAlternate(h)
	if !ok || (!spent && h.Record.State != credential.StateReauthRequired) {
		t.Skip("none to install")
	}
	if h.Attempt != nil && !h.Attempt.Doubt {
		t.Skip("whoever is on it is waited for")
	}
	write := w.unchanged(h, func(h credential.Held) credential.Write {
		return credential.InstallAlternate(h, alt, w.policy, w.nonce(), credential.BySchedule, w.now)
	})
	if w.commit(h, write, growth{generation: true}) != credential.StatusWritten {
		w.fatalf("an alternate was not installed")
	}
}

// sentAgain repeats the last write, as a client does whose reply was lost.
func (w *world) sentAgain(t *rapid.T) {
	if w.last == nil {
		t.Skip("nothing was written")
	}
	if w.commit(w.live(), *w.last, growth{}) != credential.StatusWritten {
		w.fatalf("a write that was sent again is not recognised")
	}
}

func (w *world) logout(t *rapid.T) {
	w.rarely(t)
	h := w.live()
	if h.Record.State == credential.StateLoggedOut {
		t.Skip("logged out already")
	}
	w.end(h, credential.Logout(h, w.nonce(), w.now))
}

func (w *world) erase(t *rapid.T) {
	w.rarely(t)
	h := w.live()
	w.end(h, credential.Delete(h, w.nonce(), w.now))
}

func (w *world) end(h credential.Held, write credential.Write) {
	if w.commit(h, write, growth{grant: true}) != credential.StatusWritten {
		w.fatalf("the end was not taken")
	}
}
