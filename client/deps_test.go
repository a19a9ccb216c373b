package client_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestDependencies holds the list of packages beyond the standard library that
// a program gets with the SDK. Whoever adds one has to want it here as well.
func TestDependencies(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")
	out, err := list.Output()
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"github.com/refreshd/refreshd/client",
		"github.com/standard-webhooks/standard-webhooks/libraries/go",
		"golang.org/x/oauth2",
		"golang.org/x/oauth2/internal",
	}, strings.Fields(string(out)))
}
