package credential_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// dead is a provider's word that the grant has ended.
func deadGrant() credential.Outcome {
	return credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInvalidGrant, Detail: "400 invalid_grant"}
}

func TestTakeEnded(t *testing.T) {
	t.Parallel()
	heard := func(b *bundle) credential.Attempt { return b.attempt }
	another := func(doubt bool) func(*bundle) credential.Attempt {
		return func(b *bundle) credential.Attempt {
			a := b.attempt
			a.Nonce, a.Doubt = nonceOf(70), doubt
			heard := b.attempt
			b.open(a)
			return heard
		}
	}
	for name, c := range map[string]struct {
		change func(*bundle) credential.Attempt // returns what it was heard under
		wanted bool
		expect func(*bundle) credential.Nonce // the attempt that the write expects
	}{
		"the attempt is open": {heard, true, func(b *bundle) credential.Nonce { return b.attempt.Nonce }},
		"it is in doubt": {func(b *bundle) credential.Attempt {
			a := b.attempt
			a.Doubt = true
			b.open(a)
			return a
		}, true, func(b *bundle) credential.Nonce { return b.attempt.Nonce }},
		"the store has lost it": {func(b *bundle) credential.Attempt {
			b.held.Attempt = nil
			return b.attempt
		}, true, func(*bundle) credential.Nonce { return credential.Nonce{} }},
		"another one for it is in doubt":     {another(true), true, func(*bundle) credential.Nonce { return nonceOf(70) }},
		"somebody presents it now":           {another(false), false, nil},
		"a newer token has been installed":   {func(b *bundle) credential.Attempt { b.held.Record.Generation++; return b.attempt }, false, nil},
		"the owner has logged in again":      {func(b *bundle) credential.Attempt { b.held.Record.Grant++; return b.attempt }, false, nil},
		"a person has been asked for":        {func(b *bundle) credential.Attempt { b.in(credential.StateReauthRequired, false); return b.attempt }, false, nil},
		"the owner has ended the credential": {func(b *bundle) credential.Attempt { b.in(credential.StateLoggedOut, false); return b.attempt }, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			a := c.change(b)
			before := copyHeld(b.held)
			w, wanted := credential.TakeEnded(b.held, a, deadGrant(), b.policy, noon)
			assert.Equal(t, before, b.held, "what it was decided on is as it was")
			require.Equal(t, c.wanted, wanted)
			if !wanted {
				return
			}
			after := w.Result(b.held)
			assert.Equal(t, credential.StateReauthRequired, after.Record.State)
			assert.Equal(t, credential.ReasonInvalidGrant, after.Record.Reason)
			assert.Equal(t, "400 invalid_grant", after.Record.LastAttempt.Detail)
			assert.Nil(t, after.Attempt, "nobody asks again")
			assert.Zero(t, w.Due)
			assert.Equal(t, c.expect(b), w.Attempt)
			assert.Equal(t, before.Attempt == nil, w.Alone, "what is begun meanwhile stays")
			checkUnshared(t, b.held, w)
		})
	}
}

// A token that came aside is newer than the word: it is installed instead.
func TestTakeEndedHasAnAlternate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Alternates = []credential.Alternate{{Nonce: nonceOf(50), Generation: 4, Token: token("at-5", "rt-5"), IssuedAt: noon, Lifetime: life}}
	w, wanted := credential.TakeEnded(b.held, b.attempt, deadGrant(), b.policy, noon)
	require.True(t, wanted)
	after := w.Result(b.held)
	assert.Equal(t, credential.StateActive, after.Record.State)
	assert.Equal(t, "rt-5", after.Token.Refresh.Reveal())
	assert.Nil(t, after.Attempt)
}

// notTaken is a provider's word that it does not take an access token any more.
func notTaken() credential.Outcome {
	return credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonRejected, Detail: "HTTP 401"}
}

// accessOnly leaves the record an access token that nothing can replace.
func (b *bundle) accessOnly() {
	b.held.Attempt = nil
	b.held.Token = token("at-4", "")
	r := &b.held.Record
	r.Refreshable, r.HasRefresh, r.RefreshAt = false, false, 0
}

func TestTakeRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*bundle)
		wanted bool
	}{
		"nothing can replace it":             {func(*bundle) {}, true},
		"its refreshes had failed":           {func(b *bundle) { b.in(credential.StateDegraded, true) }, true},
		"it can be replaced":                 {func(b *bundle) { b.held.Record.Refreshable, b.held.Record.HasRefresh = true, true }, false},
		"its call was taken out":             {func(b *bundle) { b.held.Record.Refreshable = true }, true},
		"an attempt is open":                 {func(b *bundle) { b.open(b.attempt) }, false},
		"a newer token has been installed":   {func(b *bundle) { b.held.Record.Generation++ }, false},
		"the owner has logged in again":      {func(b *bundle) { b.held.Record.Grant++ }, false},
		"a person has been asked for":        {func(b *bundle) { b.in(credential.StateReauthRequired, true) }, false},
		"the owner has ended the credential": {func(b *bundle) { b.in(credential.StateLoggedOut, false) }, false},
		"it is a tombstone":                  {func(b *bundle) { b.in(credential.StateDeleted, false) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.accessOnly()
			asked := b.held.Record
			c.change(b)
			before := copyHeld(b.held)
			w, wanted := credential.TakeRefused(b.held, asked, notTaken(), b.policy, b.nonce, noon)
			assert.Equal(t, before, b.held, "what it was decided on is as it was")
			require.Equal(t, c.wanted, wanted)
			if !wanted {
				return
			}
			r := w.Result(b.held).Record
			assert.Equal(t, credential.StateReauthRequired, r.State)
			assert.Equal(t, credential.ReasonRejected, r.Reason)
			assert.Equal(t, "HTTP 401", r.LastAttempt.Detail)
			assert.Zero(t, w.Due)
			assert.True(t, w.Alone, "what is begun meanwhile stays")
			require.Len(t, w.Events, 1)
			assert.Equal(t, credential.EventReauthRequired, w.Events[0].Type)
			assert.Equal(t, credential.BySchedule, w.Events[0].InitiatedBy)
			checkUnshared(t, b.held, w)
		})
	}
}

// A token that came aside is one that can replace it.
func TestTakeRefusedHasAnAlternate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.accessOnly()
	b.held.Alternates = []credential.Alternate{{Nonce: nonceOf(50), Generation: 4, Token: token("at-5", ""), IssuedAt: noon, Lifetime: life}}
	w, wanted := credential.TakeRefused(b.held, b.held.Record, notTaken(), b.policy, b.nonce, noon)
	require.True(t, wanted)
	after := w.Result(b.held)
	assert.Equal(t, credential.StateActive, after.Record.State)
	assert.Equal(t, "at-5", after.Token.Access.Reveal())
	assert.True(t, w.Alone)
}

// Whoever asked once more after a lost reply, and hears that the token is dead,
// tells of the lost reply.
func TestEndedBy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	assert.Equal(t, credential.ReasonInvalidGrant, credential.EndedBy(b.attempt, deadGrant()).Reason)
	b.recovery(noon - hour)
	assert.Equal(t, credential.ReasonLostRotation, credential.EndedBy(b.attempt, deadGrant()).Reason)
	mfa := credential.Outcome{Class: credential.ClassPermanent, Reason: credential.ReasonInteractionRequired}
	assert.Equal(t, mfa, credential.EndedBy(b.attempt, mfa))
}
