package app

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

// Every reason that a user may be shown stands in the table of the manual.
func TestEveryReasonIsDocumented(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	for _, reason := range credential.Reasons() {
		assert.Contains(t, string(manual), "\n| `"+string(reason)+"` | ")
	}
}
