package redisconn

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/refreshd/refreshd/internal/testproc"
)

func usesLine() *regexp.Regexp { return regexp.MustCompile(`(?m)^uses (\d+)$`) }

func TestServerKeepsEveryWriteAndOpensNoPort(t *testing.T) {
	t.Setenv("REDISCONN_TEST_SECRET", "must-not-reach-the-child")
	c := open(t, Options{DataDir: dataDir(t)})
	ctx := t.Context()
	assert.Equal(t, KindServer, c.Kind())
	assert.Zero(t, c.MaxCredentials())

	d := viewOf(t, c).Durability
	assert.True(t, d.EveryWrite())
	assert.Equal(t, Durability{AppendOnly: "yes", AppendFsync: "always", Save: saveNever, LazyFsync: "no", MaxmemoryPolicy: "noeviction", WaitAOF: d.WaitAOF}, d)

	id, err := c.Identity(ctx)
	require.NoError(t, err)
	assert.Len(t, id.RunID, 40)
	assert.Len(t, id.ReplID, 40)
	assert.NotEmpty(t, id.Version)

	config, err := c.Client().ConfigGet(ctx, "*").Result()
	require.NoError(t, err)
	assert.Equal(t, "0", config["port"])
	assert.Equal(t, "4096", config["hash-max-listpack-value"])
	pid, err := serverPID(ctx, c)
	require.NoError(t, err)
	assert.Empty(t, listeningTCP(t, pid), "no TCP port is open")
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if assert.NoError(t, err) {
		assert.NotContains(t, string(environ), "must-not-reach-the-child")
	}
	session, err := unix.Getsid(pid)
	require.NoError(t, err)
	assert.Equal(t, pid, session, "a session of its own: no Ctrl-C reaches it")
}

// listeningTCP lists the TCP addresses on which the process listens, from the
// kernel's tables.
func listeningTCP(t *testing.T, pid int) []string {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Skip("no /proc to look into")
	}
	own := map[string]bool{}
	for _, fd := range fds {
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())); err == nil {
			if inode, ok := strings.CutPrefix(link, "socket:["); ok {
				own[strings.TrimSuffix(inode, "]")] = true
			}
		}
	}
	require.NotEmpty(t, own, "it has its unix socket, so the tables can be read")
	var found []string
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			const listen, state, inode = "0A", 3, 9
			if f := strings.Fields(line); len(f) > inode && f[state] == listen && own[f[inode]] {
				found = append(found, f[1])
			}
		}
	}
	return found
}

func TestServerDataSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := open(t, Options{DataDir: dir})
	require.NoError(t, first.Client().Set(t.Context(), "rd:x", "kept", 0).Err())
	before, err := first.Identity(t.Context())
	require.NoError(t, err)
	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "twice is allowed")

	second := open(t, Options{DataDir: dir})
	assert.Equal(t, "kept", second.Client().Get(t.Context(), "rd:x").Val())
	after, err := second.Identity(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, before.RunID, after.RunID)
	st, err := os.Stat(filepath.Join(dir, "redis"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), st.Mode().Perm())
}

func TestServerOutlivesTheKillOfItsParent(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	parent, pid := startUser(t, dir)
	require.NoError(t, parent.Kill())
	require.NoError(t, syscall.Kill(pid, 0), "the server lives on")

	var log bytes.Buffer
	c := open(t, Options{DataDir: dir, Log: zerolog.New(&log)})
	now, err := serverPID(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, pid, now, "the next start connects to it")
	require.NoError(t, c.Close())
	assert.Contains(t, log.String(), "has stopped")
	eventually(t, "the server is gone", func() bool { return syscall.Kill(pid, 0) != nil || isZombie(pid) })
}

// isZombie: who adopted the orphan may be slow to reap it.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestTwoProcessesShareOneServer(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	var log bytes.Buffer
	c := open(t, Options{DataDir: dir, Log: zerolog.New(&log)})
	mine, err := serverPID(t.Context(), c)
	require.NoError(t, err)
	other, theirs := startUser(t, dir)
	assert.Equal(t, mine, theirs)

	// The one that started it stops, and the other goes on.
	require.NoError(t, c.Close())
	assert.Contains(t, log.String(), "other processes go on")
	again, same := startUser(t, dir)
	assert.Equal(t, mine, same)
	for _, p := range []interface {
		Stop() (*os.ProcessState, error)
	}{again, other} {
		require.NoError(t, ping(t.Context(), filepath.Join(dir, "redis", "redis.sock")))
		state, err := p.Stop()
		require.NoError(t, err)
		assert.Zero(t, state.ExitCode())
	}
	require.Error(t, ping(t.Context(), filepath.Join(dir, "redis", "redis.sock")), "the last one out stopped it")
	assert.Contains(t, other.String(), "has stopped")
	assert.NotContains(t, again.String(), "has stopped")

	// It was our child, and we are still here: no zombie is left behind once
	// somebody of this process opens the folder again, and nothing is lost.
	third := open(t, Options{DataDir: dir})
	next, err := serverPID(t.Context(), third)
	require.NoError(t, err)
	assert.NotEqual(t, mine, next)
}

