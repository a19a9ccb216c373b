package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/testproc"
)

// rotateNow has a keyset file use new keys at once.
func rotateNow(t *testing.T, path string) {
	t.Helper()
	_, _, err := seal.Rotate(path, seal.RotateOptions{Now: true, At: time.Now()})
	require.NoError(t, err)
}

// keyMaterial is what of a keyset file must be seen nowhere.
func keyMaterial(t *testing.T, path string) []string {
	t.Helper()
	type keys struct {
		Key []struct {
			KeyData struct {
				Value string `json:"value"`
			} `json:"keyData"`
		} `json:"key"`
	}
	var file struct {
		AEAD keys `json:"aead"`
		PRF  keys `json:"prf"`
	}
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &file))
	var list []string
	for _, key := range append(file.AEAD.Key, file.PRF.Key...) {
		require.Greater(t, len(key.KeyData.Value), 32)
		list = append(list, key.KeyData.Value, key.KeyData.Value[8:24])
	}
	require.NotEmpty(t, list)
	return list
}

// A journal that was sealed before a rotation is adopted after it, also one
// that was sealed with the new key by a process that no longer lives.
func TestJournalsOfBothSidesOfARotationAreAdopted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	keys, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	dir, want := filepath.Join(t.TempDir(), "journal"), newStory()
	want.tell(t, dir, keys)
	rotateNow(t, path)
	changed, err := keys.Reload(path, func(*seal.Keyset) error { return nil })
	require.NoError(t, err)
	require.True(t, changed)
	me := openJournal(t, dir, "alive", keys)
	for range 2 {
		found, err := me.Adopt(t.Context())
		require.NoError(t, err)
		require.Len(t, found, 1)
		assert.Equal(t, want.kept, found[0].Kept, "to the last byte")
		assert.Equal(t, want.changes, found[0].Changes)
		require.NoError(t, found[0].Remove())
		want.tell(t, dir, keys) // with the new key
	}
}

// refresher refreshes a credential through one process after the other until
// it is told to stop, and counts.
type refresher struct {
	wg     sync.WaitGroup
	done   chan struct{}
	rounds atomic.Int64
}

func (x *refresher) run(t *testing.T, id string, processes ...*running) {
	t.Helper()
	x.wg.Go(func() {
		for {
			for _, r := range processes {
				if status, answer := r.call(http.MethodPost, "/v1/credentials/"+id+"/refresh", map[string]any{}); status != http.StatusOK {
					assert.Equal(t, http.StatusOK, status, "%s: %v", id, answer)
					return
				}
			}
			x.rounds.Add(1)
			select {
			case <-x.done:
				return
			default:
			}
		}
	})
}

