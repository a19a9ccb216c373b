package credential_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// consequence is what follows from a class of failure, by the table of errors
// in the protocol's description.
type consequence struct {
	counts    bool // as a failed attempt, which degrades
	maySpend  bool // the provider may have rotated
	terminal  bool
	untouched bool // the credential is not to blame
}

func consequences() map[credential.Class]consequence {
	return map[credential.Class]consequence{
		credential.ClassOK:           {counts: true, maySpend: true}, // a success without a token cannot be trusted
		credential.ClassNotSent:      {counts: true},
		credential.ClassRateLimited:  {counts: true},
		credential.ClassNotProcessed: {counts: true},
		credential.ClassTransient:    {counts: true, maySpend: true},
		credential.ClassAmbiguous:    {counts: true, maySpend: true},
		credential.ClassRefused:      {counts: true},
		credential.ClassPermanent:    {terminal: true},
		credential.ClassOperator:     {untouched: true},
		"not_a_class":                {counts: true, maySpend: true}, // what is not known is the worst
	}
}

// failCase is one cell of class x rotation x state x recovery.
type failCase struct {
	class    credential.Class
	rotates  bool
	state    credential.State
	alive    bool
	recovery bool
}

func TestFailEverywhere(t *testing.T) {
	t.Parallel()
	assert.Len(t, consequences(), len(credential.Classes())+1)
	for class, follows := range consequences() {
		for _, rotates := range []bool{true, false} {
			for _, recovery := range []bool{true, false} {
				for _, s := range []struct {
					state credential.State
					alive bool
				}{
					{credential.StatePending, true},
					{credential.StateActive, true},
					{credential.StateActive, false},
					{credential.StateDegraded, true},
					{credential.StateDegraded, false},
					{credential.StateExpired, false},
				} {
					c := failCase{class, rotates, s.state, s.alive, recovery}
					t.Run(fmt.Sprintf("%s/rotates=%t/%s/alive=%t/recovery=%t", class, rotates, s.state, s.alive, recovery), func(t *testing.T) {
						t.Parallel()
						checkFail(t, c, follows)
					})
				}
			}
		}
	}
}

func checkFail(t *testing.T, c failCase, follows consequence) {
	t.Helper()
	b := setup(t)
	b.in(c.state, c.alive)
	if !c.rotates {
		b.policy.Rotates = credential.RotatesNo
	}
	if c.recovery {
		b.recovery(noon - 10*minute)
	}
	o := credential.Outcome{Class: c.class, Reason: credential.ReasonInvalidGrant, Detail: "400 invalid_grant"}
	w := credential.Fail(b.held, b.attempt, o, b.policy, credential.ByDemand, noon)

	var events []event
	want := changed(b.held, w, noon, func(r *credential.Record) {
		if follows.untouched {
			return
		}
		r.Failures++
		r.LastAttempt.FailedAt, r.LastAttempt.Failure, r.LastAttempt.Detail = noon, o.Reason, o.Detail
		before := r.State
		switch {
		case follows.terminal:
			r.RefreshAt = 0
			reason := credential.ReasonInvalidGrant
			if c.recovery {
				reason = credential.ReasonLostRotation
			}
			entered(r, credential.StateReauthRequired, reason)
			events = []event{{credential.EventReauthRequired, r.State, before, reason}}
			return
		case c.state == credential.StateActive && c.alive:
			entered(r, credential.StateDegraded, o.Reason)
			events = []event{{credential.EventDegraded, r.State, before, o.Reason}}
		case (c.state == credential.StateActive || c.state == credential.StateDegraded) && !c.alive:
			entered(r, credential.StateExpired, o.Reason)
			events = []event{{credential.EventExpired, r.State, before, o.Reason}}
		}
		r.RefreshAt = noon.Add(b.policy.Backoff(r.ID, r.Failures, r.Lifetime))
	})
	checkWrite(t, b.held, w, want, events...)

	wantOpen := b.attempt
	doubt := false
	switch {
	case follows.terminal:
	case follows.maySpend:
		doubt = c.rotates
		if wantOpen.FirstSent == 0 {
			wantOpen.FirstSent = b.attempt.BegunAt
		}
		wantOpen.RecoverAt = max(want.ExpiresAt-minute, want.RefreshAt)
		if want.ExpiresAt == 0 {
			wantOpen.RecoverAt = want.RefreshAt
		}
	case c.recovery: // it changed nothing, and the doubt stands
		doubt = true
		wantOpen.RecoverAt = want.RefreshAt
		if follows.untouched {
			wantOpen.RecoverAt = noon
		}
	}
	if doubt {
		wantOpen.Doubt = true
		assert.Empty(t, cmp.Diff(&wantOpen, w.Open))
		assert.False(t, w.Close)
	} else {
		assert.Nil(t, w.Open)
		assert.True(t, w.Close)
	}

	due := credential.NextDue(want, w.Open)
	if follows.untouched {
		due = max(due, noon+5*second) // until the breaker is open everywhere
	}
	assert.Equal(t, due, w.Due)
	assert.Equal(t, b.attempt.Nonce, w.Attempt)
	assert.Nil(t, w.Token)
	assert.False(t, w.Erase)
	assert.True(t, w.Spent.IsZero())
	assert.Nil(t, w.Alternates)
	for _, e := range w.Events {
		assert.Equal(t, credential.ByDemand, e.InitiatedBy)
	}
}

