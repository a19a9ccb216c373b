package app

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
)

// promised is what a keeper knows after one look at a server.
func promised(v redisconn.View) redisconn.Promise {
	return redisconn.Promise{View: v, Level: v.Level(), Loss: redisconn.LossWindow(v, redisconn.View{}), Findings: redisconn.Assess(v, redisconn.View{})}
}

// viewOf is a healthy server with that policy.
func viewOf(policy string) redisconn.View {
	return redisconn.View{
		Kind: redisconn.KindExternal, At: time.Now(), Role: "master", GoodReplicas: -1,
		Identity: redisconn.Identity{RunID: "run", ReplID: "repl", Version: "7.2.4"},
		Durability: redisconn.Durability{
			AppendOnly: "yes", AppendFsync: "everysec", Save: "never", LazyFsync: "no", MaxmemoryPolicy: policy, WaitAOF: true,
		},
	}
}

func TestPromisesAsTheStoreAndTheAPITakeThem(t *testing.T) {
	t.Parallel()
	p := promised(viewOf("noeviction"))
	assert.Equal(t, store.Confirm{Enough: true, AOF: true, Timeout: confirmWithin}, confirm(p, 5*time.Second))
	assert.Equal(t, 50*time.Millisecond, confirm(p, 100*time.Millisecond).Timeout, "what must be sent soon waits less")
	assert.Equal(t, api.Check{Name: "durability", OK: true, Detail: p.Words()}, durabilityCheck(p))
	assert.Empty(t, findings(p))

	p.Away = true
	assert.Equal(t, store.Confirm{}, confirm(p, time.Second), "nothing is confirmed")
	assert.False(t, durabilityCheck(p).OK)
	assert.Contains(t, durabilityCheck(p).Detail, "not reachable; before: appendfsync everysec")

	p = promised(viewOf("allkeys-lru"))
	assert.False(t, durabilityCheck(p).OK)
	assert.Contains(t, durabilityCheck(p).Detail, "maxmemory-policy allkeys-lru: it throws credentials away when memory runs short")
	assert.Contains(t, durabilityCheck(p).Detail, "CONFIG SET maxmemory-policy noeviction")
	require.Len(t, findings(p), 1)
	assert.Equal(t, "eviction", findings(p)[0].Topic)
	assert.Equal(t, "fail", findings(p)[0].Severity)
}

// What keeps the journal from being written keeps everything from being begun, and
// is told with the folder and the remedy.
func TestTroubleWithTheJournalIsAFinding(t *testing.T) {
	t.Parallel()
	assert.Nil(t, journalFinding(nil, "/data/journal"))
	assert.Nil(t, journalFinding(journal.ErrClosed, "/data/journal"))
	for cause, want := range map[error]string{
		journal.ErrNoRoom: "finds no room: its disk is full", journal.ErrBroken: "cannot be written", journal.ErrStalled: "does not answer",
	} {
		f := journalFinding(fmt.Errorf("somewhere: %w", cause), "/data/journal")
		require.NotNil(t, f)
		assert.Equal(t, "journal", f.Topic)
		assert.Equal(t, "fail", f.Severity)
		assert.Contains(t, f.What, "the journal in /data/journal "+want)
		assert.Contains(t, f.Consequence, "could not be kept")
		assert.Contains(t, f.Remedy, "the disk of data_dir")
	}
}

// A journal that cannot be taken up keeps the service from nothing else. Whoever asks
// how it is hears of the file and of the remedy, for as long as that is so.
func TestAJournalThatCannotBeReadIsAFinding(t *testing.T) {
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	path := filepath.Join(f.dir, "data", "journal", "dead.wal")
	require.NoError(t, os.MkdirAll(path, 0o700))
	r := run(t, f, everything())
	status, ready := r.call(http.MethodGet, "/readyz", nil)
	assert.Equal(t, http.StatusOK, status, "valid tokens can be served all the same")
	told := fmt.Sprint(ready["findings"])
	assert.Contains(t, told, "topic:journal")
	assert.Contains(t, told, path)
	assert.Contains(t, told, "chown")
	require.NoError(t, os.Remove(path))
	r.log.await(t, 1, "the journals that could not be read can be, or are gone")
	_, ready = r.call(http.MethodGet, "/readyz", nil)
	assert.NotContains(t, fmt.Sprint(ready["findings"]), "topic:journal")
	require.NoError(t, r.end())
}

// seenJournals is a folder of journals: there, and locked or not.
type seenJournals map[string]bool

func (seenJournals) Place() string { return "this folder" }

func (s seenJournals) Owners() ([]string, error) { return slices.Sorted(maps.Keys(s)), nil }

func (s seenJournals) Look(owner string) (there, locked bool, err error) {
	if owner == "hidden" {
		return false, false, os.ErrPermission
	}
	locked, there = s[owner]
	return there, locked, nil
}

// Who is waited for is named with what is seen of him from here, so that a person
// knows on which machine to look, and at which file.
func TestThoseWhoAreWaitedForAreNamedWithTheirFiles(t *testing.T) {
	t.Parallel()
	folder := seenJournals{"stopped": true, "dead": false}
	assert.Equal(t, []string{
		"stopped (on alpha, where /data/journal/stopped.wal is locked: it is not dead)",
		"dead (on alpha, where it has left /data/journal/dead.wal)",
		"away (elsewhere: it has no journal in /data/journal on alpha)",
		"hidden (/data/journal/hidden.wal cannot be looked at on alpha)",
	}, seenFrom(folder, "/data/journal", "alpha", []string{"stopped", "dead", "away", "hidden"}))
	assert.Equal(t, []string{"stopped"}, seenFrom(noJournals{}, "/data/journal", "alpha", []string{"stopped"}), "who has no folder sees nobody")
	assert.Empty(t, seenFrom(folder, "/data/journal", "alpha", nil))
}

