//go:build failpoints

package failpointtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rowVariable tells a process which row it is to do.
const rowVariable = "FAILPOINTTEST_ROW"

// Row is one test.
type Row struct {
	// Rules are those of REFRESHD_FAILPOINTS. Each must act.
	Rules string
	// Do is what is done in the armed process.
	Do func(t *testing.T)
}

// Each does every row, by its name, in a process of its own: the test binary
// is started again for that one row.
func Each(t *testing.T, rows map[string]Row) {
	t.Helper()
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			if os.Getenv(rowVariable) != "" {
				row.Do(t)
				return
			}
			t.Parallel()
			again(t, row.Rules)
		})
	}
}

// again runs this very test in a process that is armed.
func again(t *testing.T, rules string) {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	log := filepath.Join(t.TempDir(), "log")
	cmd := exec.CommandContext(t.Context(), program, "-test.run="+only(t.Name())) //nolint:gosec // the test binary itself
	cmd.Env = append(os.Environ(), rowVariable+"="+t.Name(), "REFRESHD_FAILPOINTS="+rules, "REFRESHD_FAILPOINTS_LOG="+log)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	acted, err := os.ReadFile(log) //nolint:gosec // in the test's own folder
	require.NoError(t, err, "no rule acted")
	for rule := range strings.SplitSeq(rules, ",") {
		point, action, _ := strings.Cut(rule, "=")
		action, _, _ = strings.Cut(action, "@")
		assert.Contains(t, string(acted), point+" "+action+" ", "a rule never acted")
	}
}

// only is the expression that picks one test.
func only(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}
