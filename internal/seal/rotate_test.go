package seal_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/seal"
)

// later is long enough after anything that a test has written.
func later() time.Time { return time.Now().Add(time.Hour) }

// rotateFile is seal.Rotate while no other test starts a process, which has a
// copy of every open file, the lock among them, until it runs its program.
func rotateFile(path string, opts seal.RotateOptions) (seal.Step, []seal.Key, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return seal.Rotate(path, opts)
}

// rotate takes one step and returns what the file holds then.
func rotate(t *testing.T, path string, want seal.Step, opts seal.RotateOptions) []seal.Key {
	t.Helper()
	if opts.At.IsZero() {
		opts.At = later()
	}
	step, keys, err := rotateFile(path, opts)
	require.NoError(t, err)
	require.Equal(t, want, step)
	k, _, err := seal.Open(path, seal.Options{MustExist: true})
	require.NoError(t, err)
	require.Equal(t, k.Keys(), keys, "what it says is what is in the file")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing else is left in the folder")
	return keys
}

// statuses tells the keys of one use apart, in the file's order.
func statuses(keys []seal.Key, use seal.Use) string {
	var list []string
	for _, key := range keys {
		switch {
		case key.Use != use:
		case key.Primary:
			list = append(list, "primary")
		case key.Staged:
			list = append(list, "staged")
		default:
			list = append(list, "old")
		}
	}
	return strings.Join(list, " ")
}

func never(*seal.Keyset) error { return errors.New("nothing was to be announced") }

func silently(*seal.Keyset) error { return nil }

// TestRotationBetweenTwoProcesses takes one rotation, step by step, through two
// processes that share the file and load it one after the other.
func TestRotationBetweenTwoProcesses(t *testing.T) {
	t.Parallel()
	path := newDocument(t).write(t)
	load := func() *seal.Keyset {
		k, _, err := seal.Open(path, seal.Options{MustExist: true})
		require.NoError(t, err)
		return k
	}
	one, two, oldest := load(), load(), load()
	ad := seal.AD("alice", "token", 1, 1)
	first := one.Fingerprint()
	canary, err := one.Check()
	require.NoError(t, err)
	sealedFirst, err := one.Seal([]byte("first"), ad)
	require.NoError(t, err)
	macFirst := one.MAC([]byte("spent"))
	each := func(what string, sealed []byte, mac credential.MAC, keysets ...*seal.Keyset) {
		t.Helper()
		for i, k := range keysets {
			_, err := k.Open(sealed, ad)
			require.NoError(t, err, "%s, process %d", what, i)
			assert.Contains(t, k.MACs([]byte("spent")), mac, "%s, process %d", what, i)
		}
	}

	for _, use := range []seal.Use{seal.UseSeal, seal.UseHash} {
		assert.Equal(t, "primary", statuses(one.Keys(), use))
	}
	keys := rotate(t, path, seal.StepStage, seal.RotateOptions{})
	for _, use := range []seal.Use{seal.UseSeal, seal.UseHash} {
		assert.Equal(t, "primary staged", statuses(keys, use))
	}
	assert.Equal(t, keys, rotate(t, path, seal.StepNone, seal.RotateOptions{Stage: true}), "staged once")
	for _, k := range []*seal.Keyset{one, two} {
		changed, err := k.Reload(path, never)
		require.NoError(t, err)
		assert.True(t, changed)
		changed, err = k.Reload(path, never)
		require.NoError(t, err)
		assert.False(t, changed)
		assert.Equal(t, first, k.Fingerprint(), "nothing is sealed with it yet")
	}

	keys = rotate(t, path, seal.StepPromote, seal.RotateOptions{})
	for _, use := range []seal.Use{seal.UseSeal, seal.UseHash} {
		assert.Equal(t, "old primary", statuses(keys, use))
	}
	_, err = one.Reload(path, func(*seal.Keyset) error { return errors.New("Redis is away") })
	require.ErrorContains(t, err, "Redis is away")
	assert.Equal(t, first, one.Fingerprint(), "what was not announced is not used")
	var announced string
	changed, err := one.Reload(path, func(next *seal.Keyset) error {
		announced = next.Fingerprint()
		assert.Equal(t, first, one.Fingerprint(), "before it is used")
		return nil
	})
	require.NoError(t, err)
	assert.True(t, changed)
	assert.Equal(t, announced, one.Fingerprint())
	assert.NotEqual(t, first, one.Fingerprint())

	// The one seals with the new key, the other still with the old.
	sealedNew, err := one.Seal([]byte("new"), ad)
	require.NoError(t, err)
	sealedOld, err := two.Seal([]byte("old"), ad)
	require.NoError(t, err)
	each("the first of all", sealedFirst, macFirst, one, two)
	each("the new", sealedNew, one.MAC([]byte("spent")), one, two)
	each("the old", sealedOld, two.MAC([]byte("spent")), one, two)
	assert.True(t, one.Current(sealedNew))
	assert.False(t, one.Current(sealedOld))
	assert.False(t, one.Current(sealedFirst))
	assert.True(t, two.Current(sealedOld))
	_, err = oldest.Open(sealedNew, ad)
	require.ErrorIs(t, err, seal.ErrCannotOpen, "who has not loaded the staged key cannot")

	// The canary goes forward only.
	require.NoError(t, one.Verify(canary))
	assert.False(t, one.Behind(canary))
	canary, err = one.Check()
	require.NoError(t, err)
	require.NoError(t, two.Verify(canary))
	assert.True(t, two.Behind(canary))
	assert.False(t, one.Behind(canary))
	require.ErrorIs(t, oldest.Verify(canary), seal.ErrCannotOpen)

	// Once more, at once.
	keys = rotate(t, path, seal.StepReplace, seal.RotateOptions{Now: true, At: time.Now()})
	assert.Equal(t, "old old primary", statuses(keys, seal.UseSeal))
	_, err = two.Reload(path, silently)
	require.NoError(t, err)
	each("the first of all", sealedFirst, macFirst, two)
	each("the new", sealedNew, one.MAC([]byte("spent")), two)
}

