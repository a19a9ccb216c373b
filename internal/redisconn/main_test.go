package redisconn

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/testproc"
)

// useDir makes this test binary a second process that uses a data folder.
const useDir = "REDISCONN_TEST_USE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(useDir); dir != "" {
		os.Exit(use(dir))
	}
	logging.Disable() // go-redis says on stderr what the tests do to it
	// After a failed dial, go-redis probes once a second in a goroutine that
	// sees that its pool was closed only when it wakes up.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// use opens the data folder, says which redis-server it got, and closes on
// SIGTERM.
func use(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c, err := Open(ctx, Options{DataDir: dir, Log: zerolog.New(os.Stderr)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	pid, err := serverPID(ctx, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("uses", pid) //nolint:forbidigo // the other test process reads it
	<-ctx.Done()
	if err := c.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func startUser(t *testing.T, dir string) (*testproc.Process, int) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	p := testproc.Start(t, testproc.Options{Path: self, Env: []string{useDir + "=" + dir}, Ready: usesLine()})
	pid, err := strconv.Atoi(p.ReadyMatch()[1])
	require.NoError(t, err)
	return p, pid
}

func serverPID(ctx context.Context, c *Conn) (int, error) {
	in, err := readInfo(ctx, c.clients.main)
	return int(in.number("process_id")), err
}

// dataDir is a folder with a name short enough for a socket in it.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rd-") //nolint:usetesting // t.TempDir is too long for a socket, and one test is about that
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "data")
}

// open opens an embedded Redis that is closed with the test.
func open(t *testing.T, o Options) *Conn {
	t.Helper()
	if !o.NoServer {
		testproc.SkipWithoutRedis(t)
	}
	c, err := Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

// eventually asks until the answer is yes. The bound is for a hung test only.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-ctx.Done():
			t.Fatal("never: " + what)
		case <-tick.C:
		}
	}
}
