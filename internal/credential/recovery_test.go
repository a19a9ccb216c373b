package credential_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestRecoverAt(t *testing.T) {
	t.Parallel()
	// A grace of 10 min is usable until 9 min 35 s after the first sending.
	const end = 9*minute + 35*second
	for name, c := range map[string]struct {
		rotates credential.Rotates
		grace   time.Duration
		first   credential.Millis // since when; before noon
		expires credential.Millis // from noon
		life    time.Duration
		want    credential.Millis // from noon
	}{
		"does not rotate":               {credential.RotatesNo, 0, minute, hour, time.Hour, 0},
		"strict":                        {credential.RotatesYes, 0, minute, hour, time.Hour, hour - minute},
		"unknown":                       {credential.RotatesAuto, 0, minute, hour, time.Hour, hour - minute},
		"strict, about to expire":       {credential.RotatesYes, 0, minute, minute, time.Hour, 0},
		"strict, a millisecond before":  {credential.RotatesYes, 0, minute, minute + 1, time.Hour, 1},
		"strict, expired":               {credential.RotatesYes, 0, minute, -hour, time.Hour, 0},
		"strict, five minutes of life":  {credential.RotatesYes, 0, minute, 5 * minute, 5 * time.Minute, 5*minute - 30*second},
		"strict, three seconds of life": {credential.RotatesYes, 0, minute, 3 * second, 3 * time.Second, 2 * second},
		"unusable grace":                {credential.RotatesYes, 25 * time.Second, minute, hour, time.Hour, hour - minute},
		"inside the grace":              {credential.RotatesYes, 10 * time.Minute, minute, hour, time.Hour, 0},
		"at the grace's end":            {credential.RotatesYes, 10 * time.Minute, end, hour, time.Hour, 0},
		"a millisecond after it":        {credential.RotatesYes, 10 * time.Minute, end + 1, hour, time.Hour, hour - minute},
		"never sent, as far as known":   {credential.RotatesYes, 10 * time.Minute, -1, hour, time.Hour, hour - minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.policy.Rotates, b.policy.Grace = c.rotates, c.grace
			b.held.Record.Rotations = credential.Rotated{}
			b.held.Record.ExpiresAt, b.held.Record.Lifetime = noon+c.expires, c.life
			a := b.attempt
			if c.first >= 0 {
				a.FirstSent = noon - c.first
			}
			assert.Equal(t, noon+c.want, credential.RecoverAt(b.held.Record, a, b.policy, noon))
		})
	}
	b := setup(t)
	b.policy.Rotates = credential.RotatesAuto
	b.held.Record.Rotations = credential.Rotated{Kept: 2}
	assert.Equal(t, noon, credential.RecoverAt(b.held.Record, b.attempt, b.policy, noon), "learned: does not rotate")
}

func TestAbandon(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Record.RefreshAt = noon - minute // what made it due
	w := credential.Abandon(b.held, b.attempt, credential.ByDemand, noon)
	checkWrite(t, b.held, w, changed(b.held, w, noon, nil))
	assert.True(t, w.Close)
	assert.Nil(t, w.Open)
	assert.Equal(t, b.attempt.Nonce, w.Attempt)
	assert.Equal(t, noon-minute, w.Due, "it is as due as it was")
	assert.Equal(t, credential.Work{Refresh: true}, credential.Due(w.Record, nil, noon))

	b.recovery(noon - minute)
	w = credential.Abandon(b.held, b.attempt, credential.ByDemand, noon)
	checkWrite(t, b.held, w, changed(b.held, w, noon, nil))
	want := b.attempt
	want.Doubt, want.RecoverAt = true, noon
	assert.Empty(t, cmp.Diff(&want, w.Open))
	assert.False(t, w.Close)
	assert.Equal(t, noon, w.Due)
}