// Only invalid_grant in answer to a recovery means that a reply was lost; a
// provider that wants the user says so itself.
func TestFailPermanentReasons(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		recovery bool
		told     credential.Reason
		want     credential.Reason
	}{
		{false, credential.ReasonInvalidGrant, credential.ReasonInvalidGrant},
		{true, credential.ReasonInvalidGrant, credential.ReasonLostRotation},
		{false, credential.ReasonConsentRequired, credential.ReasonConsentRequired},
		{true, credential.ReasonConsentRequired, credential.ReasonConsentRequired},
		{true, credential.ReasonInteractionRequired, credential.ReasonInteractionRequired},
	} {
		b := setup(t)
		b.held.Record.WarnAt = noon + hour
		if c.recovery {
			b.recovery(noon - minute)
		}
		w := credential.Fail(b.held, b.attempt, credential.Outcome{Class: credential.ClassPermanent, Reason: c.told}, b.policy, credential.BySchedule, noon)
		assert.Equal(t, c.want, w.Record.Reason)
		assert.Equal(t, c.told, w.Record.LastAttempt.Failure, "what the provider said stays on record")
		assert.Zero(t, w.Due)
		assert.Zero(t, w.Record.WarnAt)
		assert.True(t, credential.Due(w.Record, nil, noon+1000*hour).None())
	}
}

func TestFailBacksOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	held := b.held
	for failures := 1; failures <= 12; failures++ {
		w := credential.Fail(held, b.attempt, credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonNetwork}, b.policy, credential.BySchedule, noon)
		assert.Equal(t, failures, w.Record.Failures)
		assert.Equal(t, noon.Add(b.policy.Backoff("acct-1", failures, life)), w.Record.RefreshAt)
		held = w.Result(held)
		held.Attempt = &b.attempt
	}
}

// What the provider asks for is the least: credentials that were told the same
// do not come back together, and none is lost for years to a wrong number.
func TestFailRetryAfter(t *testing.T) {
	t.Parallel()
	wait := func(id credential.ID, told time.Duration) time.Duration {
		b := setup(t)
		b.held.Record.ID = id
		o := credential.Outcome{Class: credential.ClassRateLimited, Reason: credential.ReasonRateLimited, RetryAfter: told}
		return credential.Fail(b.held, b.attempt, o, b.policy, credential.BySchedule, noon).Record.RefreshAt.Sub(noon)
	}
	seen := map[int64]bool{}
	for i := range 100 {
		id := credential.ID(fmt.Sprintf("acct-%d", i))
		got := wait(id, 10*time.Minute)
		assert.GreaterOrEqual(t, got, 10*time.Minute)
		assert.LessOrEqual(t, got, 11*time.Minute)
		seen[got.Milliseconds()] = true
		assert.LessOrEqual(t, wait(id, 0), 2200*time.Millisecond)
		assert.LessOrEqual(t, wait(id, -time.Hour), 2200*time.Millisecond)
		assert.LessOrEqual(t, wait(id, time.Second), 2200*time.Millisecond, "the backoff is longer")
		for _, absurd := range []time.Duration{1e9 * time.Second, 1<<63 - 1} {
			assert.GreaterOrEqual(t, wait(id, absurd), 24*time.Hour)
			assert.LessOrEqual(t, wait(id, absurd), 27*time.Hour)
		}
	}
	assert.Greater(t, len(seen), 90)
}

// invalid_request is met with patience, then once an hour, and never for good.
func TestFailRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Record.State = credential.StateExpired
	held := b.held
	for reply := 1; reply <= 8; reply++ {
		w := credential.Fail(held, b.attempt, credential.Outcome{Class: credential.ClassRefused, Reason: credential.ReasonInvalidRequest}, b.policy, credential.BySchedule, noon)
		want := noon.Add(b.policy.Backoff("acct-1", reply, life))
		if reply > 4 {
			want = noon + hour
		}
		assert.Equal(t, want, w.Record.RefreshAt, "reply %d", reply)
		assert.Equal(t, credential.StateExpired, w.Record.State)
		held = w.Result(held)
		held.Attempt = &b.attempt
	}
}

// Learned rotation decides as the configured one does.
func TestFailAuto(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		seen  credential.Rotated
		doubt bool
	}{
		{credential.Rotated{}, true},
		{credential.Rotated{Kept: 1}, true},
		{credential.Rotated{Kept: 2}, false},
		{credential.Rotated{Seen: true, Kept: 2}, true},
	} {
		b := setup(t)
		b.policy.Rotates, b.held.Record.Rotations = credential.RotatesAuto, c.seen
		w := credential.Fail(b.held, b.attempt, credential.Outcome{Class: credential.ClassAmbiguous, Reason: credential.ReasonTimeout}, b.policy, credential.BySchedule, noon)
		assert.Equal(t, c.doubt, w.Open != nil, "%+v", c.seen)
		assert.Equal(t, !c.doubt, w.Close, "%+v", c.seen)
	}
}
