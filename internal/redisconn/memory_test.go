package redisconn

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMemorySaysWhatItCannotPromise(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := open(t, Options{DataDir: dataDir(t), NoServer: true, Log: zerolog.New(&log)})
	assert.Equal(t, KindMemory, c.Kind())
	assert.Equal(t, 10_000, c.MaxCredentials())
	assert.Equal(t, 1, bytes.Count(log.Bytes(), []byte("\n")))
	assert.Contains(t, log.String(), "Install redis-server 7, or set redis.url")

	d := viewOf(t, c).Durability
	assert.False(t, d.EveryWrite())
	id, err := c.Identity(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, id.RunID)
	again, err := c.Identity(t.Context())
	require.NoError(t, err)
	assert.Equal(t, id, again)
}

func TestWithoutRedisServerOnPath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	c, err := Open(t.Context(), Options{DataDir: dataDir(t)})
	require.NoError(t, err)
	assert.Equal(t, KindMemory, c.Kind())
	require.NoError(t, c.Close())
}

func TestMemoryNeedsItsPassword(t *testing.T) {
	t.Parallel()
	c := open(t, Options{DataDir: dataDir(t), NoServer: true})
	stranger := redis.NewClient(&redis.Options{Addr: c.clients.main.Options().Addr, DisableIdentity: true})
	t.Cleanup(func() { assert.NoError(t, stranger.Close()) })
	require.ErrorContains(t, stranger.Get(t.Context(), "rd:x").Err(), "NOAUTH")
}

func TestMemoryIsNotShared(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	open(t, Options{DataDir: dir, NoServer: true})
	_, err := Open(t.Context(), Options{DataDir: dir, NoServer: true})
	require.ErrorIs(t, err, errLocked)
	require.ErrorContains(t, err, "install redis-server, set redis.url, or stop the other one")

	// Nor does a redis-server come to stand beside it.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = openServer(ctx, Options{DataDir: dir}, program(t, "exit 1\n"))
	require.ErrorContains(t, err, "is in use by a refreshd with the in-process store")
}

func TestMemoryTimePasses(t *testing.T) {
	t.Parallel()
	c := open(t, Options{DataDir: dataDir(t), NoServer: true})
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "1", 150*time.Millisecond).Err())
	require.NoError(t, c.Client().Set(t.Context(), "rd:y", "1", time.Hour).Err())
	eventually(t, "the key expires", func() bool { return errors.Is(c.Client().Get(t.Context(), "rd:x").Err(), redis.Nil) })
	assert.Equal(t, "1", c.Client().Get(t.Context(), "rd:y").Val())
}

// fill writes one key of every type that a snapshot holds.
func fill(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	ctx := t.Context()
	binary := string([]byte{0, 1, 0xff, '\r', '\n', 0x80})
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, "rd:{refresh-00}:cred:a", "h", "head "+binary, "s", binary, "empty", "")
		p.ZAdd(ctx, "rd:{refresh-00}:due:acme", redis.Z{Score: 1_767_225_600_123, Member: "a"}, redis.Z{Score: 0.5, Member: binary}, redis.Z{Score: -3, Member: "c"})
		p.XAdd(ctx, &redis.XAddArgs{Stream: "rd:{refresh-00}:events", ID: "1767225600123-0", Values: []string{"e", "one"}})
		p.XAdd(ctx, &redis.XAddArgs{Stream: "rd:{refresh-00}:events", ID: "1767225600123-7", Values: []string{"e", binary, "f", "two"}})
		p.Set(ctx, "rd:{keys}:k", binary, 0)
		p.Set(ctx, "rd:short", "lives", time.Hour)
		p.SAdd(ctx, "rd:set", "x", "y")
		p.RPush(ctx, "rd:list", "b", "a", "b")
		p.Set(ctx, "asynq:{refresh-00}:t", "a hint", 0)
		p.HSet(ctx, "rd:many", many())
		return nil
	})
	require.NoError(t, err)
}

// many is a hash that takes more than one command to rebuild.
func many() map[string]string {
	m := map[string]string{}
	for i := range 3 * chunk {
		m[string([]byte{byte(i), byte(i >> 8)})] = "v"
	}
	return m
}

