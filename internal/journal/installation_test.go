package journal

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A folder with journals belongs to one installation, from before the first of
// them is made; without any it is free for another.
func TestAFolderBelongsToOneInstallation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "journal")
	claim := func(id string) error { return Claim(dir, id) }
	refused := func(err error, found string) {
		t.Helper()
		other := new(OtherInstallationError)
		require.ErrorAs(t, err, &other)
		assert.Equal(t, OtherInstallationError{Dir: dir, Noted: "ONE", Found: found}, *other)
		for _, word := range []string{dir, "ONE", found, filepath.Join(dir, "installation"), "redis.url"} {
			require.ErrorContains(t, err, word)
		}
	}
	require.NoError(t, CheckInstallation(dir, ""))
	require.NoError(t, claim("OTHER"))
	require.NoError(t, claim("ONE"), "nothing is in it yet")
	noted, err := InstallationOf(dir)
	require.NoError(t, err)
	require.Equal(t, Installation{ID: "ONE", Unsettled: true}, noted)
	b := setupIn(t, dir, "owner-1", Options{})
	require.NoError(t, b.Keep(keep(1, "reply")))
	require.NoError(t, claim("ONE"))
	require.NoError(t, CheckInstallation(dir, ""), "the store may have lost it in the first moments")
	refused(claim("TWO"), "TWO")

	require.NoError(t, Settle(dir, "TWO"), "not its folder")
	require.NoError(t, CheckInstallation(dir, ""))
	require.NoError(t, Settle(dir, "ONE"))
	noted, err = InstallationOf(dir)
	require.NoError(t, err)
	require.Equal(t, Installation{ID: "ONE"}, noted)
	refused(CheckInstallation(dir, ""), "")
	require.NoError(t, b.Close())
	refused(claim("TWO"), "TWO")
	require.NoError(t, CheckInstallation(dir, "ONE"))
	info, err := os.Stat(filepath.Join(dir, "installation"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.Remove(filepath.Join(dir, "installation")))
	require.NoError(t, claim("TWO"), "somebody has said so")
	require.NoError(t, adoptOnly(t, dir).Remove())
	require.NoError(t, claim("THREE"), "there is nothing to lose")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "installation"), []byte("some words"), 0o600))
	require.ErrorContains(t, claim("THREE"), filepath.Join(dir, "installation"))
}

// Of two that start at once on different installations one at the most goes on, and
// whoever has a journal by then is left alone.
func TestAFolderIsClaimedByOneAtATime(t *testing.T) {
	t.Parallel()
	for range 20 {
		dir := filepath.Join(t.TempDir(), "journal")
		start := func(id string) error {
			if err := Claim(dir, id); err != nil {
				return err
			}
			j, err := Create(dir, id, Options{})
			if err != nil {
				return err
			}
			t.Cleanup(func() { require.NoError(t, j.Close()) })
			return CheckInstallation(dir, id)
		}
		second := make(chan error, 1)
		go func() { second <- start("TWO") }()
		refused := 0
		for _, err := range []error{start("ONE"), <-second} {
			if err != nil {
				require.ErrorAs(t, err, new(*OtherInstallationError))
				refused++
			}
		}
		require.Positive(t, refused)
		noted, err := InstallationOf(dir)
		require.NoError(t, err)
		require.Error(t, CheckInstallation(dir, map[string]string{"ONE": "TWO", "TWO": "ONE"}[noted.ID]))
	}
}

// One process at a time gives a store its name. Another one waits, and if its store
// holds nothing either, and does not know those who live in the folder, it is told
// where they are.
func TestOneFirstStartAtATime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := BeginFirstStart(t.Context(), dir)
	require.NoError(t, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = BeginFirstStart(over, dir)
	require.ErrorIs(t, err, context.Canceled)
	for _, word := range []string{dir, "first start", "kill -CONT"} {
		require.ErrorContains(t, err, word)
	}
	living, err := Living(dir)
	require.NoError(t, err)
	require.Empty(t, living)
	require.NoError(t, first.Note("A-LONGER-ONE", "redis://before:6379"))
	require.NoError(t, first.Note("ONE", "redis://one:6379"))
	require.NoError(t, Claim(dir, "ONE"))
	b := setupIn(t, dir, "owner-1", Options{})

	waits := make(chan *FirstStart, 1)
	go func() {
		second, err := BeginFirstStart(t.Context(), dir)
		assert.NoError(t, err)
		waits <- second
	}()
	require.NoError(t, first.End())
	second := <-waits
	living, err = Living(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"owner-1"}, living)
	err = second.Elsewhere("redis://two:6379", living)
	other := new(ElsewhereError)
	require.ErrorAs(t, err, &other)
	assert.Equal(t, ElsewhereError{Dir: dir, Noted: "ONE", Address: "redis://two:6379", Other: "redis://one:6379", Owners: living}, *other)
	for _, word := range []string{dir, "ONE", "redis://one:6379", "redis://two:6379", "owner-1", "redis.url", "data_dir"} {
		require.ErrorContains(t, err, word)
	}
	require.ErrorContains(t, second.Elsewhere("redis://one:6379", living), "before it lost its data")
	require.NoError(t, second.Note("TWO", "redis://three:6379"))
	require.NotContains(t, second.Elsewhere("redis://two:6379", living).Error(), "three", "the note is of another installation")

	require.NoError(t, b.Close())
	dead, err := Create(dir, "owner-2", Options{})
	require.NoError(t, err)
	require.NoError(t, dead.Intent(t.Context(), []Intent{{Nonce: [16]byte{1}, ID: "alice", Generation: 1, Grant: 1}}))
	require.NoError(t, dead.Close())
	living, err = Living(dir)
	require.NoError(t, err)
	assert.Empty(t, living, "a journal is left, and nobody writes it")
	require.NoError(t, second.End())
}
