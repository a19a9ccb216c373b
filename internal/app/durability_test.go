package app

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
)

// viewOf is a healthy server with that setting of appendfsync.
func viewOf(fsync string) redisconn.View {
	return redisconn.View{
		Kind: redisconn.KindExternal, At: time.Now(), Role: "master", GoodReplicas: -1,
		Identity: redisconn.Identity{RunID: "run", ReplID: "repl", Version: "7.2.4"},
		Durability: redisconn.Durability{
			AppendOnly: "yes", AppendFsync: fsync, Save: "never", LazyFsync: "no", MaxmemoryPolicy: "noeviction", WaitAOF: true,
		},
	}
}

func evicting(v redisconn.View) redisconn.View {
	v.Durability.MaxmemoryPolicy = "allkeys-lru"
	return v
}

var errAway = errors.New("away")

func TestDurabilityIsKeptOverAnOutage(t *testing.T) {
	t.Parallel()
	d := durability{}.next(viewOf("everysec"), nil)
	assert.Equal(t, redisconn.LevelEverySecond, d.level)
	assert.Equal(t, 10*time.Second, d.loss)
	assert.Equal(t, store.Confirm{Enough: true, AOF: true, Timeout: confirmWithin}, d.confirm(5*time.Second))
	assert.Equal(t, 50*time.Millisecond, d.confirm(100*time.Millisecond).Timeout, "what must be sent soon waits less")
	assert.Equal(t, api.Check{Name: "durability", OK: true, Detail: d.words()}, d.check())

	away := d.next(redisconn.View{}, errAway)
	assert.Equal(t, 10*time.Second, away.loss, "what was not durable then is not now")
	assert.Equal(t, store.Confirm{}, away.confirm(time.Second), "nothing is confirmed")
	assert.False(t, away.check().OK)
	assert.Contains(t, away.check().Detail, "not reachable; before: appendfsync everysec")

	back := away.next(evicting(viewOf("always")), nil)
	assert.False(t, back.away)
	assert.Zero(t, back.loss)
	assert.False(t, back.check().OK)
	assert.Contains(t, back.check().Detail, "maxmemory-policy allkeys-lru: it throws credentials away when memory runs short")
	assert.Contains(t, back.check().Detail, "CONFIG SET maxmemory-policy noeviction")
	require.Len(t, back.trouble(), 1)
	assert.Equal(t, "eviction", back.trouble()[0].Topic)
	assert.Equal(t, "fail", back.trouble()[0].Severity)
	assert.Empty(t, back.next(viewOf("always"), nil).trouble())
}

func TestDurabilityBeforeAnythingIsKnown(t *testing.T) {
	t.Parallel()
	var w redisWatch
	assert.Equal(t, time.Minute, w.load().loss)
	assert.False(t, w.load().check().OK)
}

func TestEveryLevelHasWords(t *testing.T) {
	t.Parallel()
	said := map[string]bool{}
	for _, level := range redisconn.Levels() {
		said[durability{level: level}.words()] = true
	}
	assert.Len(t, said, len(redisconn.Levels()))
}

// TestDurabilityIsToldOnce: a change has a line, its lasting has none.
func TestDurabilityIsToldOnce(t *testing.T) {
	t.Parallel()
	another := func(v redisconn.View) redisconn.View { v.Identity.RunID = "another"; return v }
	steps := []struct {
		view redisconn.View
		err  error
		want []string // part of each line
	}{
		{viewOf("always"), nil, nil},
		{viewOf("always"), nil, nil},
		{evicting(viewOf("always")), nil, []string{`"level":"warn".*"topic":"eviction","severity":"fail".*maxmemory-policy allkeys-lru`}},
		{evicting(viewOf("always")), nil, nil},
		{redisconn.View{}, errAway, nil},
		{evicting(viewOf("always")), nil, nil},
		{viewOf("always"), nil, []string{`"level":"info".*"topic":"eviction".*no longer so: maxmemory-policy allkeys-lru`}},
		{viewOf("everysec"), nil, []string{`"before":"every_write","durability":"every_second"`}},
		{another(viewOf("everysec")), nil, []string{`"topic":"run","severity":"warn"`}},
		{another(viewOf("everysec")), nil, nil},
	}
	d := durability{}.next(viewOf("always"), nil)
	for i, step := range steps {
		var out bytes.Buffer
		next := d.next(step.view, step.err)
		tellDurability(zerolog.New(&out), d, next)
		d = next
		lines := strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' })
		require.Len(t, lines, len(step.want), "step %d: %s", i, out.String())
		for n, want := range step.want {
			assert.Regexp(t, want, lines[n], "step %d", i)
		}
	}
}

func TestRecoveryOf(t *testing.T) {
	t.Parallel()
	roster := credential.Roster{Settled: "run-1", Members: map[string]credential.Member{
		"b": {Beat: 1, Place: "p", Ready: "run-2"}, "a": {Beat: 1, Ready: "run-1"}, "me": {Beat: 1, Place: "p", Ready: "run-2"},
	}}
	open := map[string][]credential.ID{"b": {"x", "y"}, "dead": {"z"}}
	assert.Equal(t, api.RecoveryStatus{
		Open: 3,
		Processes: []api.ProcessStatus{
			{Owner: "me", Self: true, Listed: true, Journal: true, Ready: true},
			{Owner: "a", Listed: true},
			{Owner: "b", Listed: true, Journal: true, Ready: true, Open: 2},
			{Owner: "dead", Open: 1},
		},
	}, recoveryOf("me", "run-2", roster, open))
	assert.Equal(t, api.RecoveryStatus{Settled: true, Processes: []api.ProcessStatus{}}, recoveryOf("me", "", credential.Roster{}, nil))
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
	r.log.await(t, 1, `"topic":"eviction","severity":"fail".*"message":"Redis: maxmemory-policy allkeys-lru"`)
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
	r.log.await(t, 1, `"before":"every_write","durability":"memory"`)
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