// check looks for what fill wrote.
func check(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	ctx := t.Context()
	binary := string([]byte{0, 1, 0xff, '\r', '\n', 0x80})
	assert.Equal(t, map[string]string{"h": "head " + binary, "s": binary, "empty": ""}, client.HGetAll(ctx, "rd:{refresh-00}:cred:a").Val())
	assert.Equal(t, []redis.Z{{Score: -3, Member: "c"}, {Score: 0.5, Member: binary}, {Score: 1_767_225_600_123, Member: "a"}},
		client.ZRangeWithScores(ctx, "rd:{refresh-00}:due:acme", 0, -1).Val())
	entries := client.XRange(ctx, "rd:{refresh-00}:events", "-", "+").Val()
	require.Len(t, entries, 2)
	assert.Equal(t, "1767225600123-0", entries[0].ID)
	assert.Equal(t, "1767225600123-7", entries[1].ID)
	assert.Equal(t, map[string]any{"e": binary, "f": "two"}, entries[1].Values)
	assert.Equal(t, binary, client.Get(ctx, "rd:{keys}:k").Val())
	left := client.PTTL(ctx, "rd:short").Val()
	assert.Greater(t, left, 50*time.Minute)
	assert.LessOrEqual(t, left, time.Hour)
	assert.Equal(t, time.Duration(-1), client.PTTL(ctx, "rd:set").Val())
	assert.ElementsMatch(t, []string{"x", "y"}, client.SMembers(ctx, "rd:set").Val())
	assert.Equal(t, []string{"b", "a", "b"}, client.LRange(ctx, "rd:list", 0, -1).Val())
	assert.Zero(t, client.Exists(ctx, "asynq:{refresh-00}:t").Val(), "the queue starts empty")
	assert.Empty(t, cmp.Diff(many(), client.HGetAll(ctx, "rd:many").Val()))
	next, err := client.XAdd(ctx, &redis.XAddArgs{Stream: "rd:{refresh-00}:events", Values: []string{"e", "three"}}).Result()
	require.NoError(t, err)
	assert.Greater(t, next, entries[1].ID, "IDs go on growing")
}

func TestMemorySurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := open(t, Options{DataDir: dir, NoServer: true})
	fill(t, first.Client())
	before, err := first.Identity(t.Context())
	require.NoError(t, err)
	require.NoError(t, first.Close())
	st, err := os.Stat(filepath.Join(dir, snapshotFile))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), st.Mode().Perm())

	second := open(t, Options{DataDir: dir, NoServer: true})
	check(t, second.Client())
	after, err := second.Identity(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, before.RunID, after.RunID, "a restart may have lost something, and shows")
}

func TestMemoryTakesSnapshotsWhileItRuns(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	c := open(t, Options{DataDir: dir, NoServer: true})
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "1", 0).Err())
	eventually(t, "a snapshot holds the key", func() bool {
		snap, _, err := readSnapshot(filepath.Join(dir, snapshotFile))
		return err == nil && len(snap.Keys) == 1 && snap.Keys[0].Key == "rd:x"
	})
}

func TestSnapshotIsReplacedOnlyWhenSomethingChanged(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	c := open(t, Options{DataDir: dir, NoServer: true})
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "1", 0).Err())
	m := &memory{admin: c.clients.main, path: filepath.Join(t.TempDir(), "s")}
	require.NoError(t, m.save(t.Context()))
	require.NoError(t, os.Remove(m.path))
	require.NoError(t, m.save(t.Context()))
	require.NoFileExists(t, m.path)
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "2", 0).Err())
	require.NoError(t, m.save(t.Context()))
	require.FileExists(t, m.path)
}

func TestSnapshotThatCannotBeHeld(t *testing.T) {
	t.Parallel()
	c, err := Open(t.Context(), Options{DataDir: dataDir(t), NoServer: true})
	require.NoError(t, err)
	require.NoError(t, c.Client().PFAdd(t.Context(), "rd:x", "1").Err())
	require.ErrorContains(t, c.Close(), "a snapshot cannot hold")
}

