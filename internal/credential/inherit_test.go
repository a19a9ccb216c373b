package credential_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestEvidence(t *testing.T) {
	t.Parallel()
	assert.Equal(t, credential.EvidenceUnsent, credential.EvidenceOfDead(false, false))
	assert.Equal(t, credential.EvidenceSent, credential.EvidenceOfDead(true, false))
	assert.Equal(t, credential.EvidenceSent, credential.EvidenceOfDead(false, true), "an intent may be missing")
	assert.Equal(t, credential.EvidenceSent, credential.EvidenceOfDead(true, true))

	assert.Equal(t, credential.EvidenceUnsent, credential.EvidenceOfOwn(false, false))
	assert.Equal(t, credential.EvidenceSent, credential.EvidenceOfOwn(false, true))
	assert.Equal(t, credential.EvidenceLiving, credential.EvidenceOfOwn(true, false))
	assert.Equal(t, credential.EvidenceLiving, credential.EvidenceOfOwn(true, true))
}

func TestInherit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w, ok := credential.Inherit(b.held, b.attempt, credential.EvidenceUnsent, b.policy, noon)
	assert.True(t, ok)
	assert.Empty(t, cmp.Diff(credential.Abandon(b.held, b.attempt, credential.BySchedule, noon), w))
	w, ok = credential.Inherit(b.held, b.attempt, credential.EvidenceSent, b.policy, noon)
	assert.True(t, ok)
	assert.Empty(t, cmp.Diff(credential.Doubt(b.held, b.attempt, b.policy, noon), w))
	nothing := func(h credential.Held, e credential.Evidence, why string) {
		t.Helper()
		w, ok := credential.Inherit(h, b.attempt, e, b.policy, noon)
		assert.False(t, ok, why)
		assert.Empty(t, cmp.Diff(credential.Write{}, w))
	}
	nothing(b.held, credential.EvidenceLiving, "somebody works on it")
	late := b.attempt.Deadline
	_, ok = credential.Inherit(b.held, b.attempt, credential.EvidenceSilent, b.policy, late.Add(time.Hour))
	assert.False(t, ok, "a refresh token may have been presented")
	spendless := b.held
	spendless.Record.HasRefresh, spendless.Record.HasLogin = false, true
	_, ok = credential.Inherit(spendless, b.attempt, credential.EvidenceSilent, b.policy, late-1)
	assert.False(t, ok, "before its deadline")
	w, ok = credential.Inherit(spendless, b.attempt, credential.EvidenceSilent, b.policy, late)
	assert.True(t, ok)
	assert.True(t, w.Close)
	assert.Nil(t, w.Open, "nothing is in doubt")
	other := setup(t)
	other.attempt.Nonce = nonceOf(9)
	other.open(other.attempt)
	nothing(other.held, credential.EvidenceSent, "another is open")
	other.held.Attempt = nil
	nothing(other.held, credential.EvidenceSent, "none is open")
	b.inDoubt(noon)
	nothing(b.held, credential.EvidenceUnsent, "it is in doubt already")
}