func TestManyOpenAtOnceAndGetOneServer(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	const n = 6
	pids := make(chan int, n)
	for range n {
		go func() {
			c, err := Open(t.Context(), Options{DataDir: dir})
			if !assert.NoError(t, err) {
				pids <- 0
				return
			}
			pid, err := serverPID(t.Context(), c)
			assert.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, c.Close()) })
			pids <- pid
		}()
	}
	first := <-pids
	for range n - 1 {
		assert.Equal(t, first, <-pids)
	}
}

func TestServerIsBroughtBackByWhoeverLives(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	starter, pid := startUser(t, dir) // its parent dies with it, so that the other process has to act
	c := open(t, Options{DataDir: dir})
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "kept", 0).Err())
	require.NoError(t, starter.Kill())
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	eventually(t, "a new server answers", func() bool {
		now, err := serverPID(t.Context(), c)
		return err == nil && now != pid
	})
	assert.Equal(t, "kept", c.Client().Get(t.Context(), "rd:x").Val())
}

func TestServerIsBroughtBackByItsParent(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := open(t, Options{DataDir: dataDir(t), Log: zerolog.New(zerolog.SyncWriter(&log))})
	pid, err := serverPID(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	eventually(t, "a new server answers", func() bool {
		now, err := serverPID(t.Context(), c)
		return err == nil && now != pid
	})
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "the dead child was reaped")
	require.NoError(t, c.Close())
	assert.Contains(t, log.String(), "killed")
	assert.Contains(t, log.String(), "started the embedded redis-server again")
}

func TestDataDirTooLongForASocket(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dataDir(t), strings.Repeat("long/", 25))
	c := open(t, Options{DataDir: dir})
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "1", 0).Err())
	socket, err := socketPath(filepath.Join(dir, "redis"))
	require.NoError(t, err)
	assert.LessOrEqual(t, len(socket), maxSocketPath)
	st, err := os.Stat(filepath.Dir(socket))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), st.Mode().Perm())
	other, pid := startUser(t, dir)
	mine, err := serverPID(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, mine, pid)
	_, err = other.Stop()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, os.RemoveAll(filepath.Dir(socket)))
}

func TestSocketFolderOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(dataDir(t), strings.Repeat("long/", 25))
	socket, err := socketPath(dir)
	require.NoError(t, err)
	short := filepath.Dir(socket)
	require.NoError(t, os.Chmod(short, 0o755)) //nolint:gosec // that is what is to be refused
	_, err = socketPath(dir)
	require.ErrorContains(t, err, "is not a folder of this user alone")
	require.NoError(t, os.Remove(short))
	require.NoError(t, os.Symlink(t.TempDir(), short))
	_, err = socketPath(dir)
	require.ErrorContains(t, err, "is not a folder of this user alone")
	require.NoError(t, os.Remove(short))
}

// program writes a script that stands in for redis-server.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "redis-server")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700))
	return path
}

func TestServerThatCannotStartTellsItsLastWords(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	_, err := openServer(t.Context(), Options{DataDir: dir}, program(t, "echo 'Bad file format reading the append only file' >&2; exit 3\n"))
	require.ErrorContains(t, err, "it ended at once (exit code 3)")
	require.ErrorContains(t, err, "Bad file format reading the append only file")
	require.ErrorContains(t, err, filepath.Join(dir, "redis", "redis.log"))
	_, err = openServer(t.Context(), Options{DataDir: dir}, filepath.Join(dir, "nothing"))
	require.ErrorContains(t, err, "no such file")
}

func TestDataDirNotWritable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, noServer := range []bool{false, true} {
		_, err := Open(t.Context(), Options{DataDir: filepath.Join(file, "data"), NoServer: noServer})
		require.ErrorContains(t, err, "data_dir")
		require.ErrorContains(t, err, "make its folder writable")
	}
}

func TestLargeServerLogIsPutAside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), serverLog)
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	require.NoError(t, os.Truncate(path, 11<<20))
	f, err := openLog(path)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	st, err := os.Stat(path)
	require.NoError(t, err)
	assert.Zero(t, st.Size())
	assert.FileExists(t, path+".old")
}

func TestRestartsAreSpacedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r restarts
		start := time.Now()
		var at []time.Duration
		for range 10 {
			for !r.due(time.Now()) {
				<-time.After(100 * time.Millisecond)
			}
			at = append(at, time.Since(start))
			r.started(time.Now())
		}
		assert.Equal(t, []time.Duration{0, 200 * time.Millisecond, 600 * time.Millisecond, 1400 * time.Millisecond}, at[:4])
		assert.Equal(t, maxRestart, at[9]-at[8])
		<-time.After(2 * stable)
		require.True(t, r.due(time.Now()))
		r.started(time.Now())
		assert.Equal(t, firstRestart, r.wait, "after it stood for a while, the next restart is quick again")
	})
}

// TestComingAndGoing: processes start and stop in any order, the server with
// them, and no write is lost in between.
func TestComingAndGoing(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	dir := dataDir(t)
	const users, rounds = 4, 3
	var wg sync.WaitGroup
	for range users {
		wg.Go(func() {
			for range rounds {
				c, err := Open(t.Context(), Options{DataDir: dir})
				if !assert.NoError(t, err) {
					return
				}
				assert.NoError(t, c.Client().Incr(t.Context(), "rd:n").Err())
				assert.NoError(t, c.Close())
			}
		})
	}
	wg.Wait()
	c := open(t, Options{DataDir: dir})
	assert.Equal(t, strconv.Itoa(users*rounds), c.Client().Get(t.Context(), "rd:n").Val())
}