func TestStagedKeysSettle(t *testing.T) {
	t.Parallel()
	path := newDocument(t).write(t)
	rotate(t, path, seal.StepStage, seal.RotateOptions{})
	info, err := os.Stat(path)
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, row := range []struct{ after, wait time.Duration }{
		{0, 15 * time.Second},
		{4 * time.Second, 11 * time.Second},
		{15*time.Second - 1, 1},
		{-time.Hour, 15 * time.Second}, // a clock that was set back
	} {
		_, _, err := rotateFile(path, seal.RotateOptions{At: info.ModTime().Add(row.after)})
		early, ok := errors.AsType[*seal.TooSoonError](err)
		require.True(t, ok, "%v: %v", row.after, err)
		assert.Equal(t, row.wait, early.Wait, "%v", row.after)
		assert.Contains(t, err.Error(), path)
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(before), string(content))
	rotate(t, path, seal.StepPromote, seal.RotateOptions{Now: true, At: info.ModTime()})
	rotate(t, path, seal.StepStage, seal.RotateOptions{At: info.ModTime()})
	rotate(t, path, seal.StepPromote, seal.RotateOptions{At: time.Now().Add(16 * time.Second)})
}

func TestRotateRefusesWhatOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := seal.RotateOptions{Now: true, At: later()}
	_, _, err := rotateFile(filepath.Join(dir, "keyset.json"), opts)
	require.ErrorIs(t, err, fs.ErrNotExist)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "no first keyset is made")

	_, _, err = rotateFile(dir, opts)
	require.ErrorIs(t, err, seal.ErrBadKeyset)
	open := newDocument(t).write(t)
	group := fs.FileMode(0o640)
	require.NoError(t, os.Chmod(open, group))
	_, _, err = rotateFile(open, opts)
	_, ok := errors.AsType[*seal.ModeError](err)
	require.True(t, ok, err)
	bad := newDocument(t)
	bad.AEAD.PrimaryKeyID++
	path := bad.write(t)
	_, _, err = rotateFile(path, opts)
	require.ErrorIs(t, err, seal.ErrBadKeyset)
	assert.NotContains(t, err.Error(), bad.PRF.Key[0].KeyData.Value[:8])
}

// TestRotateThroughALink: where the file is a link, what it leads to is
// replaced.
func TestRotateThroughALink(t *testing.T) {
	t.Parallel()
	path, link := newDocument(t).write(t), filepath.Join(t.TempDir(), "link.json")
	require.NoError(t, os.Symlink(path, link))
	_, _, err := rotateFile(link, seal.RotateOptions{At: later()})
	require.NoError(t, err)
	to, err := os.Readlink(link)
	require.NoError(t, err)
	assert.Equal(t, path, to)
	k, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	assert.Len(t, k.Keys(), 4)
}

