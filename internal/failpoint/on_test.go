//go:build failpoints

package failpoint_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/failpoint"
)

// childVariable makes the test binary a program that passes two points.
const childVariable = "FAILPOINT_TEST_CHILD"

// TestChild is no test: it is the program that the others start.
func TestChild(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Skip("started by the other tests only")
	}
	say := func(text string, err error) {
		_, writeErr := fmt.Fprintf(os.Stdout, "%s %v enospc=%t injected=%t\n",
			text, err, errors.Is(err, syscall.ENOSPC), errors.Is(err, failpoint.ErrInjected))
		require.NoError(t, writeErr)
	}
	say("start", nil)
	for range 2 {
		say("kept", failpoint.Hit(failpoint.KeepBefore))
	}
	started := time.Now()
	err := failpoint.Hit(failpoint.WireWrite)
	say(fmt.Sprintf("sent late=%t", time.Since(started) >= 20*time.Millisecond), err)
	say("boot "+failpoint.Offset(failpoint.ClockBoot).String(), nil)
	say("end", nil)
}

// command is the program, armed.
func command(t *testing.T, rules string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(program, "-test.run=^TestChild$", "-test.v")
	cmd.Env = append(os.Environ(), childVariable+"=1", "REFRESHD_FAILPOINTS="+rules)
	return cmd
}

// child runs the program until it ends by itself.
func child(t *testing.T, rules string) (text, log string, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	cmd := command(t, rules)
	cmd.Env = append(cmd.Env, "REFRESHD_FAILPOINTS_LOG="+path)
	out, err := cmd.CombinedOutput()
	logged, readErr := os.ReadFile(path)
	if !os.IsNotExist(readErr) {
		require.NoError(t, readErr)
	}
	if cmd.ProcessState != nil {
		log = strings.ReplaceAll(string(logged), fmt.Sprint(" ", cmd.ProcessState.Pid(), "\n"), ";")
	}
	return string(out), log, err
}

func TestUnarmed(t *testing.T) {
	t.Parallel()
	text, log, err := child(t, "")
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(text, "kept <nil>"))
	assert.Contains(t, text, "boot 0s")
	assert.Empty(t, log)
}

func TestKill(t *testing.T) {
	t.Parallel()
	text, log, err := child(t, "keep.before=kill@2")
	died, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok, "%v\n%s", err, text)
	status, ok := died.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.True(t, status.Signaled(), text)
	assert.Equal(t, syscall.SIGKILL, status.Signal())
	assert.Equal(t, 1, strings.Count(text, "kept"), "the second hit never returns")
	assert.Equal(t, "keep.before kill;", log, "told before it acted")
}

func TestErrors(t *testing.T) {
	t.Parallel()
	text, log, err := child(t, "keep.before=fail,keep.before=full@2,wire.write=delay:20ms,clock.boot=jump:-1h")
	require.NoError(t, err, text)
	assert.Contains(t, text, "kept keep.before: injected by a failpoint enospc=false injected=true\n")
	assert.Contains(t, text, "kept keep.before: injected by a failpoint: no space left on device enospc=true injected=true\n")
	assert.Contains(t, text, "sent late=true <nil>")
	assert.Contains(t, text, "boot -1h0m0s")
	assert.Equal(t, "keep.before fail;keep.before full;wire.write delay:20ms;clock.boot jump:-1h;", log)
}

func TestMistakesEndTheProcess(t *testing.T) {
	t.Parallel()
	text, _, err := child(t, "keep.before=explode")
	require.Error(t, err)
	assert.Contains(t, text, `panic: failpoint: rule "keep.before=explode": there is no action "explode"`)
	assert.NotContains(t, text, "kept")
}

func TestStop(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "out")
	said := func() string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	out, err := os.Create(path)
	require.NoError(t, err)
	cmd := command(t, "keep.before=stop@2")
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(t, cmd.Start())
	require.NoError(t, out.Close())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // if it still runs, the test has failed

	var status syscall.WaitStatus
	_, err = syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped(), said())
	assert.Equal(t, 1, strings.Count(said(), "kept <nil>"), "it stands still before the second hit returns")
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	require.NoError(t, cmd.Wait())
	assert.Equal(t, 2, strings.Count(said(), "kept <nil>"))
}
