package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/practice"
)

// asProgram has the test binary be the program, so that a test can signal it.
const asProgram = "PRACTICE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// started reads the line that says where the program listens.
func started(t *testing.T, stdout io.Reader) (baseURL string) {
	t.Helper()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	baseURL, ok := strings.CutPrefix(strings.TrimSpace(line), "practice: listening on ")
	require.True(t, ok, line)
	return baseURL
}

func TestSignalsEndItInOrder(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			program, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.CommandContext(t.Context(), program, "--clients", "app:s,other:t", "--admin-key", "k", "--access-ttl", "1h")
			cmd.Env = append(os.Environ(), asProgram+"=1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())

			a := practice.NewAdminWithKey(started(t, stdout), "k")
			t.Cleanup(a.Close)
			minted, err := a.Mint(t.Context(), practice.MintRequest{Count: 2})
			require.NoError(t, err)
			assert.Equal(t, int64(3600), minted[1].ExpiresIn)

			require.NoError(t, cmd.Process.Signal(sig))
			require.NoError(t, cmd.Wait(), "exit code 0")
			assert.Empty(t, stderr.String())
		})
	}
}

func TestFlagsBecomeSettings(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{
			"--listen", "127.0.0.1:0", "--access-ttl", "1m", "--rotate=false", "--reuse", "grace", "--grace", "3s",
			"--refresh-ttl", "1h", "--client-auth", "basic", "--latency", "1ms", "--rotate-before-latency", "--expires-in", "string",
		}, in, io.Discard)
	}()
	a := practice.NewAdmin(started(t, out))
	t.Cleanup(a.Close)
	got, err := a.Settings(t.Context())
	require.NoError(t, err)
	assert.Equal(t, practice.Settings{
		AccessTTL: time.Minute, Reuse: practice.ReuseGrace, Grace: 3 * time.Second, RefreshTTL: time.Hour,
		ClientAuth: practice.ClientAuthBasic, Latency: time.Millisecond, RotateBeforeLatency: true, ExpiresIn: practice.ExpiresInString,
	}, got)
	cancel()
	assert.Equal(t, exitOK, <-code)
}

func TestUsage(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	assert.Equal(t, exitOK, run(t.Context(), []string{"--help"}, &stdout, &stderr))
	assert.Contains(t, stdout.String(), "practice: listening on")
	assert.Contains(t, stdout.String(), "-rotate-before-latency")
	assert.Empty(t, stderr.String())

	for _, args := range [][]string{
		{"--colour"},
		{"--latency", "soon"},
		{"--latency=-1s"},
		{"--reuse", "lenient"},
		{"--clients", "only-an-id"},
		{"--clients", ":hush"},
		{"extra"},
	} {
		stdout.Reset()
		stderr.Reset()
		assert.Equal(t, exitUsage, run(t.Context(), args, &stdout, &stderr), "%v", args)
		assert.Empty(t, stdout.String())
		assert.Contains(t, stderr.String(), "practice: ")
		assert.NotContains(t, stderr.String(), "hush")
	}
}

type deafWriter struct{}

func (deafWriter) Write([]byte) (int, error) { return 0, errors.New("nobody listens") }

func TestCannotStart(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	var stderr bytes.Buffer
	assert.Equal(t, exitFailure, run(t.Context(), []string{"--listen", taken.Addr().String()}, io.Discard, &stderr))
	assert.Contains(t, stderr.String(), taken.Addr().String())

	stderr.Reset()
	assert.Equal(t, exitFailure, run(t.Context(), nil, deafWriter{}, &stderr), "whoever waits for the line would wait for ever")
	assert.Contains(t, stderr.String(), "nobody listens")
}