// Two processes share a Redis and a keyset file, which is rotated while both
// refresh the same credentials.
func TestKeysetRotatesUnderTwoServices(t *testing.T) {
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": redis.URL()}
	one := run(t, f, everything())
	two := begin(t, f, everything())
	two.base, two.key = "http://"+two.log.await(t, 1, `"listen":"([^"]*)".*"message":"ready"`)[1], one.key
	opts := KeysetOptions{Config: filepath.Join(f.dir, "config.yaml")}
	path, keys, err := ShowKeyset(opts)
	require.NoError(t, err)
	require.Len(t, keys, 2)
	oldest, newest := filepath.Join(f.dir, "oldest.json"), filepath.Join(f.dir, "newest.json")
	require.NoError(t, os.Link(path, oldest))

	ids := []string{"run:alice", "run:bob", "run:carol"}
	x := &refresher{done: make(chan struct{})}
	minted := make([]practice.Minted, len(ids))
	for i, id := range ids {
		minted[i] = provider.mint(t)
		status, answer := one.call(http.MethodPut, "/v1/credentials/"+id, loginBody(minted[i]))
		require.Equal(t, http.StatusCreated, status, answer)
		x.run(t, id, one, two)
	}
	status, answer := one.call(http.MethodPut, "/v1/credentials/run:idle", loginBody(provider.mint(t)))
	require.Equal(t, http.StatusCreated, status, answer)
	round := func() { // that began after now
		from := x.rounds.Load()
		eventually(t, "two rounds", func() bool { return t.Failed() || x.rounds.Load() > from+int64(2*len(ids)) })
	}
	round()
	done, err := RotateKeyset(opts, true, false)
	require.NoError(t, err)
	assert.Equal(t, RotationStage, done.Step)
	for _, r := range []*running{one, two} {
		r.log.await(t, 1, `"staged":2.*the keyset was loaded again`) // by the watch
	}
	_, err = RotateKeyset(opts, false, false)
	if err != nil {
		require.ErrorContains(t, err, "or with --now if", "only if it came too soon")
	}
	round()
	done, err = RotateKeyset(opts, false, true)
	require.NoError(t, err)
	assert.Contains(t, []string{RotationPromote, RotationReplace}, done.Step)
	one.reload <- struct{}{} // the other one a moment later, as it comes
	one.log.await(t, 1, `"staged":0.*the keyset was loaded again`)
	round()
	two.log.await(t, 1, `"staged":0.*the keyset was loaded again`)
	round()
	close(x.done)
	x.wg.Wait()

	// Everything is readable for both, before everything is sealed again and after.
	read := func() []any {
		var versions []any
		for _, r := range []*running{one, two} {
			for _, id := range append(ids, "run:idle") {
				status, answer := r.call(http.MethodGet, "/v1/credentials/"+id+"/token", nil)
				require.Equal(t, http.StatusOK, status, answer)
				versions = append(versions, answer["version"], answer["access_token"])
			}
		}
		return versions
	}
	before := read()
	rekeyed, err := Rekey(t.Context(), opts)
	require.NoError(t, err)
	assert.Equal(t, 4, rekeyed.Records)
	assert.True(t, rekeyed.Settled)
	assert.Empty(t, rekeyed.Failed)
	assert.GreaterOrEqual(t, rekeyed.Resealed, 1, "the idle one at least")
	assert.Equal(t, 2, rekeyed.Journals)
	require.GreaterOrEqual(t, len(rekeyed.Keys), 4)
	assert.Equal(t, "old", rekeyed.Keys[0].Status)
	assert.Contains(t, rekeyed.Keys[0].Needed, "nothing in Redis")
	assert.Equal(t, before, read(), "the same versions of the same tokens")
	again, err := Rekey(t.Context(), opts)
	require.NoError(t, err)
	assert.Zero(t, again.Resealed)
	for i, one := range minted {
		for _, entry := range provider.Ledger(practice.LedgerQuery{Grant: one.Grant}) {
			assert.Equal(t, "rotated", string(entry.Outcome), ids[i])
		}
	}

	// A file that lacks what is in use is refused, and nothing breaks.
	require.NoError(t, os.Link(path, newest))
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Link(oldest, path))
	two.reload <- struct{}{}
	two.log.await(t, 1, `"level":"error".*lacks keys that are in use.*the keyset was not loaded again, the old one stays in force`)
	status, answer = two.call(http.MethodPost, "/v1/credentials/run:idle/refresh", map[string]any{})
	require.Equal(t, http.StatusOK, status, answer)

	// Who has only the old keyset does not start.
	late := newFolder(t, provider.url+"/token")
	late.config["redis"], late.config["keyset"] = f.config["redis"], map[string]any{"file": oldest}
	refused := begin(t, late, everything())
	<-refused.ended
	require.ErrorContains(t, refused.err, "point keyset.file at that one, or at a rotation of it")
	_, err = Rekey(t.Context(), KeysetOptions{Config: filepath.Join(late.dir, "config.yaml")})
	require.ErrorContains(t, err, "point keyset.file at that one")
	require.NoError(t, os.Rename(newest, path))

	require.NoError(t, one.end())
	require.NoError(t, two.end())
	for _, r := range []*running{one, two, refused} {
		without(t, r.log.String(), keyMaterial(t, path)...)
	}
	printed, err := json.Marshal([]any{done, rekeyed, keys})
	require.NoError(t, err)
	without(t, string(printed)+fmt.Sprint(refused.err), keyMaterial(t, path)...)
}