func TestKeysThatDiedMeanwhileAreNotRestored(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_000_000)
	got := commands(snapshot{Keys: []snapshotKey{
		{Key: "rd:dead", Type: "string", ExpiresAt: 1_000_000, Values: []string{"x"}},
		{Key: "rd:alive", Type: "string", ExpiresAt: 1_000_001, Values: []string{"y"}},
	}}, now)
	assert.Equal(t, [][]any{{"SET", "rd:alive", "y"}, {"PEXPIREAT", "rd:alive", int64(1_000_001)}}, got)
}

func TestBrokenSnapshotIsNotTakenForAnEmptyStore(t *testing.T) {
	t.Parallel()
	whole, err := encodeSnapshot(snapshot{Keys: []snapshotKey{{Key: "rd:x", Type: "string", Values: []string{"1"}}}})
	require.NoError(t, err)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-1] ^= 1
	for name, data := range map[string][]byte{
		"empty": {}, "cut off": whole[:len(whole)-1], "flipped": flipped, "of another format": []byte("refreshd snapshot 2\n"), "short": []byte(snapshotMagic),
	} {
		dir := dataDir(t)
		require.NoError(t, os.MkdirAll(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, snapshotFile), data, 0o600))
		_, err := Open(t.Context(), Options{DataDir: dir, NoServer: true})
		require.ErrorContains(t, err, "move it away to start empty", name)
		kept, err := os.ReadFile(filepath.Join(dir, snapshotFile))
		require.NoError(t, err)
		assert.Equal(t, data, kept, name)
	}
}

func TestServerTakesOverWhatMemoryHeld(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	before := open(t, Options{DataDir: dir, NoServer: true})
	fill(t, before.Client())
	require.NoError(t, before.Close())

	var log bytes.Buffer
	after := open(t, Options{DataDir: dir, Log: zerolog.New(&log)})
	check(t, after.Client())
	assert.Contains(t, log.String(), "has taken over")
	assert.NoFileExists(t, filepath.Join(dir, snapshotFile))
	imported := filepath.Join(dir, snapshotFile+".imported")
	require.FileExists(t, imported)
	require.NoError(t, after.Close())

	// We ended between taking it over and renaming it: not taken over twice.
	require.NoError(t, os.Rename(imported, filepath.Join(dir, snapshotFile)))
	again := open(t, Options{DataDir: dir})
	assert.EqualValues(t, 3, again.Client().XLen(t.Context(), "rd:{refresh-00}:events").Val())
	require.FileExists(t, imported)
	require.NoError(t, again.Close())

	// Without redis-server the newer data would be passed over.
	_, err := Open(t.Context(), Options{DataDir: dir, NoServer: true})
	require.ErrorContains(t, err, "holds the data of a redis-server")
}

func TestServerAndSnapshotThatBothHoldCredentials(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	c := open(t, Options{DataDir: dir})
	require.NoError(t, c.Client().Set(t.Context(), "rd:x", "server", 0).Err())
	require.NoError(t, c.Close())
	data, err := encodeSnapshot(snapshot{Keys: []snapshotKey{{Key: "rd:x", Type: "string", Values: []string{"memory"}}}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, snapshotFile), data, 0o600))
	_, err = Open(t.Context(), Options{DataDir: dir})
	require.ErrorContains(t, err, "move away the one that is out of date")
}

// FuzzSnapshot: whatever is in the file, reading it ends in an answer, and
// what it answers can be written again.
func FuzzSnapshot(f *testing.F) {
	whole, err := encodeSnapshot(snapshot{Keys: []snapshotKey{{Key: "rd:x", Type: "stream", Entries: []snapshotEntry{{ID: "1-0", Fields: []string{"e", "x"}}}}}})
	require.NoError(f, err)
	f.Add(whole)
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		snap, err := decodeSnapshot(data)
		if err != nil {
			return
		}
		again, err := encodeSnapshot(snap)
		require.NoError(t, err)
		same, err := decodeSnapshot(again)
		require.NoError(t, err)
		require.Equal(t, snap, same)
		commands(snap, time.Now())
	})
}
