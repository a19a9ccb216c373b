package journal

import (
	"encoding/binary"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	// The model syncs a real disk at every step; -rapid.checks overrides this.
	if err := flag.Set("rapid.checks", "50"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// bundle is a journal in a folder of its own.
type bundle struct {
	*Journal

	dir   string
	owner string
}

// setup makes a journal, which is closed at the end of the test.
func setup(t testing.TB, opts Options) *bundle {
	t.Helper()
	return setupIn(t, filepath.Join(t.TempDir(), "journal"), "owner-1", opts)
}

func setupIn(t testing.TB, dir, owner string, opts Options) *bundle {
	t.Helper()
	j, err := Create(dir, owner, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() }) // whoever cares about the result has closed it before
	return &bundle{Journal: j, dir: dir, owner: owner}
}

// file returns the name of the journal's file.
func (b *bundle) file() string { return filepath.Join(b.dir, b.owner+".wal") }

// adoptOne closes the journal and returns what another process finds.
func (b *bundle) adoptOne(t testing.TB) *Dead {
	t.Helper()
	require.NoError(t, b.Close())
	return adoptOnly(t, b.dir)
}

// adoptOnly adopts the one journal in dir.
func adoptOnly(t testing.TB, dir string) *Dead {
	t.Helper()
	found, err := Adopt(dir, "somebody-else")
	require.NoError(t, err)
	require.Len(t, found, 1)
	t.Cleanup(func() { _ = found[0].Release() }) // it may be released already
	return found[0]
}

// patch overwrites a part of a file.
func patch(t testing.TB, path string, off int, content []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(content, int64(off))
	require.NoError(t, errors.Join(err, f.Close()))
}

func nonce(n uint64) credential.Nonce {
	var nonce credential.Nonce
	binary.BigEndian.PutUint64(nonce[8:], n)
	return nonce
}

func intent(n uint64) Intent {
	return Intent{Nonce: nonce(n), ID: "alice", Generation: n, Grant: 2, At: 1_700_000_000_000}
}

func keep(n uint64, sealed string) Keep {
	return Keep{Nonce: nonce(n), ID: "alice", Generation: n, Grant: 2, At: 1_700_000_000_000, Sealed: []byte(sealed)}
}

func change(n uint64, payload string) Change {
	return Change{Nonce: nonce(n), ID: "alice", Grant: 3, Version: n, Kind: Logout, At: 1_700_000_000_000, Payload: []byte(payload)}
}
