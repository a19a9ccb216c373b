package journal

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNoFolderHasNoJournals(t *testing.T) {
	t.Parallel()
	found, err := Adopt(filepath.Join(t.TempDir(), "missing"), "me")
	require.NoError(t, err)
	assert.Empty(t, found)
}

func TestLivingOwnersKeepTheirJournals(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Keep(keep(1, "reply")))
	found, err := Adopt(b.dir, "somebody-else")
	require.NoError(t, err)
	assert.Empty(t, found)
	found, err = Adopt(b.dir, b.owner)
	require.NoError(t, err)
	assert.Empty(t, found)
}

func TestAlive(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Keep(keep(1, "reply")))
	check := func(when string, wantAlive, wantKnown bool) {
		t.Helper()
		alive, known, err := Alive(b.dir, b.owner)
		require.NoError(t, err, when)
		assert.Equal(t, wantAlive, alive, when)
		assert.Equal(t, wantKnown, known, when)
	}
	check("running", true, true)
	require.NoError(t, b.Close())
	check("ended with records", false, true)
	dead := adoptOnly(t, b.dir)
	check("adopted", true, true)
	require.NoError(t, dead.Remove())
	check("removed", false, false)
	_, known, err := Alive(b.dir, "../"+b.owner)
	require.NoError(t, err)
	assert.False(t, known)
}

// What cannot be opened may be anybody's: only a name that is not there is free.
func TestAliveOfWhatCannotBeOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Symlink("loop"+suffix, filepath.Join(dir, "loop"+suffix)))
	_, known, err := Alive(dir, "loop")
	require.ErrorIs(t, err, syscall.ELOOP)
	assert.False(t, known)
}

// TestAdoptersRace lets many adopt the same journals at once: each journal has
// one winner.
func TestAdoptersRace(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	for _, owner := range []string{"a", "b", "c", "d"} {
		b := setupIn(t, dir, owner, Options{SegmentSize: 4096})
		require.NoError(t, b.Keep(keep(1, "reply of "+owner)))
		require.NoError(t, b.Close())
	}
	var mu sync.Mutex
	var all []*Dead
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			found, err := Adopt(dir, "me")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
		})
	}
	wg.Wait()
	owners := map[string]bool{}
	for _, dead := range all {
		assert.False(t, owners[dead.Owner], "%s was adopted twice", dead.Owner)
		owners[dead.Owner] = true
		assert.Equal(t, []Keep{keep(1, "reply of "+dead.Owner)}, dead.Keeps)
		require.NoError(t, dead.Remove())
	}
	assert.Len(t, owners, 4)
}

// TestAdopterMeetsAReplacedFile holds the old file open while its owner writes
// it anew and dies: the adopter must read the new one.
func TestAdopterMeetsAReplacedFile(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{SegmentSize: 4096, MaxReply: 256})
	old, err := os.Open(b.file())
	require.NoError(t, err)
	defer old.Close() //nolint:errcheck // only looked at
	require.NoError(t, b.Keep(keep(1, "reply")))
	for n := uint64(2); ; n++ {
		require.NoError(t, b.Keep(keep(n, strings.Repeat("x", 200))))
		b.Drop(nonce(n))
		named, err := isNamed(old, b.file())
		require.NoError(t, err)
		if !named {
			break
		}
	}
	_, named, err := lock(old, b.file())
	require.NoError(t, err)
	assert.False(t, named, "the lock of the old file is not that of the journal")
	alive, known, err := Alive(b.dir, b.owner)
	require.NoError(t, err)
	assert.True(t, alive)
	assert.True(t, known)
	assert.Equal(t, []Keep{keep(1, "reply")}, b.adoptOne(t).Keeps)
}

func TestStaleTemporaryFilesAreRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stale := filepath.Join(dir, ".gone.0123456789abcdef.tmp")
	strange := filepath.Join(dir, ".gone.tmp")
	for _, path := range []string{stale, strange} {
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	f, held, err := folder(dir).create("busy")
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // nothing was written

	_, err = Adopt(dir, "me")
	require.NoError(t, err)
	assert.NoFileExists(t, stale)
	assert.FileExists(t, strange, "what we would not have made is left alone")
	assert.FileExists(t, filepath.Join(dir, held), "its owner lives")
}

func TestDamagedJournalIsKept(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Keep(keep(1, "spoiled")))
	require.NoError(t, b.Keep(keep(2, "sound")))
	require.NoError(t, b.Close())
	content, err := os.ReadFile(b.file())
	require.NoError(t, err)
	at := strings.Index(string(content), "spoiled")
	require.Positive(t, at)
	content[at] = 'S'
	patch(t, b.file(), at, content[at:at+1])

	dead := adoptOnly(t, b.dir)
	assert.Equal(t, []Keep{keep(2, "sound")}, dead.Keeps)
	require.Len(t, dead.Corrupt, 1)
	assert.Equal(t, b.file(), dead.Corrupt[0].Path)
	require.NoError(t, dead.Remove())
	assert.NoFileExists(t, b.file())
	kept, err := os.ReadFile(filepath.Join(b.dir, b.owner+".damaged"))
	require.NoError(t, err)
	assert.Equal(t, content, kept)
	found, err := Adopt(b.dir, "me")
	require.NoError(t, err)
	assert.Empty(t, found, "it is not adopted again")
}

