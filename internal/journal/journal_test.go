package journal

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAdopterFindsWhatWasWritten(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(1), intent(2), intent(3)}))
	require.NoError(t, b.Keep(keep(2, "reply 2")))
	require.NoError(t, b.Keep(keep(4, "a reply without an intent")))
	require.NoError(t, b.Change(t.Context(), change(5, "logged out")))
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(6)}))
	b.Drop(nonce(3), nonce(99))

	dead := b.adoptOne(t)
	assert.Equal(t, "owner-1", dead.Owner)
	assert.Equal(t, []Intent{intent(1), intent(6)}, dead.Intents)
	assert.Equal(t, []Keep{keep(2, "reply 2"), keep(4, "a reply without an intent")}, dead.Keeps)
	assert.Equal(t, []Change{change(5, "logged out")}, dead.Changes)
	assert.Empty(t, dead.Corrupt)
	assert.Zero(t, dead.Torn)

	require.NoError(t, dead.Remove())
	assert.NoFileExists(t, b.file())
	found, err := Adopt(b.dir, "somebody-else")
	require.NoError(t, err)
	assert.Empty(t, found)
}

func TestReleasedJournalIsAdoptedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Keep(keep(1, "reply")))
	first := b.adoptOne(t)
	require.NoError(t, first.Release())
	assert.Equal(t, first.Records, adoptOnly(t, b.dir).Records)
}

func TestReplacedRecords(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Keep(keep(1, "first")))
	require.NoError(t, b.Keep(keep(1, "second")))
	require.NoError(t, b.Change(t.Context(), change(2, "first")))
	require.NoError(t, b.Change(t.Context(), change(2, "second")))
	dead := b.adoptOne(t)
	assert.Equal(t, []Keep{keep(1, "second")}, dead.Keeps)
	assert.Equal(t, []Change{change(2, "second")}, dead.Changes)
}

func TestCloseRemovesAnEmptyJournal(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(1)}))
	require.NoError(t, b.Keep(keep(1, "reply")))
	require.FileExists(t, b.file())
	b.Drop(nonce(1))
	require.NoError(t, b.Close())
	require.NoError(t, b.Close(), "closing again is fine")
	entries, err := os.ReadDir(b.dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestClosedJournalTakesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Close())
	require.ErrorIs(t, b.Intent(t.Context(), []Intent{intent(1)}), ErrClosed)
	require.ErrorIs(t, b.Keep(keep(1, "reply")), ErrClosed)
	require.ErrorIs(t, b.Change(t.Context(), change(1, "change")), ErrClosed)
	b.Drop(nonce(1))
}

func TestInvalidRecordsAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	noNonce, badID, longID := intent(1), intent(1), intent(1)
	noNonce.Nonce = nonce(0)
	badID.ID = "../alice"
	longID.ID = "a" + longID.ID[:0]
	for len(longID.ID) <= 128 {
		longID.ID += "a"
	}
	for _, bad := range []Intent{noNonce, badID, longID} {
		require.ErrorIs(t, b.Intent(t.Context(), []Intent{intent(7), bad}), ErrInvalid)
	}
	tooLong := keep(1, "")
	tooLong.Sealed = make([]byte, maxPayload)
	require.ErrorIs(t, b.Keep(tooLong), ErrInvalid)
	for _, kind := range []ChangeKind{0, Write + 1} {
		bad := change(1, "change")
		bad.Kind = kind
		require.ErrorIs(t, b.Change(t.Context(), bad), ErrInvalid)
	}
	require.NoError(t, b.Close())
	assert.NoFileExists(t, b.file(), "nothing of it was written")
}

func TestNonceInUse(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(1)}))
	require.ErrorIs(t, b.Intent(t.Context(), []Intent{intent(2), intent(1)}), ErrInvalid)
	require.ErrorIs(t, b.Intent(t.Context(), []Intent{intent(3), intent(3)}), ErrInvalid)
	require.NoError(t, b.Intent(t.Context(), nil))
	assert.Equal(t, []Intent{intent(1)}, b.adoptOne(t).Intents, "a refused call leaves nothing")
}

