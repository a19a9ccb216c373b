//go:build !failpoints

package failpoint_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/failpoint"
)

// A program that is shipped cannot be armed: were the environment read, every
// point would fail here and be written to the log.
func TestWithoutTheTagNothingHappens(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	file := filepath.Join(t.TempDir(), "rules")
	rules := ""
	for _, p := range failpoint.All() {
		if isClock(p) {
			rules += string(p) + "=jump:+1h\n"
		} else {
			rules += string(p) + "=fail@*\n"
		}
	}
	require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
	t.Setenv("REFRESHD_FAILPOINTS", "this=is no rule")
	t.Setenv("REFRESHD_FAILPOINTS_FILE", file)
	t.Setenv("REFRESHD_FAILPOINTS_LOG", log)
	for _, p := range failpoint.All() {
		require.NoError(t, failpoint.Hit(p))
		assert.Zero(t, failpoint.Offset(p))
	}
	assert.NoFileExists(t, log)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _ = failpoint.Hit(failpoint.KeepBefore) }))
}
