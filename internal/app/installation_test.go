package app

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"

	"github.com/redis/go-redis/v9"
)

// A start on another Redis with journals in the folder is refused before anything
// is written there or taken up, and the right one finds them as they were.
func TestJournalsOfAnotherRedisAreNotConsumed(t *testing.T) {
	right := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": right.URL()}
	r := run(t, f, everything())
	status, answer := r.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(provider.mint(t)))
	require.Equal(t, http.StatusCreated, status, answer)
	dir := filepath.Join(f.dir, "data", "journal")
	eventually(t, "Redis cannot lose the installation any more", func() bool {
		noted, err := journal.InstallationOf(dir)
		return err == nil && noted.ID != "" && !noted.Unsettled
	})
	require.NoError(t, r.end())
	noted, err := journal.InstallationOf(dir)
	require.NoError(t, err)
	dead, err := journal.Create(dir, "killed", journal.Options{})
	require.NoError(t, err)
	require.NoError(t, dead.Intent(t.Context(), []journal.Intent{{Nonce: [16]byte{1}, ID: "run:alice", Generation: 1, Grant: 1}}))
	require.NoError(t, dead.Close())
	path := filepath.Join(dir, "killed.wal")
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	empty := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	f.config["redis"] = map[string]any{"url": empty.URL()}
	refused := begin(t, f, everything())
	<-refused.ended
	require.ErrorContains(t, refused.err, noted.ID)
	require.ErrorContains(t, refused.err, dir)
	require.ErrorContains(t, refused.err, "this Redis holds none")
	options, err := redis.ParseURL(empty.URL())
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer client.Close() //nolint:errcheck // only looked at
	there, err := store.Described(t.Context(), client)
	require.NoError(t, err)
	assert.False(t, there, "it was not made an installation")

	require.NoError(t, client.HSet(t.Context(), "rd:meta", "epoch", "OTHER").Err())
	refused = begin(t, f, everything())
	<-refused.ended
	require.ErrorContains(t, refused.err, noted.ID)
	require.ErrorContains(t, refused.err, "this Redis holds OTHER")
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, before, after)

	// Somebody says that what the journals hold is to go into the empty one.
	require.NoError(t, client.Del(t.Context(), "rd:meta").Err())
	require.NoError(t, os.Remove(filepath.Join(dir, "installation")))
	require.NoError(t, run(t, f, everything()).end())
	again, err := journal.InstallationOf(dir)
	require.NoError(t, err)
	assert.NotEqual(t, noted.ID, again.ID)
}

// A Redis that has lost the installation in its first moments gets it again under
// the same name: nobody's address is wrong.
func TestAnInstallationLostAtOnceIsMadeAgain(t *testing.T) {
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	dir := filepath.Join(f.dir, "data", "journal")
	require.NoError(t, journal.Claim(dir, "FIRST"))
	dead, err := journal.Create(dir, "killed", journal.Options{})
	require.NoError(t, err)
	require.NoError(t, dead.Intent(t.Context(), []journal.Intent{{Nonce: [16]byte{1}, ID: "run:alice", Generation: 1, Grant: 1}}))
	require.NoError(t, dead.Close())
	r := run(t, f, everything())
	require.NoError(t, r.end())
	noted, err := journal.InstallationOf(dir)
	require.NoError(t, err)
	assert.Equal(t, "FIRST", noted.ID)
}

// Somebody removes the folder under a process that works: it is made again, and
// belongs to the same installation.
func TestAFolderThatIsMadeAgainIsClaimedAgain(t *testing.T) {
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	r := run(t, f, everything())
	dir := filepath.Join(f.dir, "data", "journal")
	settled := func() (journal.Installation, bool) {
		noted, err := journal.InstallationOf(dir)
		return noted, err == nil && noted.ID != "" && !noted.Unsettled
	}
	eventually(t, "whose the journals are is noted", func() bool { _, ok := settled(); return ok })
	before, _ := settled()
	require.NoError(t, os.RemoveAll(dir))
	eventually(t, "it is noted again", func() bool { _, ok := settled(); return ok })
	after, _ := settled()
	assert.Equal(t, before, after)
	status, answer := r.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(provider.mint(t)))
	require.Equal(t, http.StatusCreated, status, answer)
	require.NoError(t, r.end())
}