// A machine with a keyset file of its own that a rotation has passed by is told which
// key it lacks, and goes on once it has the file of the others.
func TestAMachineThatMissedARotationIsToldTheKey(t *testing.T) {
	t.Parallel()
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	path, copied := filepath.Join(f.dir, "rotated.json"), filepath.Join(f.dir, "copied.json")
	_, _, err := seal.Open(path, seal.Options{})
	require.NoError(t, err)
	require.NoError(t, os.Link(path, copied))
	f.config["redis"], f.config["keyset"] = map[string]any{"url": redis.URL()}, map[string]any{"file": path}
	one := run(t, f, everything())
	other := newFolder(t, provider.url+"/token")
	other.config["redis"], other.config["keyset"] = f.config["redis"], map[string]any{"file": copied}
	two := begin(t, other, everything())
	two.base, two.key = "http://"+two.log.await(t, 1, `"listen":"([^"]*)".*"message":"ready"`)[1], one.key

	rotateNow(t, path)
	one.reload <- struct{}{}
	one.log.await(t, 1, `the keyset was loaded again`)
	_, keys, err := ShowKeyset(KeysetOptions{Config: filepath.Join(f.dir, "config.yaml")})
	require.NoError(t, err)
	sealing := slices.IndexFunc(keys, func(key KeyInfo) bool { return key.Use == "seal" && key.Status == "primary" })
	require.GreaterOrEqual(t, sealing, 0)
	status, answer := one.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(provider.mint(t)))
	require.Equal(t, http.StatusCreated, status, answer)

	lacks := fmt.Sprintf("it is sealed with key %d, which the keyset of this machine lacks; give it the keyset.file of the others", keys[sealing].ID)
	status, answer = two.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(provider.mint(t)))
	assert.Equal(t, http.StatusServiceUnavailable, status, answer)
	assert.Contains(t, answer["detail"], "it cannot be done now: "+lacks)
	status, answer = two.call(http.MethodGet, "/v1/credentials/run:alice/token", nil)
	assert.Equal(t, http.StatusServiceUnavailable, status, answer)
	assert.Contains(t, answer["detail"], "no valid token can be had now: "+lacks)

	require.NoError(t, os.Link(path, copied+".new"))
	require.NoError(t, os.Rename(copied+".new", copied))
	two.reload <- struct{}{}
	two.log.await(t, 1, `the keyset was loaded again`)
	status, answer = two.call(http.MethodPut, "/v1/credentials/run:alice", loginBody(provider.mint(t)))
	assert.Equal(t, http.StatusOK, status, answer)
	require.NoError(t, one.end())
	require.NoError(t, two.end())
}

// A rotation that Redis cannot be told of is taken over once it can.
func TestKeysetWaitsForRedis(t *testing.T) {
	redis := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	f := newFolder(t, "https://id.acme.example/token")
	f.config["redis"] = map[string]any{"url": redis.URL()}
	r := run(t, f, everything())
	path, _, err := ShowKeyset(KeysetOptions{Config: filepath.Join(f.dir, "config.yaml")})
	require.NoError(t, err)
	require.NoError(t, redis.Stop())
	rotateNow(t, path)
	r.reload <- struct{}{}
	r.log.await(t, 1, `the keyset was not loaded again`)
	assert.NotContains(t, r.log.String(), `the keyset was loaded again`)
	require.NoError(t, redis.Restart(t.Context()))
	r.log.await(t, 1, `the keyset was loaded again`)
	require.NoError(t, r.end())
}

func TestKeysetCommandsRefuseWhatTheyCannotDo(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "https://id.acme.example/token")
	opts := KeysetOptions{Config: f.save(t)}
	_, _, err := ShowKeyset(opts)
	require.ErrorContains(t, err, "REFRESHD_KEYSET_FILE")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = RotateKeyset(opts, false, true)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = Rekey(t.Context(), opts)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.NoDirExists(t, filepath.Join(f.dir, "data"))

	path := filepath.Join(f.dir, "keys", "keyset.json")
	_, _, err = seal.Open(path, seal.Options{})
	require.NoError(t, err)
	opts.Env = []string{"REFRESHD_KEYSET_FILE=" + path}
	_, err = Rekey(t.Context(), opts)
	require.ErrorContains(t, err, "data_dir, which holds the embedded Redis")
	assert.NoDirExists(t, filepath.Join(f.dir, "data"))

	rotation, err := RotateKeyset(opts, false, false)
	require.NoError(t, err)
	assert.Equal(t, path, rotation.File)
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour))) // as good as just now
	_, err = RotateKeyset(opts, false, false)
	require.ErrorContains(t, err, "run this again in 15s, or with --now if no process runs")

	// A Redis without an installation.
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	opts.Env = append(opts.Env, "REFRESHD_REDIS_URL="+server.URL())
	_, err = Rekey(t.Context(), opts)
	require.ErrorContains(t, err, "holds nothing of refreshd")
}
