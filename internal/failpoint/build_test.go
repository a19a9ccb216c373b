//go:build !failpoints

package failpoint_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
)

// What is shipped does not even hold the name of the variable; the build with
// the tag does, or else the search would prove nothing.
func TestShippedProgramCannotBeArmed(t *testing.T) {
	t.Parallel()
	const variable = "REFRESHD_FAILPOINTS"
	holds := func(tags string) bool {
		program, err := os.ReadFile(testproc.Build(t, testproc.BuildOptions{Package: "./cmd/refreshd", Dir: root, Tags: tags}))
		require.NoError(t, err)
		return bytes.Contains(program, []byte(variable))
	}
	assert.False(t, holds(""))
	assert.True(t, holds("failpoints"))
}