// TestConcurrentRotations: one stages; whoever comes after finds that.
func TestConcurrentRotations(t *testing.T) {
	t.Parallel()
	path := newDocument(t).write(t)
	steps := make([]seal.Step, 16)
	at := time.Now() // however long they take, the staged key has not settled
	var wg sync.WaitGroup
	for i := range steps {
		wg.Go(func() {
			step, _, err := rotateFile(path, seal.RotateOptions{At: at})
			steps[i] = step
			if _, early := errors.AsType[*seal.TooSoonError](err); !early && !errors.Is(err, seal.ErrBusy) {
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	slices.Sort(steps)
	assert.Equal(t, []seal.Step{"", seal.StepStage}, slices.Compact(steps))
	k, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	assert.Len(t, k.Keys(), 4, "staged once")
}

func TestRotationUnderLock(t *testing.T) {
	t.Parallel()
	path := newDocument(t).write(t)
	dir, err := os.Open(filepath.Dir(path))
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(dir.Fd()), syscall.LOCK_EX))
	_, _, err = rotateFile(path, seal.RotateOptions{Now: true, At: later()})
	require.ErrorIs(t, err, seal.ErrBusy)
	require.NoError(t, dir.Close())
	rotate(t, path, seal.StepReplace, seal.RotateOptions{Now: true})
}

// TestKilledWhileRotating kills processes that rotate. Whenever it happens, the
// file is whole and opens what it opened before, and the next rotation takes
// away what was left.
func TestKilledWhileRotating(t *testing.T) {
	t.Parallel()
	path := newDocument(t).write(t)
	program, err := os.Executable()
	require.NoError(t, err)
	k, _, err := seal.Open(path, seal.Options{MustExist: true})
	require.NoError(t, err)
	for n := range 4 {
		c := exec.CommandContext(t.Context(), program)
		c.Env = append(os.Environ(), rotateEnv+"="+path)
		out, err := c.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, c.Start())
		lines := bufio.NewScanner(out)
		for range n + 1 {
			require.True(t, lines.Scan(), "it rotated")
		}
		require.NoError(t, c.Process.Kill()) // somewhere in the next one
		require.Error(t, c.Wait())
		changed, err := k.Reload(path, silently)
		require.NoError(t, err, "a superset of what was there before")
		assert.True(t, changed)
	}

	// One that is killed between the two, for certain.
	left := filepath.Join(filepath.Dir(path), ".keyset-rotate-123.tmp")
	require.NoError(t, os.WriteFile(left, []byte(`{"version":1,"aead":{`), 0o600))
	changed, err := k.Reload(path, never)
	require.NoError(t, err)
	assert.False(t, changed, "the old one is in force")
	rotate(t, path, seal.StepReplace, seal.RotateOptions{Now: true})
	assert.NoFileExists(t, left)
}

func TestReloadTakesASupersetOnly(t *testing.T) {
	t.Parallel()
	path := newDocument(t).write(t)
	rotate(t, path, seal.StepReplace, seal.RotateOptions{Now: true})
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	k, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	keys, other := k.Keys(), newDocument(t)

	for name, spoil := range map[string]func(*document){
		"sealing key gone":     func(d *document) { d.AEAD.Key = d.AEAD.Key[1:] },
		"hash key gone":        func(d *document) { d.PRF.Key = d.PRF.Key[1:] },
		"sealing key disabled": func(d *document) { d.AEAD.Key[0].Status = "DISABLED" },
		"hash key disabled":    func(d *document) { d.PRF.Key[0].Status = "DISABLED" },
		"other bytes":          func(d *document) { d.AEAD.Key[0].KeyData.Value = other.AEAD.Key[0].KeyData.Value },
		"another keyset":       func(d *document) { *d = other },
	} {
		var d document
		require.NoError(t, json.Unmarshal(good, &d))
		spoil(&d)
		spoiled := d.write(t)
		_, err := k.Reload(spoiled, never)
		missing, ok := errors.AsType[*seal.MissingKeysError](err)
		require.True(t, ok, "%s: %v", name, err)
		require.ErrorIs(t, err, seal.ErrBadKeyset)
		assert.Contains(t, err.Error(), spoiled)
		assert.NotEmpty(t, missing.Missing)
		for _, key := range missing.Missing {
			assert.Contains(t, keys, key, name)
			assert.Contains(t, err.Error(), key.Fingerprint)
		}
		for _, secret := range append(other.AEAD.Key, d.AEAD.Key...) {
			assert.NotContains(t, err.Error(), secret.KeyData.Value[:8])
		}
		assert.Equal(t, keys, k.Keys(), "the old one stays")
	}
	cut := filepath.Join(t.TempDir(), "keyset.json")
	require.NoError(t, os.WriteFile(cut, []byte(`{"version":1,"aead":{`), 0o600))
	_, err = k.Reload(cut, never)
	require.ErrorIs(t, err, seal.ErrBadKeyset)
	_, err = k.Reload(filepath.Join(t.TempDir(), "none.json"), never)
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Equal(t, keys, k.Keys())
}

// TestReloadUnderUse: whoever seals and opens meanwhile notices nothing.
func TestReloadUnderUse(t *testing.T) {
	t.Parallel()
	path := newDocument(t).write(t)
	k, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	ad := seal.AD("alice", "token", 1, 1)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				sealed, err := k.Seal([]byte("plain"), ad)
				if err != nil {
					t.Error(err)
					return
				}
				mac := k.MAC([]byte("spent"))
				plain, err := k.Open(sealed, ad)
				if err != nil || string(plain) != "plain" || !slices.Contains(k.MACs([]byte("spent")), mac) {
					t.Error("what was sealed or hashed a moment ago is not known any more", err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for range 5 {
		rotate(t, path, seal.StepReplace, seal.RotateOptions{Now: true})
		changed, err := k.Reload(path, silently)
		require.NoError(t, err)
		assert.True(t, changed)
	}
	close(done)
	wg.Wait()
}