func TestDoubt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := credential.Doubt(b.held, b.attempt, b.policy, noon)
	checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) {
		failed(r, b.policy, credential.ReasonOwnerDied)
		entered(r, credential.StateDegraded, credential.ReasonOwnerDied)
	}), event{credential.EventDegraded, credential.StateDegraded, credential.StateActive, credential.ReasonOwnerDied})
	want := b.attempt
	want.Doubt, want.FirstSent, want.RecoverAt = true, b.attempt.BegunAt, issued+hour-minute
	assert.Empty(t, cmp.Diff(&want, w.Open))
	assert.Equal(t, want.RecoverAt, w.Due)
	assert.Equal(t, credential.BySchedule, w.Events[0].InitiatedBy)

	b.policy.Rotates = credential.RotatesNo
	w = credential.Doubt(b.held, b.attempt, b.policy, noon)
	assert.True(t, w.Close)
	assert.Nil(t, w.Open)
	assert.Equal(t, w.Record.RefreshAt, w.Due)
}

// The owner of a recovery died as well: the grace still counts from the first
// sending of all.
func TestDoubtOfARecovery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy.Grace = 10 * time.Minute
	b.recovery(noon - 9*minute)
	w := credential.Doubt(b.held, b.attempt, b.policy, noon)
	assert.Equal(t, noon-9*minute, w.Open.FirstSent)
	assert.True(t, w.Open.Recovery)
	assert.Equal(t, noon, w.Open.RecoverAt, "nobody has failed whom one should leave alone for a while")

	b.policy.Grace = 9 * time.Minute
	w = credential.Doubt(b.held, b.attempt, b.policy, noon)
	assert.Equal(t, issued+hour-minute, w.Open.RecoverAt, "what is left of the grace is too little: the last resort")
}

func TestPostpone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.recovery(noon - minute)
	w := credential.Postpone(b.held, b.attempt, b.policy, noon)
	checkWrite(t, b.held, w, changed(b.held, w, noon, nil))
	want := b.attempt
	want.Doubt, want.RecoverAt = true, issued+hour-minute
	assert.Empty(t, cmp.Diff(&want, w.Open))
	assert.Equal(t, want.RecoverAt, w.Due)
	assert.Equal(t, b.attempt.Nonce, w.Attempt)

	b.policy.Grace = 10 * time.Minute
	assert.Equal(t, noon, credential.Postpone(b.held, b.attempt, b.policy, noon).Open.RecoverAt)
}

// Whatever a recovery meets while the grace lasts, the next one comes well
// before its end: whoever takes it up needs a moment to begin, and once the
// end has passed the person has to log in again.
func TestRecoveryStaysInsideTheGrace(t *testing.T) {
	t.Parallel()
	classes := []credential.Class{
		credential.ClassNotSent, credential.ClassRateLimited, credential.ClassNotProcessed, credential.ClassRefused,
		credential.ClassTransient, credential.ClassAmbiguous, credential.ClassOperator,
	}
	for _, class := range classes {
		for _, left := range []credential.Millis{9 * minute, minute, 10 * second, 2 * second} {
			b := setup(t)
			b.policy.Grace = 10 * time.Minute
			end := noon + left
			b.recovery(end - 9*minute - 35*second)
			b.held.Record.Failures = 10 // the backoff would be five minutes
			o := credential.Outcome{Class: class, Reason: credential.ReasonNetwork, RetryAfter: time.Hour}
			w := credential.Fail(b.held, b.attempt, o, b.policy, credential.BySchedule, noon)
			if assert.NotNil(t, w.Open, class) {
				assert.LessOrEqual(t, w.Open.RecoverAt, end-left/2, "%s with %d ms left", class, left)
				assert.GreaterOrEqual(t, w.Open.RecoverAt, noon, class)
				begun := w.Open.RecoverAt + second/2 // taken up a little later
				assert.Equal(t, begun, credential.RecoverAt(w.Record, *w.Open, b.policy, begun), "%s: postponed although the grace lasts", class)
			}
		}
	}
	b := setup(t)
	b.policy.Grace = 10 * time.Minute
	b.recovery(noon - 9*minute - 35*second - 1) // just over
	w := credential.Fail(b.held, b.attempt, credential.Outcome{Class: credential.ClassNotSent, RetryAfter: time.Hour}, b.policy, credential.BySchedule, noon)
	assert.GreaterOrEqual(t, w.Open.RecoverAt, noon+hour)
}

