//go:build race

package testproc

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A machine that can build this test with the race detector can build others
// with it, too.
func TestBuildWithRaceDetector(t *testing.T) {
	t.Parallel()
	p := Start(t, Options{Path: Build(t, BuildOptions{Package: "./testdata/talker", Race: true}), Args: []string{"race"}})
	state, err := p.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 66, state.ExitCode(), "the race detector's own exit code")
	assert.Contains(t, p.String(), "DATA RACE")
}
