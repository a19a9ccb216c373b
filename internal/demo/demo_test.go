package demo_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/testproc"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := testproc.RemoveBuilds(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// bundle is the built programs and a folder that the demo's temporary one is
// made in.
type bundle struct {
	practice, refreshd, temp string
}

func setup(t *testing.T) bundle {
	t.Helper()
	temp, err := os.MkdirTemp("", "dt-") //nolint:usetesting // t.TempDir is too long for a unix socket
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(temp)) })
	const module = "github.com/refreshd/refreshd/"
	return bundle{
		practice: testproc.Build(t, testproc.BuildOptions{Package: module + "cmd/practice"}),
		refreshd: testproc.Build(t, testproc.BuildOptions{Package: module + "cmd/refreshd"}),
		temp:     temp,
	}
}

func (b bundle) start(t *testing.T, env []string, args ...string) *testproc.Process {
	t.Helper()
	return testproc.Start(t, testproc.Options{
		Path: b.practice, Args: append([]string{"demo", "--refreshd", b.refreshd}, args...),
		Env: append([]string{"TMPDIR=" + b.temp}, env...),
	})
}

// ended waits for the end and returns the exit code.
func ended(t *testing.T, p *testproc.Process) int {
	t.Helper()
	state, err := p.Wait(t.Context())
	require.NoError(t, err)
	return state.ExitCode()
}

// leavesNothing checks that the demo has tidied up.
func (b bundle) leavesNothing(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(b.temp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func rotations(t *testing.T, output string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^provider: (\d+) rotations, 0 generations presented twice, 0 dead grants$`).FindStringSubmatch(output)
	require.NotNil(t, found, output)
	n, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	return n
}

// The demo in lines, through the real programs, with and without a
// redis-server.
func TestLines(t *testing.T) {
	t.Parallel()
	for store, onPath := range map[string]bool{"embedded-server": true, "embedded-memory": false} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			var vars []string
			if onPath {
				testproc.SkipWithoutRedis(t)
			} else {
				vars = []string{"PATH=" + t.TempDir()}
			}
			b := setup(t)
			p := b.start(t, vars, "--access-ttl", "12s", "--credentials", "50")
			refreshed := regexp.MustCompile(`credential\.refreshed +user-\d+ +v2`)
			require.Eventually(t, func() bool { return len(refreshed.FindAllString(p.String(), -1)) == 50 }, time.Minute, 50*time.Millisecond, "each was refreshed")
			require.NoError(t, p.Signal(os.Interrupt))
			require.Zero(t, ended(t, p))
			out := p.String()
			assert.Contains(t, out, "/monitoring/")
			assert.Contains(t, out, "store      "+store)
			assert.Regexp(t, `credential\.connected +user-01 +v1 +active, expires in \d`, out)
			assert.Regexp(t, `credential\.refreshed +user-50 +v2 +active, expires in \d`, out)
			assert.Regexp(t, `== 50 active;`, out)
			assert.Contains(t, out, "refreshd has stopped in order")
			assert.GreaterOrEqual(t, rotations(t, out), 50)
			assert.NotContains(t, out, "rt_")
			b.leavesNothing(t)
		})
	}
}

func TestEndsAfterItsTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.start(t, nil, "--for", "1s", "--credentials", "3", "--access-ttl", "1h")
	require.Zero(t, ended(t, p))
	assert.Zero(t, rotations(t, p.String()))
	b.leavesNothing(t)
}

func TestInterruptStopsInOrder(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			p := b.start(t, nil, "--credentials", "3", "--access-ttl", "1h")
			_, err := p.WaitFor(t.Context(), regexp.MustCompile(`credential\.connected +user-3`))
			require.NoError(t, err)
			require.NoError(t, p.Signal(sig))
			require.Zero(t, ended(t, p))
			assert.Zero(t, rotations(t, p.String()))
			b.leavesNothing(t)
		})
	}
}

// A refreshd that ends by itself is told of with the end of its log.
func TestDeadChildIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.refreshd = filepath.Join(b.temp, "broken")
	require.NoError(t, os.WriteFile(b.refreshd, []byte("#!/bin/sh\necho it is broken >&2\nexit 3\n"), 0o700))
	p := b.start(t, nil)
	assert.Equal(t, 1, ended(t, p))
	assert.Contains(t, p.String(), "refreshd ended by itself (exit status 3)")
	assert.Contains(t, p.String(), "it is broken")
}

// One that is killed leaves a redis-server that has to go, and tells so too.
func TestKilledChild(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.start(t, nil, "--credentials", "1", "--access-ttl", "1h", "--keep")
	_, err := p.WaitFor(t.Context(), regexp.MustCompile(`credential\.connected`))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(childOf(t, p.PID()), syscall.SIGKILL))
	assert.Equal(t, 1, ended(t, p))
	assert.Contains(t, p.String(), "refreshd ended by itself (signal: killed)")
	kept := regexp.MustCompile(`(?m)^kept: (.+)$`).FindStringSubmatch(p.String())
	require.NotNil(t, kept, p.String())
	assert.FileExists(t, filepath.Join(kept[1], "refreshd.log"))
	assert.NoFileExists(t, filepath.Join(kept[1], "data/redis/redis.sock"), "the redis-server was ended")
}

// childOf is the only child of a process.
func childOf(t *testing.T, parent int) int {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "pgrep", "-P", strconv.Itoa(parent), "-x", "program").Output()
	require.NoError(t, err)
	pid, err := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(string(out)))
	require.NoError(t, err)
	return pid
}
