package journal_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/journal"
)

// Everyone who sees a folder finds the same name, and a copy of it has another.
func TestPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	names := make([]string, 20)
	var all sync.WaitGroup
	for i := range names {
		all.Go(func() {
			name, err := journal.Place(dir)
			assert.NoError(t, err)
			names[i] = name
		})
	}
	all.Wait()
	for _, name := range names {
		assert.Len(t, name, 32)
		assert.Equal(t, names[0], name)
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing temporary is left")

	other := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(other, "copy"), os.DirFS(dir)))
	copied, err := journal.Place(filepath.Join(other, "copy"))
	require.NoError(t, err)
	assert.NotEqual(t, names[0], copied)

	_, err = journal.Place(filepath.Join(dir, "missing"))
	require.ErrorContains(t, err, "missing")
}
