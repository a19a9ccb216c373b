package wire

import (
	"bytes"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// standstillVariable makes the test binary a process that makes calls.
const standstillVariable = "WIRE_STANDSTILL_URL"

// A process that stands still for longer than the whole time of its calls,
// while the replies come, reads them when it goes on.
func TestStandingStillLosesNoReply(t *testing.T) {
	t.Parallel()
	const calls, timeout = 30, 6 * time.Second
	if to := os.Getenv(standstillVariable); to != "" {
		at, err := url.Parse(to)
		require.NoError(t, err)
		c := newClient(t, Options{Timeout: timeout})
		var all sync.WaitGroup
		for range calls {
			all.Go(func() { assert.Equal(t, "ok", bodyOf(c.Do(t.Context(), post(at, "x")))) })
		}
		all.Wait()
		return
	}
	var arrived sync.WaitGroup
	arrived.Add(calls)
	answer := make(chan struct{})
	s := newServer(t, func(p *peer) {
		p.request()
		arrived.Done()
		<-answer
		p.say(goodReply)
		p.gone()
	})
	program, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestStandingStillLosesNoReply$")
	cmd.Env = append(os.Environ(), standstillVariable+"="+s.url().String(), "GOMAXPROCS=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	arrived.Wait()
	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err = syscall.Wait4(cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped())
	close(answer)
	<-time.After(timeout + timeout/8) // what the test is about
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	err = cmd.Wait()
	require.NoError(t, err, out.String())
}
