package credential_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

// alternate returns a token that was got by presenting a generation.
func alternate(n, generation uint64) credential.Alternate {
	return credential.Alternate{
		Nonce: nonceOf(100 + n), Generation: generation, Token: token("at-alt", "rt-alt"), IssuedAt: sent, Lifetime: time.Hour,
	}
}

func TestKeepAlternate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state  credential.State
		open   bool
		before []credential.Alternate
		want   []credential.Alternate
		due    credential.Millis
	}{
		"the first":            {credential.StateActive, false, nil, []credential.Alternate{alternate(1, 4)}, noon},
		"one more":             {credential.StateDegraded, false, []credential.Alternate{alternate(2, 3)}, []credential.Alternate{alternate(2, 3), alternate(1, 4)}, noon},
		"the same again":       {credential.StateExpired, false, []credential.Alternate{alternate(1, 4), alternate(2, 3)}, []credential.Alternate{alternate(2, 3), alternate(1, 4)}, noon},
		"beside an attempt":    {credential.StateActive, true, nil, []credential.Alternate{alternate(1, 4)}, noon + 33*second},
		"where nobody calls":   {credential.StateReauthRequired, false, nil, []credential.Alternate{alternate(1, 4)}, 0},
		"before a first token": {credential.StatePending, false, nil, []credential.Alternate{alternate(1, 4)}, noon},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(c.state, c.state != credential.StateExpired)
			if !c.open {
				b.held.Attempt = nil
			}
			b.held.Alternates = c.before
			w := credential.KeepAlternate(b.held, alternate(1, 4), b.nonce, noon)
			checkWrite(t, b.held, w, changed(b.held, w, noon, nil))
			if assert.NotNil(t, w.Alternates) {
				assert.Empty(t, cmp.Diff(c.want, *w.Alternates))
			}
			assert.Equal(t, c.due, w.Due)
			assert.Nil(t, w.Token)
			assert.False(t, w.Close)
			assert.True(t, w.Attempt.IsZero())
		})
	}
}

func TestNextAlternate(t *testing.T) {
	t.Parallel()
	b := setup(t) // generation 4
	_, _, ok := credential.NextAlternate(b.held)
	assert.False(t, ok)
	for _, c := range []struct {
		generations []uint64
		want        uint64
		spent       bool
	}{
		{[]uint64{3}, 0, false},
		{[]uint64{4}, 0, true},
		{[]uint64{5}, 0, true},
		{[]uint64{2, 4, 3}, 1, true},
		{[]uint64{4, 4}, 0, true},
		{[]uint64{1, 2, 3}, 2, false},
	} {
		b.held.Alternates = nil
		for _, generation := range c.generations {
			b.held.Alternates = append(b.held.Alternates, alternate(uint64(len(b.held.Alternates)), generation))
		}
		alt, spent, ok := credential.NextAlternate(b.held)
		assert.True(t, ok)
		assert.Equal(t, nonceOf(100+c.want), alt.Nonce, "%v", c.generations)
		assert.Equal(t, c.spent, spent, "%v", c.generations)
	}
}

func TestInstallAlternate(t *testing.T) {
	t.Parallel()
	for _, state := range []credential.State{credential.StateActive, credential.StateDegraded, credential.StateExpired, credential.StateReauthRequired} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.in(state, state != credential.StateExpired)
			b.held.Attempt = nil
			b.held.Alternates = []credential.Alternate{alternate(2, 3), alternate(1, 4), alternate(3, 2)}
			w := credential.InstallAlternate(b.held, alternate(1, 4), b.policy, b.nonce, credential.BySchedule, noon)
			kind := credential.EventRecovered
			if state == credential.StateActive {
				kind = credential.EventRefreshed
			}
			checkWrite(t, b.held, w, changed(b.held, w, noon, func(r *credential.Record) { installed(r, b.policy, time.Hour, true) }),
				event{kind, credential.StateActive, state, credential.ReasonNone})
			assert.Equal(t, "at-alt", w.Token.Access.Reveal())
			assert.Equal(t, "rt-alt", w.Token.Refresh.Reveal())
			assert.Equal(t, "rt-4", w.Spent.Reveal())
			assert.Empty(t, cmp.Diff([]credential.Alternate{alternate(2, 3), alternate(3, 2)}, *w.Alternates))
			assert.True(t, w.Attempt.IsZero())
			assert.Equal(t, b.nonce, w.Nonce)
			assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
		})
	}
}

// The attempt that is open presented a token that the alternate replaces.
func TestInstallAlternateClosesTheAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.recovery(noon - minute)
	b.held.Alternates = []credential.Alternate{alternate(1, 4)}
	w := credential.InstallAlternate(b.held, alternate(1, 4), b.policy, b.nonce, credential.BySchedule, noon)
	assert.True(t, w.Close)
	assert.Equal(t, b.attempt.Nonce, w.Attempt)
	assert.Empty(t, *w.Alternates)
	assert.Nil(t, w.Result(b.held).Attempt)
	assert.Equal(t, credential.NextDue(w.Record, nil), w.Due)
}

// An alternate that was found too late to be served still has the newer
// refresh token.
func TestInstallAlternateExpired(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.in(credential.StateDegraded, true)
	b.held.Attempt = nil
	alt := alternate(1, 4)
	alt.Lifetime = time.Second
	b.held.Alternates = []credential.Alternate{alt}
	w := credential.InstallAlternate(b.held, alt, b.policy, b.nonce, credential.BySchedule, noon)
	assert.Equal(t, credential.StateExpired, w.Record.State)
	assert.Equal(t, "rt-alt", w.Token.Refresh.Reveal())
	assert.Equal(t, uint64(5), w.Record.Generation)
	assert.False(t, w.Record.ValidAt(noon, 0))
	assert.Less(t, w.Due, noon+3*second)
}

// Alternates are kept while they may still be of use: a refresh or two later
// the tokens that were installed in their place have proved themselves.
func TestInstallDropsOldAlternates(t *testing.T) {
	t.Parallel()
	b := setup(t) // generation 4
	got := credential.Received{Token: token("at-5", "rt-5"), SentAt: sent}
	assert.Nil(t, credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon).Alternates)

	b.held.Alternates = []credential.Alternate{alternate(1, 1), alternate(2, 4), alternate(3, 2), alternate(4, 3)}
	before := copyHeld(b.held)
	w := credential.Install(b.held, b.attempt, got, b.policy, credential.BySchedule, noon)
	if assert.NotNil(t, w.Alternates) {
		assert.Empty(t, cmp.Diff([]credential.Alternate{alternate(2, 4), alternate(4, 3)}, *w.Alternates))
	}
	checkUnshared(t, b.held, w)
	assert.Empty(t, cmp.Diff(before, b.held))
}
