package credential_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// request is a begin of the fixture's credential by another owner.
func request() credential.Begin {
	return credential.Begin{ID: "acct-1", Nonce: nonceOf(20), Owner: "owner-2", Lasts: 35 * time.Second}
}

func TestGrant(t *testing.T) {
	t.Parallel()
	const due = issued + 50*minute
	for name, c := range map[string]struct {
		change func(*bundle, *credential.Begin)
		now    credential.Millis
		want   credential.Refusal
	}{
		"due":                 {nil, due, credential.RefusedNot},
		"not due":             {nil, noon, credential.RefusedNotDue},
		"forced":              {func(_ *bundle, ask *credential.Begin) { ask.Force = true }, noon, credential.RefusedNot},
		"never due":           {func(b *bundle, _ *credential.Begin) { b.held.Record.RefreshAt = 0 }, due, credential.RefusedNotDue},
		"unknown":             {func(b *bundle, _ *credential.Begin) { b.held = credential.Held{} }, due, credential.RefusedUnknown},
		"terminal":            {func(b *bundle, _ *credential.Begin) { b.in(credential.StateLoggedOut, true) }, due, credential.RefusedTerminal},
		"a tombstone":         {func(b *bundle, _ *credential.Begin) { b.in(credential.StateDeleted, true) }, due, credential.RefusedTerminal},
		"this generation":     {func(_ *bundle, ask *credential.Begin) { ask.Generation = 4 }, due, credential.RefusedNot},
		"another generation":  {func(_ *bundle, ask *credential.Begin) { ask.Generation = 3 }, due, credential.RefusedMoved},
		"nothing to present":  {func(b *bundle, _ *credential.Begin) { b.held.Record.Refreshable = false }, due, credential.RefusedNoRefresh},
		"open":                {func(b *bundle, _ *credential.Begin) { b.open(b.attempt) }, due, credential.RefusedOpen},
		"open, and forced":    {func(b *bundle, ask *credential.Begin) { b.open(b.attempt); ask.Force = true }, due, credential.RefusedOpen},
		"open long past":      {func(b *bundle, _ *credential.Begin) { b.open(b.attempt) }, due + 24*hour, credential.RefusedOpen},
		"in doubt, too early": {func(b *bundle, _ *credential.Begin) { b.inDoubt(due + 1) }, due, credential.RefusedOpen},
		"in doubt, no moment": {func(b *bundle, _ *credential.Begin) { b.inDoubt(0) }, due, credential.RefusedOpen},
		"in doubt, its time":  {func(b *bundle, _ *credential.Begin) { b.inDoubt(due) }, due, credential.RefusedNot},
		"in doubt, another generation asked": {
			func(b *bundle, ask *credential.Begin) { b.inDoubt(due); ask.Generation = 9 }, due, credential.RefusedMoved,
		},
		"a newer token waits": {
			func(b *bundle, _ *credential.Begin) { b.held.Alternates = []credential.Alternate{alternate(1, 4)} }, due, credential.RefusedAlternate,
		},
		"an older token waits": {
			func(b *bundle, _ *credential.Begin) { b.held.Alternates = []credential.Alternate{alternate(1, 3)} }, due, credential.RefusedNot,
		},
		"a newer token waits beside a doubt": {
			func(b *bundle, _ *credential.Begin) {
				b.inDoubt(due + 1)
				b.held.Alternates = []credential.Alternate{alternate(1, 4)}
			}, due, credential.RefusedAlternate,
		},
		"a newer token waits beside an attempt": {
			func(b *bundle, _ *credential.Begin) {
				b.open(b.attempt)
				b.held.Alternates = []credential.Alternate{alternate(1, 4)}
			}, due, credential.RefusedOpen,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, ask := setup(t), request()
			b.held.Attempt = nil
			if c.change != nil {
				c.change(b, &ask)
			}
			before := copyHeld(b.held)
			refusal, granted := credential.Grant(b.held, ask, c.now)
			assert.Equal(t, c.want, refusal)
			assert.Equal(t, before, copyHeld(b.held), "a decision changes nothing")
			if refusal != credential.RefusedNot {
				assert.Nil(t, granted)
				return
			}
			want := credential.Attempt{
				Nonce: ask.Nonce, Owner: "owner-2", Generation: 4, Grant: 2, BegunAt: c.now, Deadline: c.now + 35*second,
			}
			if b.held.Attempt != nil {
				want.Recovery, want.FirstSent = true, b.attempt.FirstSent
			}
			assert.Equal(t, &want, granted)
		})
	}
}

// inDoubt leaves the fixture's attempt open as one that may have been
// processed and may be presented again at a moment.
func (b *bundle) inDoubt(again credential.Millis) {
	a := b.attempt
	a.Doubt, a.RecoverAt, a.FirstSent = true, again, a.BegunAt
	b.open(a)
}

// A begin whose answer was lost is sent again, and may by then be older than
// anything: it still is the same attempt.
func TestGrantRepeated(t *testing.T) {
	t.Parallel()
	b, ask := setup(t), request()
	b.held.Attempt = nil
	_, first := credential.Grant(b.held, ask, issued+50*minute)
	require.NotNil(t, first)
	b.held.Attempt = first
	refusal, again := credential.Grant(b.held, ask, issued+55*minute)
	assert.Equal(t, credential.RefusedNot, refusal)
	assert.Equal(t, first, again)
	assert.NotSame(t, first, again)
}
