package credential_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestStates(t *testing.T) {
	t.Parallel()
	terminal := map[credential.State]bool{
		credential.StatePending: false, credential.StateActive: false, credential.StateDegraded: false, credential.StateExpired: false,
		credential.StateReauthRequired: true, credential.StateLoggedOut: true, credential.StateDeleted: true,
		"": true, "unheard_of": true, // what is not known causes no call
	}
	for state, want := range terminal {
		assert.Equal(t, want, state.Terminal(), state)
	}
	for _, state := range credential.States() {
		got, err := credential.ParseState(string(state))
		require.NoError(t, err)
		assert.Equal(t, state, got)
	}
	assert.NotContains(t, credential.States(), credential.StateDeleted)
	for _, bad := range []string{"", "deleted", "Active", "active ", "nope"} {
		_, err := credential.ParseState(bad)
		require.Error(t, err, bad)
	}
}

// Reasons and classes label metrics: each stands once, and none is empty.
func TestClosedLists(t *testing.T) {
	t.Parallel()
	checkClosed(t, credential.Reasons())
	checkClosed(t, credential.Classes())
	checkClosed(t, credential.EventTypes())
	checkClosed(t, credential.States())
}

func checkClosed[S ~string](t *testing.T, list []S) {
	t.Helper()
	assert.NotEmpty(t, list)
	assert.NotContains(t, list, S(""))
	sorted := slices.Sorted(slices.Values(list))
	assert.Len(t, slices.Compact(sorted), len(list), "an entry stands twice in %v", list)
}
