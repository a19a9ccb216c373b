//go:build failpoints

package wire

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint/failpointtest"
)

// A process that stands still right before it writes, until it may not any
// more, writes nothing when it goes on.
func TestStoppedBeforeWriting(t *testing.T) {
	t.Parallel()
	// While the process stands still, the time that it has to send runs out: a
	// file tells.
	const goOn = `until grep -q '^State:.T' "/proc/$0/status"; do sleep 0.02; done; : > "$1"; kill -CONT "$0"`
	stopping := func(secure bool) failpointtest.Row {
		return failpointtest.Row{Rules: "wire.write=stop", Do: func(t *testing.T) {
			t.Helper()
			l, o := listen(t, secure)
			over := filepath.Join(t.TempDir(), "over")
			helper := exec.CommandContext(t.Context(), "sh", "-c", goOn, strconv.Itoa(os.Getpid()), over)
			require.NoError(t, helper.Start())
			in := post(l.to, "RT-first")
			in.MaySend = func() error {
				if _, err := os.Stat(over); err == nil {
					return errNoMore
				}
				return nil
			}
			failed := fail(t, newClient(t, o), in)
			require.NoError(t, helper.Wait())
			assert.Equal(t, credential.ClassNotSent, failed.Outcome.Class)
			assert.Equal(t, credential.ReasonTimeout, failed.Outcome.Reason)
			first := <-l.seen
			assert.Empty(t, first.text)
			assert.Zero(t, first.after)
		}}
	}
	failpointtest.Each(t, map[string]failpointtest.Row{"Plain": stopping(false), "TLS": stopping(true)})
}