func TestEndedContext(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	reason := errors.New("the caller has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	require.ErrorIs(t, b.Intent(ctx, []Intent{intent(1)}), reason)
	require.ErrorIs(t, b.Change(ctx, change(1, "change")), reason)
	require.NoError(t, b.Close())
	assert.NoFileExists(t, b.file())
}

func TestCreateMakesPrivateFiles(t *testing.T) {
	t.Parallel()
	b := setupIn(t, filepath.Join(t.TempDir(), "data", "journal"), "01JABC", Options{})
	for path, mode := range map[string]fs.FileMode{
		filepath.Dir(b.dir): fs.ModeDir | 0o700,
		b.dir:               fs.ModeDir | 0o700,
		b.file():            0o600,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode(), path)
	}
	entries, err := os.ReadDir(b.dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, owner := range []string{"", ".", "..", "a/b", "-a", "a.b", "a b", "a\x00", strings.Repeat("a", 65)} {
		_, err := Create(dir, owner, Options{})
		require.ErrorContains(t, err, "journal owner", "%q", owner)
	}
	for _, opts := range []Options{{MaxReply: -1}, {MaxReply: maxPayload}, {SegmentSize: -1}} {
		_, err := Create(dir, "owner", opts)
		require.ErrorContains(t, err, "journal options")
	}
	b := setupIn(t, dir, "owner", Options{})
	_, err := Create(dir, "owner", Options{})
	require.ErrorIs(t, err, ErrInUse)
	require.NoError(t, b.Keep(keep(1, "reply")))
	assert.Len(t, b.adoptOne(t).Keeps, 1, "the first one was left alone")

	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{file, filepath.Join(file, "journal")} {
		_, err = Create(path, "owner", Options{})
		require.ErrorIs(t, err, unix.ENOTDIR)
		require.ErrorContains(t, err, path)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "no temporary file is left: %v", entries)
}

func TestUnwritableFolderIsRefusedWithARemedy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o711)) //nolint:gosec // to be reached, not changed, by others
	require.NoError(t, os.Chmod(dir, 0o500))               //nolint:gosec // a folder
	for _, path := range []string{dir, filepath.Join(dir, "journal")} {
		var err error
		unprivileged(t, func() { _, err = Create(path, "owner", Options{}) })
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "user that runs refreshd")
	}
}

// TestConcurrentCallers lets many callers go through whole refreshes.
func TestConcurrentCallers(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{MaxReply: 1024, SegmentSize: 64 << 10})
	const callers, rounds = 64, 20
	var wg sync.WaitGroup
	for caller := range uint64(callers) {
		wg.Go(func() {
			for round := range uint64(rounds) {
				n := 1 + caller*rounds + round
				if err := b.Intent(t.Context(), []Intent{intent(n)}); err != nil {
					t.Errorf("intent %d: %v", n, err)
					return
				}
				if err := b.Keep(keep(n, strings.Repeat("r", 700))); err != nil {
					t.Errorf("keep %d: %v", n, err)
					return
				}
				if round < rounds-1 {
					b.Drop(nonce(n))
				}
			}
		})
	}
	wg.Wait()
	dead := b.adoptOne(t)
	assert.Empty(t, dead.Intents)
	assert.Len(t, dead.Keeps, callers)
	assert.Empty(t, dead.Corrupt)
}

// unprivileged runs f with the file permissions of an ordinary user, for tests
// that run as root. The credentials of file accesses belong to a thread.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can give up root for one thread")
	}
	done := make(chan struct{})
	go func() { // the thread ends with the goroutine, which stays locked to it
		defer close(done)
		runtime.LockOSThread()
		dropRoot()
		f()
	}()
	<-done
}
