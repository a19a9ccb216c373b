package app

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// beside is a second configuration with the data_dir and the keyset of f, on the
// Redis at a URL.
func (f *folder) beside(t *testing.T, redis string) *folder {
	t.Helper()
	other := &folder{dir: t.TempDir(), config: maps.Clone(f.config)}
	other.config["data_dir"] = filepath.Join(f.dir, "data")
	other.config["keyset"] = map[string]any{"file": filepath.Join(f.dir, "keyset.json")}
	other.config["redis"] = map[string]any{"url": redis}
	other.write(t, "client.secret", clientSecret)
	return other
}

func connect(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}

// While a process lives that has just given its Redis a name, another one with the
// same data_dir is refused on another empty Redis, and changes nothing of the first
// one's. On a Redis that knows the living one it goes on, though that was emptied.
func TestASecondRedisForAFolderInUseIsRefused(t *testing.T) {
	empty := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec"})
	f := newFolder(t, startProvider(t).url+"/token").beside(t, empty.URL())
	data := filepath.Join(f.dir, "data")
	f.config["data_dir"] = data
	dir := filepath.Join(data, "journal")
	require.NoError(t, journal.Claim(dir, "FIRST"))
	first, err := journal.BeginFirstStart(t.Context(), dir)
	require.NoError(t, err)
	require.NoError(t, first.Note("FIRST", "redis://right.example:6379"))
	living, err := journal.Create(dir, "living", journal.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, living.Close()) })
	require.NoError(t, first.End())
	files := map[string]string{filepath.Join(data, "admin.key"): "a key of the first one\n"}
	require.NoError(t, os.WriteFile(filepath.Join(data, "admin.key"), []byte("a key of the first one\n"), 0o600))
	for _, name := range []string{"installation", "living.wal"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		files[filepath.Join(dir, name)] = string(content)
	}

	refused := begin(t, f, everything())
	<-refused.ended
	require.ErrorAs(t, refused.err, new(*journal.ElsewhereError))
	for _, word := range []string{dir, "FIRST", "living", "redis://right.example:6379", empty.URL()} {
		require.ErrorContains(t, refused.err, word)
	}
	client := connect(t, empty.URL())
	there, err := store.Described(t.Context(), client)
	require.NoError(t, err)
	assert.False(t, there, "it was not made an installation")
	for path, before := range files {
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, before, string(after), path)
	}

	require.NoError(t, client.HSet(t.Context(), "rd:owners", "living", 1).Err())
	r := begin(t, f, everything())
	r.log.await(t, 1, `"message":"ready"`)
	name, err := store.Installation(t.Context(), client)
	require.NoError(t, err)
	assert.Equal(t, "FIRST", name, "the living one knows it by that name")
	require.NoError(t, r.end())
}

// Of two that start at once with one data_dir, each on an empty Redis of its own,
// one goes on. On one Redis both do.
func TestTwoFirstStartsAtOnce(t *testing.T) {
	for name, apart := range map[string]bool{"two Redis": true, "one Redis": false} {
		t.Run(name, func(t *testing.T) {
			server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec"})
			url := server.URL()
			if apart {
				url = testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec"}).URL()
			}
			provider := startProvider(t)
			shared := newFolder(t, provider.url+"/token")
			both := []*running{begin(t, shared.beside(t, server.URL()), everything()), begin(t, shared.beside(t, url), everything())}
			urls := []string{server.URL(), url}
			ready := func(r *running) bool { return strings.Contains(r.log.String(), `"message":"ready"`) }
			over := func(r *running) bool {
				select {
				case <-r.ended:
					return true
				default:
					return ready(r)
				}
			}
			eventually(t, "both are ready, or refused", func() bool { return over(both[0]) && over(both[1]) })
			went := 0
			for i, r := range both {
				if ready(r) {
					went++
					continue
				}
				require.ErrorContains(t, r.err, "/data/journal")
				there, err := store.Described(t.Context(), connect(t, urls[i]))
				require.NoError(t, err)
				assert.False(t, there)
			}
			if apart {
				assert.Equal(t, 1, went)
			} else {
				assert.Equal(t, 2, went)
			}
		})
	}
}
