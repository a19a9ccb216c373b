package journal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"golang.org/x/sys/unix"
)

// The test binary can be a process of its own, which has a journal in a folder
// of its working folder.
const (
	roleEnv  = "JOURNAL_TEST_ROLE"
	childDir = "journal"

	roleBusy = "busy" // writes until it is killed and prints what was acknowledged
	roleFull = "full" // writes until it may write no more
)

func play(role string) int {
	var err error
	switch role {
	case roleBusy:
		err = beBusy()
	case roleFull:
		err = fillUp()
	default:
		err = fmt.Errorf("no such role: %s", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child starts the test binary in a role and tells where its journal is. It is
// killed at the end of the test if it still lives.
func child(t *testing.T, role string) (c *exec.Cmd, out *bufio.Reader, dir string) {
	t.Helper()
	work := t.TempDir()
	program, err := os.Executable()
	require.NoError(t, err)
	c = exec.CommandContext(t.Context(), program)
	c.Env = append(os.Environ(), roleEnv+"="+role)
	c.Dir = work
	c.Stderr = t.Output()
	pipe, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Wait() }) // the test may have waited before
	return c, bufio.NewReader(pipe), filepath.Join(work, childDir)
}

// beBusy goes through refreshes in many goroutines. A line says what was
// acknowledged, or that something is about to be dropped.
func beBusy() error {
	// Small segments: the file is written anew all the time.
	j, err := Create(childDir, "busy", Options{SegmentSize: 16 << 10, MaxReply: 256})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(verb string, n uint64) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(os.Stdout, verb, n) //nolint:errcheck // the reader kills this process before it closes the pipe
	}
	fail := make(chan error)
	for worker := range uint64(16) {
		go func() {
			for n := worker + 1; ; n += 16 {
				if err := refreshOnce(j, n, say); err != nil {
					fail <- err
					return
				}
			}
		}()
	}
	return <-fail
}

func refreshOnce(j *Journal, n uint64, say func(string, uint64)) error {
	if err := j.Intent(context.Background(), []Intent{intent(n)}); err != nil {
		return err
	}
	say("intent", n)
	if n%3 != 0 {
		if err := j.Keep(keep(n, reply(n))); err != nil {
			return err
		}
		say("keep", n)
	}
	if n%8 != 0 {
		say("drop", n)
		j.Drop(nonce(n))
	}
	return nil
}

func reply(n uint64) string { return strings.Repeat("r", int(n%200)) }

// TestKilledProcess kills a real process in the midst of its work, again and
// again: its journal has everything that it was told is durable.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	for round := range 5 {
		c, out, dir := child(t, roleBusy)
		said := map[uint64]string{}
		hear := func(line string) {
			var verb string
			var n uint64
			_, err := fmt.Sscan(line, &verb, &n)
			require.NoError(t, err)
			said[n] = verb
		}
		for range 500 * (round + 1) {
			line, err := out.ReadString('\n')
			require.NoError(t, err)
			hear(line)
		}
		alive, known, err := Alive(dir, "busy")
		require.NoError(t, err)
		assert.True(t, alive)
		assert.True(t, known)
		found, err := Adopt(dir, "me")
		require.NoError(t, err)
		require.Empty(t, found, "nobody takes over from the living")

		require.NoError(t, c.Process.Signal(syscall.SIGKILL))
		rest, err := io.ReadAll(out)
		require.NoError(t, err)
		lines := strings.SplitAfter(string(rest), "\n")
		for _, line := range lines[:len(lines)-1] { // the last one is empty or cut off
			hear(line)
		}
		require.Error(t, c.Wait())

		alive, known, err = Alive(dir, "busy")
		require.NoError(t, err)
		assert.False(t, alive)
		assert.True(t, known)
		dead := adoptOnly(t, dir)
		assert.Empty(t, dead.Corrupt)
		intents, keeps := map[uint64]bool{}, map[uint64]bool{}
		for _, i := range dead.Intents {
			intents[i.Generation] = true
			assert.Equal(t, intent(i.Generation), i)
		}
		for _, k := range dead.Keeps {
			keeps[k.Generation] = true
			want := keep(k.Generation, reply(k.Generation))
			assert.Equal(t, string(want.Sealed), string(k.Sealed))
		}
		for n, verb := range said {
			switch verb {
			case "intent": // its keep may be there already
				assert.True(t, intents[n] || keeps[n], "the intent %d was acknowledged", n)
			case "keep":
				assert.True(t, keeps[n], "the reply %d was acknowledged", n)
			}
		}
		require.NoError(t, dead.Remove())
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, entries, "the temporary files of the dead are removed")
	}
}

// fillUp keeps intents open until there is no room for another reply, and then
// keeps the largest replies that were announced.
func fillUp() error {
	limit := uint64(200 << 10)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return err
	}
	j, err := Create(childDir, "full", Options{SegmentSize: 64 << 10, MaxReply: 8 << 10})
	if err != nil {
		return err
	}
	n := uint64(0)
	for ; err == nil; n++ {
		err = j.Intent(context.Background(), []Intent{intent(n + 1)})
	}
	fmt.Fprintln(os.Stdout, err) //nolint:errcheck // the reader notices
	for i := uint64(1); i < n; i++ {
		if err := j.Keep(keep(i, strings.Repeat("k", 8<<10))); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stdout, n-1) //nolint:errcheck // the reader notices
	return j.Close()
}

// TestFullDisk runs a process whose files may not grow beyond a limit, which
// the kernel treats as it does a full disk.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	c, out, dir := child(t, roleFull)
	said, err := io.ReadAll(out)
	require.NoError(t, err)
	require.NoError(t, c.Wait())
	refusal, count, ok := strings.Cut(string(said), "\n")
	require.True(t, ok)
	assert.Contains(t, refusal, ErrNoRoom.Error())
	assert.Contains(t, refusal, "journal/full.wal")
	dead := adoptOnly(t, dir)
	assert.Equal(t, strings.TrimSpace(count), fmt.Sprint(len(dead.Keeps)))
	assert.Greater(t, len(dead.Keeps), 10)
	assert.Empty(t, dead.Intents)
	assert.Empty(t, dead.Corrupt)
}
