package credential_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestRemember(t *testing.T) {
	t.Parallel()
	var r credential.Record
	for i := range byte(40) {
		before := r.Spent
		kept := append([]credential.MAC(nil), before...)
		r.Remember(credential.MAC{i + 1})
		assert.Equal(t, credential.MAC{i + 1}, r.Spent[0])
		assert.Equal(t, kept, append([]credential.MAC(nil), before...), "the list before was changed")
		assert.Len(t, r.Spent, min(int(i)+1, credential.MaxSpent))
	}
	for i, mac := range r.Spent {
		assert.Equal(t, credential.MAC{byte(40 - i)}, mac)
	}
}

func TestResult(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.held.Alternates = []credential.Alternate{alternate(1, 3)}
	record := credential.Record{ID: "acct-1", Version: 9}

	after := credential.Write{Record: record}.Result(b.held)
	assert.Empty(t, cmp.Diff(credential.Held{Record: record, Token: b.held.Token, Attempt: b.held.Attempt, Alternates: b.held.Alternates}, after))

	fresh, open := token("at-5", "rt-5"), credential.Attempt{Nonce: nonceOf(3), Doubt: true}
	after = credential.Write{Record: record, Token: &fresh, Open: &open, Alternates: &[]credential.Alternate{}}.Result(b.held)
	assert.Empty(t, cmp.Diff(credential.Held{Record: record, Token: fresh, Attempt: &open, Alternates: []credential.Alternate{}}, after))

	after = credential.Write{Record: record, Erase: true, Close: true}.Result(b.held)
	assert.Empty(t, cmp.Diff(credential.Held{Record: record, Alternates: b.held.Alternates}, after))
}