// TestOneBadFileDoesNotHideTheOthers has things in the folder that are no
// journals.
func TestOneBadFileDoesNotHideTheOthers(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Keep(keep(1, "reply")))
	require.NoError(t, b.Close())
	require.NoError(t, os.Mkdir(filepath.Join(b.dir, "folder.wal"), 0o700))
	require.NoError(t, os.Symlink(b.file(), filepath.Join(b.dir, "link.wal")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(b.dir, "fifo.wal"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "not an owner.wal"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(b.dir, "notes.txt"), nil, 0o600))

	found, err := Adopt(b.dir, "me")
	for _, name := range []string{"folder.wal", "link.wal", "fifo.wal"} {
		require.ErrorContains(t, err, name)
	}
	require.Len(t, found, 1)
	assert.Equal(t, b.owner, found[0].Owner)
	require.NoError(t, found[0].Release())
}

// What a dead process had allocated ahead is given back at its adoption: on a
// full disk the living need the room.
func TestAdoptionGivesRoomBack(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(1)}))
	before, err := os.Stat(b.file())
	require.NoError(t, err)
	require.NoError(t, b.Close())
	found, err := Adopt(b.dir, "heir")
	require.NoError(t, err)
	require.Len(t, found, 1)
	after, err := os.Stat(b.file())
	require.NoError(t, err)
	assert.Less(t, after.Size(), before.Size()/100)
	require.NoError(t, found[0].Release())
	again, err := Adopt(b.dir, "heir")
	require.NoError(t, err)
	require.Len(t, again, 1)
	assert.Equal(t, []Intent{intent(1)}, again[0].Intents)
	assert.Empty(t, again[0].Corrupt)
	require.NoError(t, again[0].Release())
}

// A journal that somebody has cut is no sound one that ends there: what is missing
// may have been acknowledged. Its heirs are told so one after the other, and the
// file is kept. One that was adopted before has the length of its content, and one
// whose last write was torn the length that its process gave it: both are sound.
func TestACutJournalIsDamaged(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{SegmentSize: 4096, MaxReply: 64})
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(1)}))
	require.NoError(t, b.Intent(t.Context(), []Intent{intent(2)}))
	require.NoError(t, b.Keep(keep(2, "reply")))
	require.NoError(t, b.Close())

	for range 2 { // the second finds what the first has left
		dead := adoptOnly(t, b.dir)
		assert.Empty(t, dead.Corrupt)
		assert.Len(t, dead.Keeps, 1)
		require.NoError(t, dead.Release())
	}
	require.NoError(t, os.Chmod(b.file(), 0o600)) // as its process had left it
	info, err := os.Stat(b.file())
	require.NoError(t, err)
	for _, missing := range []int64{1, 40, 100} {
		require.NoError(t, os.Chmod(b.file(), 0o600))
		require.NoError(t, os.Truncate(b.file(), info.Size()-missing))
		examined, err := Examine(b.dir, b.owner)
		require.NoError(t, err)
		require.Len(t, examined.Corrupt, 1, "%d bytes are missing", missing)
		require.NoError(t, examined.Release())
		for range 2 {
			dead := adoptOnly(t, b.dir)
			require.Len(t, dead.Corrupt, 1, "%d bytes are missing", missing)
			require.ErrorContains(t, dead.Corrupt[0], b.file())
			require.ErrorContains(t, dead.Corrupt[0], "somebody has cut it")
			assert.NotEmpty(t, dead.Intents, "what can be read is there")
			require.NoError(t, dead.Release())
		}
	}
	dead := adoptOnly(t, b.dir)
	require.NoError(t, dead.Remove())
	assert.FileExists(t, filepath.Join(b.dir, b.owner+damagedSuffix))
}

// Whoever looks into the folder goes by the names that adoption goes by.
func TestOwnerOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a1-b2.wal": "a1-b2", "a1-b2": "", ".wal": "", "a b.wal": "", ".a1.0123456789abcdef.tmp": "", "installation": "", "a1.wal.damaged": "",
	} {
		owner, ok := OwnerOf(name)
		assert.Equal(t, want != "", ok, name)
		if ok {
			assert.Equal(t, want, owner)
		}
	}
	assert.True(t, IsDamaged("a1.0123456789abcdef.damaged"))
	assert.False(t, IsDamaged("a1.wal"))
}
