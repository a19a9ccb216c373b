package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// refused installs a token after the one before it was used up, or refused at an
// age.
func refused(b *bundle, age time.Duration) {
	r := &b.held.Record
	now := r.IssuedAt.Add(age)
	b.attempt.Generation, b.attempt.BegunAt = r.Generation, now
	b.open(b.attempt)
	got := credential.Received{Method: credential.MethodRefresh, Token: token("at", "rt"), SentAt: now, ExpiresIn: time.Hour, Rejected: age < r.Lifetime/2}
	b.held = credential.Install(b.held, b.attempt, got, b.policy, credential.ByDemand, now).Result(b.held)
}

// A token that is refused before its time, twice in a row, has a shorter life
// than its provider tells.
func TestLearnedLife(t *testing.T) {
	t.Parallel()
	const fine = 45 * time.Minute
	for name, c := range map[string]struct {
		ages []time.Duration
		want time.Duration
	}{
		"never":                       {[]time.Duration{fine, fine}, time.Hour},
		"once":                        {[]time.Duration{10 * time.Minute}, time.Hour},
		"twice":                       {[]time.Duration{10 * time.Minute, 12 * time.Minute}, 12 * time.Minute},
		"twice, the older one counts": {[]time.Duration{12 * time.Minute, 10 * time.Minute}, 12 * time.Minute},
		"not in a row":                {[]time.Duration{10 * time.Minute, fine, 12 * time.Minute}, time.Hour},
		"at once":                     {[]time.Duration{time.Second, time.Second}, time.Minute},
		"shorter still":               {[]time.Duration{20 * time.Minute, 20 * time.Minute, 5 * time.Minute, 4 * time.Minute}, 5 * time.Minute},
		"for good":                    {[]time.Duration{10 * time.Minute, 10 * time.Minute, 9 * time.Minute, 9 * time.Minute, 9 * time.Minute}, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for _, age := range c.ages {
				refused(b, age)
			}
			r := b.held.Record
			assert.Equal(t, c.want, r.Lifetime)
			assert.Equal(t, r.IssuedAt.Add(c.want), r.ExpiresAt)
			assert.Less(t, r.RefreshAt, r.ExpiresAt)
			again := credential.Connect(&b.held, login(), b.policy, b.nonce, noon)
			assert.Equal(t, 2*time.Hour, again.Record.Lifetime, "a new login is another matter")
		})
	}
}

// A refresh token that is told to die unless it is used is used in time, however
// long the access token lives; one whose end nothing puts off is not.
func TestRefreshTokenIsUsedInTime(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	in.RefreshExpiresIn = 10 * time.Minute
	w := credential.Connect(nil, in, b.policy, b.nonce, noon)
	assert.Equal(t, noon+4*minute, w.Record.RefreshAt)
	assert.Equal(t, noon+10*minute, w.Record.LimitAt)
	assert.Equal(t, noon+5*minute, w.Record.WarnAt, "told in time, and not where it is used in time")

	h := w.Result(credential.Held{})
	refresh := func(told time.Duration) credential.Record {
		a := credential.Attempt{Nonce: nonceOf(1), Generation: h.Record.Generation, Grant: h.Record.Grant, BegunAt: noon + 4*minute}
		h.Attempt = &a
		got := credential.Received{Method: credential.MethodRefresh, Token: token("at-2", "rt-2"), SentAt: noon + 4*minute, ExpiresIn: time.Hour, RefreshExpiresIn: told}
		return credential.Install(h, a, got, b.policy, credential.BySchedule, noon+4*minute).Record
	}
	rolls := refresh(10 * time.Minute)
	assert.Equal(t, noon+8*minute, rolls.RefreshAt)
	assert.Equal(t, noon+14*minute, rolls.LimitAt)
	assert.Equal(t, noon+9*minute, rolls.WarnAt)
	fixed := refresh(6 * time.Minute)
	assert.Equal(t, noon+10*minute, fixed.LimitAt)
	assert.Greater(t, fixed.RefreshAt, noon+30*minute, "no hurry helps")
	assert.Equal(t, noon+7*minute, fixed.WarnAt)
	untold := refresh(0)
	assert.Equal(t, noon+10*minute, untold.LimitAt)
}

func TestRefreshIdle(t *testing.T) {
	t.Parallel()
	b, in := setup(t), login()
	b.policy.RefreshIdle = 20 * time.Minute
	assert.Equal(t, noon+10*minute, credential.Connect(nil, in, b.policy, b.nonce, noon).Record.RefreshAt)
}

// A token that is served on, because the reply had no other, is not counted twice.
func TestLearnedFromATokenThatWasNotReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 3 {
		got := credential.Received{Method: credential.MethodRefresh, Token: token("", "rt-next-"+string(rune('a'+i))), SentAt: noon, Rejected: true}
		w := credential.Install(b.held, b.attempt, got, b.policy, credential.ByDemand, noon)
		b.held = w.Result(b.held)
		b.open(b.attempt)
	}
	assert.Zero(t, b.held.Record.Learned)
}
