package app

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
)

// The reasons that a user may be shown are those in the table of the manual, and
// no others.
func TestEveryReasonIsDocumented(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(manual), "\n## Reasons\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	var told []credential.Reason
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(section, -1) {
		told = append(told, credential.Reason(row[1]))
	}
	assert.ElementsMatch(t, credential.Reasons(), told)
	events, err := os.ReadFile("../../docs/events.md")
	require.NoError(t, err)
	assert.Contains(t, string(events), fmt.Sprintf("of a subscription `%s` or `%s` |", credential.ReasonGone, credential.ReasonUndeliverable))
}

// What a program is told in place of a token, with a 409, stands in the manual with
// what its owner can do.
func TestEveryConflictOfATokenIsDocumented(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	for _, code := range []string{
		string(credential.StateReauthRequired), string(credential.StateLoggedOut), string(api.FaultNotRefreshable), string(api.FaultFreshRejected),
	} {
		assert.Regexp(t, "(?m)^\\| `409 "+code+"` \\| [^|]+ \\| [^|]+ \\|$", string(manual))
	}
}