// Every write that settles an attempt without its token has a nonce of its
// own: the attempt's is that of the token's installation. The store takes a
// write whose nonce is the last one's for done, and a token that arrives after
// a doubt must not be taken for stored.
func TestNoncesOfAnAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.recovery(noon - minute)
	outcome := credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}
	seen := map[credential.Nonce]string{b.attempt.Nonce: "the attempt"}
	short := map[string]string{b.attempt.Nonce.Short(): "the attempt"}
	for name, w := range map[string]credential.Write{
		"Fail":     credential.Fail(b.held, b.attempt, outcome, b.policy, credential.BySchedule, noon),
		"Abandon":  credential.Abandon(b.held, b.attempt, credential.BySchedule, noon),
		"Doubt":    credential.Doubt(b.held, b.attempt, b.policy, noon),
		"Postpone": credential.Postpone(b.held, b.attempt, b.policy, noon),
	} {
		assert.NotContains(t, seen, w.Nonce, "%s and %s share a nonce", name, seen[w.Nonce])
		seen[w.Nonce] = name
		assert.Equal(t, w.Nonce, w.Record.LastWrite, name)
		assert.NotContains(t, short, w.Nonce.Short(), "events of %s and %s could share an ID", name, short[w.Nonce.Short()])
		short[w.Nonce.Short()] = name
	}

	// The same decision on the same record is the same write, on a later one another.
	again := credential.Abandon(b.held, b.attempt, credential.BySchedule, noon+hour)
	assert.Equal(t, "Abandon", seen[again.Nonce])
	b.held.Record.Revision++
	later := credential.Abandon(b.held, b.attempt, credential.BySchedule, noon)
	assert.NotContains(t, seen, later.Nonce)

	doubted := credential.Doubt(b.held, b.attempt, b.policy, noon).Result(b.held)
	install := credential.Install(doubted, b.attempt, credential.Received{Token: token("at-5", "rt-5"), SentAt: sent}, b.policy, credential.BySchedule, noon+minute)
	assert.NotEqual(t, doubted.Record.LastWrite, install.Nonce, "a token that comes after the doubt would be dropped as stored")
}

// A recovery is never planned for a moment at which it would be refused, nor
// before the failure that brought it.
func TestDoubtIsRecoverable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := credential.Policy{
			RefreshAt: 0.66, Jitter: 0.1, Times: credential.DefaultTimes(0),
			Rotates: rapid.SampledFrom([]credential.Rotates{credential.RotatesYes, credential.RotatesAuto}).Draw(t, "rotates"),
			Grace:   time.Duration(rapid.Int64Range(0, 900).Draw(t, "grace")) * time.Second,
		}
		issuedAt := noon - credential.Millis(rapid.Int64Range(0, 7_200_000).Draw(t, "age"))
		life := time.Duration(rapid.Int64Range(1, 7200).Draw(t, "life")) * time.Second
		h := credential.Held{Record: credential.Record{
			ID: "a", State: credential.StateActive, Revision: 1, Refreshable: true, HasRefresh: true,
			IssuedAt: issuedAt, Lifetime: life, ExpiresAt: issuedAt.Add(life), Failures: rapid.IntRange(0, 15).Draw(t, "failures"),
		}}
		a := credential.Attempt{Nonce: nonceOf(1), BegunAt: noon - credential.Millis(rapid.Int64Range(0, 600_000).Draw(t, "begun"))}
		o := credential.Outcome{Class: credential.ClassAmbiguous, RetryAfter: time.Duration(rapid.Int64Range(0, 600).Draw(t, "retry after")) * time.Second}
		w := credential.Fail(h, a, o, p, credential.BySchedule, noon)
		at := w.Open.RecoverAt
		if at < noon {
			t.Fatalf("to be recovered %s before the failure", noon.Sub(at))
		}
		if again := credential.RecoverAt(w.Record, *w.Open, p, at); again != at {
			t.Fatalf("planned for %s after the failure, and postponed then by %s", at.Sub(noon), again.Sub(at))
		}
		checkNextDue(t, w.Record, w.Open)
	})
}
