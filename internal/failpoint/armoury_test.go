//go:build failpoints

package failpoint

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type bundle struct {
	*armoury

	t *testing.T
}

func setup(t *testing.T, rules string) bundle {
	t.Helper()
	dir := t.TempDir()
	a, err := newArmoury(rules, filepath.Join(dir, "rules"), filepath.Join(dir, "log"))
	require.NoError(t, err)
	return bundle{a, t}
}

// shown are the actions of the rules that act at one more hit.
func (b bundle) shown(p Point) string {
	b.t.Helper()
	rules, err := b.due(p)
	require.NoError(b.t, err)
	var all []string
	for _, r := range rules {
		all = append(all, r.shown)
	}
	return strings.Join(all, " ")
}

func (b bundle) write(text string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(b.file, []byte(text), 0o600))
}

func (b bundle) logged() string {
	b.t.Helper()
	text, err := os.ReadFile(b.log)
	if !os.IsNotExist(err) {
		require.NoError(b.t, err)
	}
	return string(text)
}

func TestRulesActAtTheirHit(t *testing.T) {
	t.Parallel()
	b := setup(t, "keep.before=delay:1ms@*,keep.before=fail@2,keep.noted=kill")
	assert.Empty(t, b.shown(SendBefore))
	assert.Equal(t, "delay:1ms", b.shown(KeepBefore))
	assert.Equal(t, "delay:1ms fail", b.shown(KeepBefore))
	assert.Equal(t, "delay:1ms", b.shown(KeepBefore))
	assert.Equal(t, "kill", b.shown(KeepNoted))
	assert.Empty(t, b.shown(KeepNoted), "unless told otherwise a rule acts once")
	var want strings.Builder
	for _, line := range []string{"keep.before delay:1ms", "keep.before delay:1ms", "keep.before fail", "keep.before delay:1ms", "keep.noted kill"} {
		fmt.Fprintf(&want, "%s %d\n", line, os.Getpid())
	}
	assert.Equal(t, want.String(), b.logged())
}

func TestClockStaysWhereItJumpedTo(t *testing.T) {
	t.Parallel()
	b := setup(t, "clock.boot=jump:+1h@2")
	assert.Empty(t, b.shown(ClockBoot))
	for range 3 {
		assert.Equal(t, "jump:+1h", b.shown(ClockBoot))
	}
	assert.Equal(t, fmt.Sprintf("clock.boot jump:+1h %d\n", os.Getpid()), b.logged(), "told once")
}

// Files are read for real, time is not waited for.
func TestFileArmsARunningProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, "send.before=fail")
		assert.Empty(t, b.shown(KeepBefore), "a file that is missing is an empty one")

		b.write("keep.before=fail@2\nkeep.noted=full\n")
		assert.Empty(t, b.shown(KeepNoted), "it was looked at just now")
		<-time.After(lookEvery)
		assert.Equal(t, "full", b.shown(KeepNoted))
		assert.Empty(t, b.shown(KeepBefore))

		b.write("keep.before=fail@2\nkeep.noted=stop\n")
		<-time.After(lookEvery)
		assert.Equal(t, "stop", b.shown(KeepNoted), "a changed rule counts from its beginning")
		assert.Equal(t, "fail", b.shown(KeepBefore), "an unchanged one goes on counting")

		require.NoError(t, os.Remove(b.file))
		<-time.After(lookEvery)
		assert.Empty(t, b.shown(KeepBefore))
		assert.Equal(t, "fail", b.shown(SendBefore), "what the environment arms stands")

		b.write("keep.before=fail@2\n")
		<-time.After(lookEvery)
		assert.Empty(t, b.shown(KeepBefore), "a rule that was taken away begins anew")

		b.write("keep.before=boom")
		<-time.After(lookEvery)
		_, err := b.due(KeepBefore)
		require.ErrorContains(t, err, `there is no action "boom"`)
	})
}

func TestTroubleWithFilesIsToldOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := newArmoury("", dir, "")
	require.NoError(t, err)
	_, err = a.due(KeepBefore)
	require.ErrorContains(t, err, dir, "a folder is no file")

	a, err = newArmoury("keep.before=kill", "", filepath.Join(dir, "missing", "log"))
	require.NoError(t, err)
	_, err = a.due(KeepBefore)
	require.ErrorIs(t, err, fs.ErrNotExist)

	_, err = newArmoury("nowhere=kill", "", "")
	require.ErrorContains(t, err, "there is no point")
}

func TestOneOfManyActs(t *testing.T) {
	t.Parallel()
	b := setup(t, "task.done=fail@50")
	var wg sync.WaitGroup
	var acted atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range 25 {
				rules, err := b.due(TaskDone)
				if err != nil {
					t.Error(err)
					return
				}
				acted.Add(int64(len(rules)))
			}
		})
	}
	wg.Wait()
	assert.Equal(t, int64(1), acted.Load())
}
