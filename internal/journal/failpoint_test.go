//go:build failpoints

package journal

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/failpoint"
	"github.com/refreshd/refreshd/internal/failpoint/failpointtest"
)

// What is injected is taken for what a disk would do there.
func TestFailpoints(t *testing.T) {
	t.Parallel()
	small := Options{SegmentSize: pageSize, MaxReply: 1024}
	broken := func(t *testing.T) {
		t.Helper()
		b := setup(t, small)
		err := b.Intent(t.Context(), []Intent{intent(1)})
		require.ErrorIs(t, err, ErrBroken)
		require.ErrorIs(t, err, failpoint.ErrInjected)
		require.ErrorIs(t, b.Intent(t.Context(), []Intent{intent(2)}), ErrBroken)
		require.NoError(t, b.Keep(keep(3, "waits for the journal to be usable again")))
		dead := b.adoptOne(t)
		assert.Empty(t, dead.Intents, "their callers were told that they failed")
		assert.Len(t, dead.Keeps, 1)
	}
	failpointtest.Each(t, map[string]failpointtest.Row{
		"FullDiskAtTheStart": {Rules: "journal.allocate=full@*", Do: func(t *testing.T) {
			t.Helper()
			dir := t.TempDir()
			_, err := Create(dir, "owner-1", small)
			require.ErrorIs(t, err, ErrNoRoom)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left)
		}},
		"FullDiskForAWhile": {Rules: "journal.allocate=full@2,journal.allocate=full@3", Do: func(t *testing.T) {
			t.Helper()
			b := setup(t, Options{SegmentSize: 64 << 10, MaxReply: 1024})
			many := make([]Intent, 100)
			for i := range many {
				many[i] = intent(uint64(i) + 1)
			}
			// The second allocation is of what is needed and no more.
			err := b.Intent(t.Context(), many)
			require.ErrorIs(t, err, ErrNoRoom)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.NoError(t, b.Intent(t.Context(), many), "there is room again")
		}},
		"NoNameYet": {Rules: "journal.created=fail", Do: func(t *testing.T) {
			t.Helper()
			dir := t.TempDir()
			_, err := Create(dir, "owner-1", small)
			require.ErrorIs(t, err, failpoint.ErrInjected)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left)
		}},
		"WriteFails":     {Rules: "journal.write=full", Do: broken},
		"FullForAWhile":  {Rules: "journal.write=full@1,journal.write=full@2", Do: broken},
		"SyncFails":      {Rules: "journal.written=fail", Do: broken},
		"SyncSaysItFail": {Rules: "journal.synced=fail", Do: broken},
		"RenameFails":    {Rules: "journal.rewritten=fail", Do: rewriteUntilBroken},
		"FolderSync":     {Rules: "journal.renamed=fail", Do: rewriteUntilBroken},
	})
}

// rewriteUntilBroken has the file written anew until that fails, and reads
// back what was acknowledged before.
func rewriteUntilBroken(t *testing.T) {
	t.Helper()
	b := setup(t, Options{SegmentSize: pageSize, MaxReply: 1024})
	require.NoError(t, b.Keep(keep(1, "the one that matters")))
	var err error
	for n := uint64(2); err == nil; n++ {
		require.Less(t, n, uint64(10_000), "it is never written anew")
		err = b.Change(t.Context(), change(n, "gone at once"))
		b.Drop(nonce(n))
	}
	require.ErrorIs(t, err, ErrBroken)
	require.ErrorIs(t, err, failpoint.ErrInjected)
	require.NoError(t, b.Close())
	var sealed []string
	for _, k := range adoptOnly(t, b.dir).Keeps {
		sealed = append(sealed, string(k.Sealed))
	}
	assert.Contains(t, sealed, "the one that matters")
}
