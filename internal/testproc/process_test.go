package testproc

import (
	"bufio"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func startServe(t *testing.T) *Process {
	t.Helper()
	return Start(t, Options{Path: talker(t), Args: []string{"serve"}, Ready: regexp.MustCompile(`ready on (\S+)`)})
}

func dial(t *testing.T, p *Process) *bufio.ReadWriter {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.ReadyMatch()[1])
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	return bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
}

func say(t *testing.T, rw *bufio.ReadWriter, line string) {
	t.Helper()
	_, err := rw.WriteString(line + "\n")
	require.NoError(t, err)
	require.NoError(t, rw.Flush())
}

func hear(t *testing.T, rw *bufio.ReadWriter) string {
	t.Helper()
	line, err := rw.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

func TestStartWaitsForReadinessAndStopForTheEnd(t *testing.T) {
	t.Parallel()
	p := startServe(t)
	rw := dial(t, p)
	say(t, rw, "hello")
	assert.Equal(t, "hello", hear(t, rw))
	state, err := p.Stop()
	require.NoError(t, err)
	assert.Equal(t, 3, state.ExitCode(), "it saw SIGTERM and chose its exit code")
	assert.Contains(t, p.String(), "going without a line's end\n", "output is complete when Stop returns")
	require.NoError(t, p.Kill(), "killing what has ended is nothing")
	require.NoError(t, p.Signal(syscall.SIGHUP))
	require.ErrorIs(t, p.Pause(), ErrExited)
}

func TestKillIsNotSeenByTheProcess(t *testing.T) {
	t.Parallel()
	p := startServe(t)
	require.NoError(t, p.Kill())
	<-p.Done()
	state, err := p.Wait(t.Context())
	require.NoError(t, err)
	status, ok := state.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	assert.Equal(t, syscall.SIGKILL, status.Signal())
	assert.NotContains(t, p.String(), "going")
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	p := startServe(t)
	rw := dial(t, p)
	require.NoError(t, p.Pause())
	if stats, err := filepath.Glob("/proc/" + strconv.Itoa(p.PID()) + "/task/*/stat"); assert.NoError(t, err) {
		for _, name := range stats {
			stat, err := os.ReadFile(name)
			require.NoError(t, err)
			assert.Contains(t, string(stat), ") T ", "every thread stands still")
		}
	}
	say(t, rw, "said to a stopped process")
	require.NoError(t, p.Resume())
	assert.Equal(t, "said to a stopped process", hear(t, rw))
	require.NoError(t, p.Pause())
	require.NoError(t, p.Kill(), "a stopped process can be killed")
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	t.Parallel()
	p := Start(t, Options{
		Path: talker(t), Args: []string{"stubborn"}, Ready: regexp.MustCompile("ready"),
		StopTimeout: 50 * time.Millisecond,
	})
	_, err := p.Stop()
	require.ErrorContains(t, err, "not stopped by SIGTERM")
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	<-p.Done()
}

func TestStartTellsWhyThereIsNoReadiness(t *testing.T) {
	t.Parallel()
	_, err := start(t.Context(), Options{Path: talker(t), Args: []string{"die"}, Ready: regexp.MustCompile("ready")})
	require.ErrorIs(t, err, ErrExited)
	require.ErrorContains(t, err, "bad day")
	require.ErrorContains(t, err, "exit status 4")

	_, err = start(t.Context(), Options{
		Path: talker(t), Args: []string{"stubborn"}, Ready: regexp.MustCompile("never said"), ReadyTimeout: 50 * time.Millisecond,
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)

	_, err = start(t.Context(), Options{Path: filepath.Join(t.TempDir(), "nothing")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestOutputIsBoundedAndReadWhileItGrows(t *testing.T) {
	t.Parallel()
	const limit = 200_000 // more than a pipe holds: the last lines of both streams fit
	p := Start(t, Options{Path: talker(t), Args: []string{"flood", "20000"}, OutputLimit: limit})
	for ended := false; !ended; {
		assert.Less(t, len(p.String()), limit+100)
		select {
		case <-p.Done():
			ended = true
		default:
		}
	}
	_, err := p.WaitFor(t.Context(), regexp.MustCompile("(?m)^flood over$"))
	require.NoError(t, err, "what was said is found after the end, too")
	_, err = p.WaitFor(t.Context(), regexp.MustCompile("never said"))
	require.ErrorIs(t, err, ErrExited)
	for line := range strings.Lines(p.String()) {
		if strings.HasPrefix(line, "(") || strings.HasPrefix(line, "flood") {
			continue
		}
		require.Regexp(t, "^(O{99}|E{99})\n$", line)
	}
}

func TestEnvironmentAndFolder(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	p := Start(t, Options{
		Path: talker(t), Args: []string{"env", "TALK_ABOUT"}, Env: []string{"TALK_ABOUT=weather"}, Dir: dir,
		Ready: regexp.MustCompile("(?m)^TALK_ABOUT=(.*) in (.*)$"),
	})
	assert.Equal(t, []string{"weather", dir}, p.ReadyMatch()[1:])
}

// A program may leave a child that holds its stdout, as a supervised server
// does: its end is seen all the same.
func TestEndIsSeenThoughAChildHoldsTheOutput(t *testing.T) {
	t.Parallel()
	p := Start(t, Options{Path: talker(t), Args: []string{"child"}, Ready: regexp.MustCompile(`child (\d+)`)})
	pid, err := strconv.Atoi(p.ReadyMatch()[1])
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) })
	state, err := p.Wait(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 0, state.ExitCode())
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := startServe(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.Wait(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, err = p.WaitFor(ctx, regexp.MustCompile("never said"))
	require.ErrorIs(t, err, context.Canceled)
}
