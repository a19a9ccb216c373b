package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAJournalKeepsItsName takes the file away under a journal, or gives its name
// to another file: what it holds is in a new file under the name within a second,
// and nothing of what is noted from then on is lost either.
func TestAJournalKeepsItsName(t *testing.T) {
	t.Parallel()
	for how, take := range map[string]func(d *memDisk){
		"removed": func(d *memDisk) { delete(d.names, "owner-1.wal") },
		"moved": func(d *memDisk) {
			d.names["elsewhere"] = d.names["owner-1.wal"]
			delete(d.names, "owner-1.wal")
		},
		"replaced": func(d *memDisk) { d.names["owner-1.wal"] = &memFile{d: d, name: "somebody's"} },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var lost []error
				d := newMemDisk()
				j := onDisk(t, d, Options{OnUnnamed: func(err error) { lost = append(lost, err) }})
				require.NoError(t, j.Keep(keep(1, "reply")))
				require.NoError(t, j.Keep(keep(2, "dropped")))
				require.NoError(t, j.Intent(t.Context(), []Intent{intent(3)}))
				j.Drop(nonce(2))
				pass(2 * lookEvery)
				synctest.Wait()
				require.Empty(t, lost)
				d.mu.Lock()
				take(d)
				d.mu.Unlock()
				require.NoError(t, j.Change(t.Context(), change(4, "before it is noticed")))
				pass(lookEvery)
				synctest.Wait()
				require.Len(t, lost, 1)
				require.ErrorContains(t, lost[0], "/journal/owner-1.wal")
				want := Records{Intents: []Intent{intent(3)}, Keeps: []Keep{keep(1, "reply")}, Changes: []Change{change(4, "before it is noticed")}}
				require.Equal(t, want, afterCrash(t, d, 1))
				assert.True(t, d.locked("owner-1.wal"))

				require.NoError(t, j.Keep(keep(3, "received")))
				pass(2 * lookEvery)
				synctest.Wait()
				require.Len(t, lost, 1, "once")
				want = Records{Keeps: []Keep{keep(1, "reply"), keep(3, "received")}, Changes: want.Changes}
				require.Equal(t, want, none(afterCrash(t, d, 1)))
				aside := 0
				for name := range d.listed() {
					if strings.HasSuffix(name, damagedSuffix) {
						aside++
					}
				}
				assert.Equal(t, how == "replaced", aside == 1, "what has taken the name is put aside")
			})
		})
	}
}

// TestNothingIsNotedWithoutAName: while the new file cannot be made, nothing may
// be begun.
func TestNothingIsNotedWithoutAName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, heard := newMemDisk(), told{}
		j := onDisk(t, d, heard.options(Options{}))
		require.NoError(t, j.Keep(keep(1, "reply")))
		hook, off := failing(stepCreate, errDisk)
		d.setHook(hook)
		require.NoError(t, d.remove("owner-1.wal"))
		pass(lookEvery)
		synctest.Wait()
		err := j.Intent(t.Context(), []Intent{intent(2)})
		require.ErrorIs(t, err, ErrBroken)
		require.ErrorContains(t, err, "was removed or replaced")
		require.Len(t, heard.broken(), 1)
		off()
		pass(lastPause)
		synctest.Wait()
		require.Equal(t, []error{nil}, heard.healed())
		require.NoError(t, j.Intent(t.Context(), []Intent{intent(2)}))
		require.Equal(t, Records{Intents: []Intent{intent(2)}, Keeps: []Keep{keep(1, "reply")}}, none(afterCrash(t, d, 1)))
	})
}

// TestAJournalWithoutANameIsLeftToItsHeir: a process that stops before it has
// looked leaves what it holds, and takes nobody else's file away.
func TestAJournalWithoutANameIsLeftToItsHeir(t *testing.T) {
	t.Parallel()
	b := setup(t, Options{})
	require.NoError(t, b.Keep(keep(1, "reply")))
	require.NoError(t, os.Remove(b.file()))
	dead := b.adoptOne(t)
	assert.Equal(t, []Keep{keep(1, "reply")}, dead.Keeps)

	b = setup(t, Options{})
	require.NoError(t, os.WriteFile(b.file()+".new", []byte("somebody's"), 0o600))
	require.NoError(t, os.Rename(b.file()+".new", b.file()))
	require.NoError(t, b.Close())
	assert.NoFileExists(t, b.file())
	aside, err := filepath.Glob(filepath.Join(b.dir, "*.damaged"))
	require.NoError(t, err)
	assert.Len(t, aside, 1)
}

// So it does when its folder is removed with everything in it.
func TestAJournalMakesItsFolderAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	named := make(chan error, 1)
	j, err := Create(dir, "owner-1", Options{OnUnnamed: func(err error) { named <- err }})
	require.NoError(t, err)
	defer func() { require.NoError(t, j.Close()) }()
	require.NoError(t, j.Keep(keep(1, "reply")))
	require.NoError(t, os.RemoveAll(dir))
	require.ErrorContains(t, <-named, filepath.Join(dir, "owner-1.wal"))
	require.NoError(t, j.Keep(keep(2, "received")))
	alive, known, err := Alive(dir, "owner-1")
	require.NoError(t, err)
	assert.True(t, alive && known)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}