// TestServiceNoticesWhatItsRedisBecomes: an operator changes a Redis that was
// fit at the start, and the service says so while it goes on.
func TestServiceNoticesWhatItsRedisBecomes(t *testing.T) {
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	r := run(t, f, everything())
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })

	status, ready := r.call(http.MethodGet, "/readyz", nil)
	require.Equal(t, http.StatusOK, status)
	assert.Nil(t, ready["findings"])
	_, answer := r.call(http.MethodGet, "/v1/status", nil)
	assert.Contains(t, fmt.Sprint(answer["redis"]), "level:every_write")
	assert.Contains(t, fmt.Sprint(answer["redis"]), "begin_confirmed:true")
	assert.Contains(t, fmt.Sprint(answer["recovery"]), "settled:true")

	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	r.log.await(t, 1, `"level":"error".*"topic":"eviction","severity":"fail".*"message":"Redis: maxmemory-policy allkeys-lru"`)
	status, ready = r.call(http.MethodGet, "/readyz", nil)
	assert.Equal(t, http.StatusOK, status, "valid tokens can be served all the same")
	assert.Contains(t, fmt.Sprint(ready["checks"]), "CONFIG SET maxmemory-policy noeviction")
	assert.Contains(t, fmt.Sprint(ready["findings"]), "topic:eviction")
	metrics := r.metrics(t)
	assert.Contains(t, metrics, `refreshd_redis_findings{severity="fail"} 1`)
	assert.Contains(t, metrics, `refreshd_redis_durability{level="every_write"} 1`)

	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err())
	r.log.await(t, 1, `"topic":"eviction".*no longer so`)
	require.NoError(t, client.ConfigSet(t.Context(), "appendonly", "no").Err())
	r.log.await(t, 1, `"topic":"persistence","severity":"fail"`)
	r.log.await(t, 1, `"before":"every_write","durability":"memory","loss_window":"24h0m0s"`)
	_, answer = r.call(http.MethodGet, "/v1/status", nil)
	assert.Contains(t, fmt.Sprint(answer["redis"]), "loss_window_seconds:86400")
	require.NoError(t, r.end())
}

func (r *running) metrics(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.base+"/metrics", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+r.key)
	resp, err := r.client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(resp.Body)
	require.NoError(t, err)
	return text.String()
}

// TestStatusWhileRedisIsAway: what is configured and what was known is told all
// the same, and that Redis is away, and since when.
func TestStatusWhileRedisIsAway(t *testing.T) {
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	provider := startProvider(t)
	f := newFolder(t, provider.url+"/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	r := run(t, f, everything())
	_, before := r.call(http.MethodGet, "/v1/status", nil)
	require.Nil(t, before["as_of"])
	require.NoError(t, server.Stop())

	for range 2 { // at once, and when the watch has noticed
		status, told := r.call(http.MethodGet, "/v1/status", nil)
		require.Equal(t, http.StatusOK, status, told)
		assert.Contains(t, fmt.Sprint(told["redis"]), "reachable:false")
		assert.Contains(t, fmt.Sprint(told["redis"]), "away_since:20")
		assert.NotEmpty(t, told["as_of"])
		assert.Contains(t, fmt.Sprint(told["recovery"]), "settled:true")
		assert.Contains(t, fmt.Sprint(told["recovery"]), "self:true")
		assert.Contains(t, fmt.Sprint(told["providers"]), "name:acme")
		assert.Contains(t, fmt.Sprint(told["providers"]), "schedule:@every 15m")
		assert.Contains(t, fmt.Sprint(told["providers"]), "next_at:20")
		assert.Equal(t, []any{}, told["queues"])
		eventually(t, "the watch notices", func() bool { return strings.Contains(r.metrics(t), "refreshd_redis_up 0") })
	}
	_, ready := r.call(http.MethodGet, "/readyz", nil)
	assert.Contains(t, fmt.Sprint(ready["checks"]), "not reachable since 20")
	for _, path := range []string{"/v1/credentials", "/v1/credentials/acme:nobody/token"} {
		status, problem := r.call(http.MethodGet, path, nil)
		assert.Equal(t, http.StatusServiceUnavailable, status)
		assert.Contains(t, problem["detail"], "Redis cannot be reached, and this needs it: start it", path)
	}

	require.NoError(t, server.Restart(t.Context()))
	eventually(t, "it tells of it", func() bool {
		_, told := r.call(http.MethodGet, "/v1/status", nil)
		return told["as_of"] == nil && strings.Contains(fmt.Sprint(told["redis"]), "reachable:true")
	})
	eventually(t, "the watch notices", func() bool { return strings.Contains(r.metrics(t), "refreshd_redis_up 1") })
	_, told := r.call(http.MethodGet, "/v1/status", nil)
	assert.NotContains(t, fmt.Sprint(told["redis"]), "away_since")
	require.NoError(t, r.end())
}
