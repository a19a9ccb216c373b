package redisconn

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/testproc"
)

func viewOf(t *testing.T, c *Conn) View {
	t.Helper()
	v, err := c.View(t.Context())
	require.NoError(t, err)
	return v
}

func TestViewOfARealServer(t *testing.T) {
	t.Parallel()
	r := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "everysec", Args: []string{"--min-replicas-to-write", "0"}})
	c := open(t, Options{URL: credential.NewSecret(r.URL())})
	v := viewOf(t, c)
	assert.Equal(t, KindExternal, v.Kind)
	assert.Len(t, v.Identity.RunID, 40)
	assert.Equal(t, "master", v.Role)
	assert.Equal(t, "standalone", v.Mode)
	assert.Equal(t, LevelEverySecond, v.Level())
	assert.Equal(t, "no", v.Durability.LazyFsync)
	assert.Equal(t, -1, v.GoodReplicas)
	assert.Positive(t, v.UsedMemory)
	assert.Empty(t, v.Replicas)
	assert.False(t, v.AppendWriteFailed || v.SnapshotFailed || v.Evicting())
	assert.WithinDuration(t, time.Now(), v.Clock, time.Minute)
	assert.WithinDuration(t, time.Now(), v.LastSave, time.Minute, "the start counts as one")
}

// TestViewNoticesChangesWhileRunning: what an operator may do to a server that
// was fit at the start.
func TestViewNoticesChangesWhileRunning(t *testing.T) {
	t.Parallel()
	r := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	c := open(t, Options{URL: credential.NewSecret(r.URL())})
	ctx := t.Context()
	set := func(key, value string) View {
		t.Helper()
		require.NoError(t, c.Client().ConfigSet(ctx, key, value).Err())
		return viewOf(t, c)
	}
	first := viewOf(t, c)
	assert.Empty(t, found(Assess(first, View{})))

	assert.Equal(t, []string{"eviction=fail"}, found(Assess(set("maxmemory-policy", "allkeys-lru"), first)))
	assert.Empty(t, found(Assess(set("maxmemory-policy", "noeviction"), first)))
	assert.Equal(t, []string{"memory=fail"}, found(Assess(set("maxmemory", "1mb"), first)))
	assert.Empty(t, found(Assess(set("maxmemory", "0"), first)))
	assert.Equal(t, []string{"min_replicas=fail"}, found(Assess(set("min-replicas-to-write", "1"), first)))
	assert.Empty(t, found(Assess(set("min-replicas-to-write", "0"), first)))
	assert.Equal(t, []string{"persistence=fail"}, found(Assess(set("appendonly", "no"), first)))
	assert.Equal(t, MostLoss, LossWindow(viewOf(t, c), first))

	v := set("save", "3600 1")
	assert.Equal(t, LevelMemory, v.Level(), "only CONFIG GET tells, and that was asked a moment ago")
	c.settings.mu.Lock()
	c.settings.at = c.settings.at.Add(-settingsFor)
	c.settings.mu.Unlock()
	assert.Equal(t, LevelSnapshots, viewOf(t, c).Level())
	assert.Equal(t, LevelEveryWrite, set("appendonly", "yes").Level(), "INFO tells that something was changed")

	require.NoError(t, r.Restart(ctx))
	again := viewOf(t, c)
	assert.Equal(t, []string{"run=warn"}, found(Assess(again, first)))
	assert.Empty(t, found(Assess(viewOf(t, c), again)), "told once")
}

// TestViewOfARealReplica: from both sides, with the replica halted, gone on and
// made a master.
func TestViewOfARealReplica(t *testing.T) {
	t.Parallel()
	r := testproc.StartRedis(t, testproc.RedisOptions{
		Port: true, AppendFsync: "always",
		Args: strings.Fields("--repl-diskless-sync-delay 0 --min-replicas-to-write 1 --min-replicas-max-lag 2"),
	})
	c := open(t, Options{URL: credential.NewSecret(r.URL())})
	assert.Equal(t, []string{"min_replicas=fail"}, found(Assess(viewOf(t, c), View{})))

	_, address := r.Address()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	second := testproc.StartRedis(t, testproc.RedisOptions{Port: true, AppendFsync: "always", Args: []string{"--replicaof", host + " " + port}})
	var v View
	eventually(t, "the replica keeps up", func() bool { v = viewOf(t, c); return v.Waits() == Waits{Enough: true, Replicas: 1} })
	assert.Equal(t, 1, v.GoodReplicas)
	assert.Empty(t, found(Assess(v, View{})))
	assert.True(t, v.FailoverLoses())

	require.NoError(t, second.Pause())
	eventually(t, "it does not keep up", func() bool {
		v = viewOf(t, c)
		return assert.ObjectsAreEqual([]string{"min_replicas=fail", "replicas=warn"}, found(Assess(v, View{})))
	})
	assert.Equal(t, Waits{}, v.Waits())
	assert.Greater(t, LossWindow(v, View{}), everysecLoss)
	require.NoError(t, second.Resume())
	eventually(t, "it keeps up again", func() bool { v = viewOf(t, c); return v.Waits().Enough })

	_, replicaAddress := second.Address()
	client := redis.NewClient(&redis.Options{Addr: replicaAddress})
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	before, err := Look(t.Context(), Options{URL: credential.NewSecret(second.URL())})
	require.NoError(t, err)
	assert.Equal(t, "slave", before.Role)
	assert.True(t, before.LinkUp)
	assert.Contains(t, found(Assess(before, View{})), "role=fail")
	require.NoError(t, client.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	after, err := Look(t.Context(), Options{URL: credential.NewSecret(second.URL())})
	require.NoError(t, err)
	assert.Equal(t, []string{"run=warn"}, found(Assess(after, before)), "promoted: another replication ID of the same run")
}

// TestViewIsTolerant: whatever a server of the family says, or leaves out.
func TestViewIsTolerant(t *testing.T) {
	t.Parallel()
	assert.Equal(t, View{GoodReplicas: -1}, parseView(info{}, nil))
	v := parseView(parseInfo("# Replication\r\nrole:master\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=1\r\n"+
		"slave1:ip=10.0.0.1,port=1,state=wait_bgsave,offset=x,lag=-1\r\nslave2:\r\nslave_priority:100\r\nslavery:x\r\n"+
		"rdb_last_bgsave_time_sec:-1\r\naof_last_write_status:err\r\nno colon\r\nused_memory:99999999999999999999\r\n"+
		"aof_rewrite_in_progress:1\r\naof_current_rewrite_time_sec:40\r\n"), map[string]string{"min-replicas-to-write": "many"})
	assert.Equal(t, []Replica{
		{Address: "10.0.0.1:1"},
		{Address: "10.0.0.2:6379", Online: true, Lag: time.Second},
		{Address: ":"},
	}, v.Replicas)
	assert.True(t, v.AppendWriteFailed)
	assert.Equal(t, 40*time.Second, v.ChildFor)
	assert.Zero(t, v.SaveTook)
	assert.Zero(t, v.UsedMemory)
	assert.Zero(t, v.Durability.MinReplicas)
}

func FuzzParseView(f *testing.F) {
	f.Add("role:master\r\nslave0:ip=1,port=2,state=online,offset=3,lag=4\r\nserver_time_usec:1\r\nrdb_last_save_time:-1\r\n")
	f.Add("slave0:lag=9223372036854775807\r\nrdb_last_bgsave_time_sec:9223372036854775807\r\naof_enabled:0\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, save := range []string{saveNever, "3600 1"} {
			v := parseView(parseInfo(text), map[string]string{"appendfsync": "everysec", "save": save})
			if window := LossWindow(v, View{}); window < 0 || window > MostLoss {
				t.Fatalf("%q: %s", text, window)
			}
			Assess(v, View{})
		}
	})
}

func TestViewInProcess(t *testing.T) {
	t.Parallel()
	c := open(t, Options{DataDir: dataDir(t), NoServer: true})
	v := viewOf(t, c)
	assert.Equal(t, LevelInProcess, v.Level())
	assert.Equal(t, []string{"persistence=warn"}, found(Assess(v, View{})))
	id, err := c.Identity(t.Context())
	require.NoError(t, err)
	assert.Equal(t, id, v.Identity)
}

// TestLook: nothing is started or made by looking.
func TestLook(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	dir := dataDir(t)
	_, err := Look(t.Context(), Options{DataDir: dir})
	require.ErrorIs(t, err, ErrNotRunning)
	assert.NoDirExists(t, dir)
	v, err := Look(t.Context(), Options{DataDir: dir, NoServer: true})
	require.NoError(t, err)
	assert.Equal(t, KindMemory, v.Kind)

	c := open(t, Options{DataDir: dir})
	v, err = Look(t.Context(), Options{DataDir: dir})
	require.NoError(t, err)
	assert.Equal(t, viewOf(t, c).Identity, v.Identity)
	assert.Equal(t, LevelEveryWrite, v.Level())

	r := testproc.StartRedis(t, testproc.RedisOptions{Port: true, Args: []string{"--requirepass", "another", "--maxmemory-policy", "allkeys-lru"}})
	_, err = Look(t.Context(), Options{URL: withLogin(r.URL())})
	require.ErrorContains(t, err, "check the user and the password")
	assert.NotContains(t, err.Error(), password)
	v, err = Look(t.Context(), Options{URL: credential.NewSecret(strings.Replace(r.URL(), "://", "://:another@", 1))})
	require.NoError(t, err)
	assert.Equal(t, []string{"eviction=fail", "persistence=fail"}, found(Assess(v, View{})), "what is unfit is described, not refused")
	_, err = Look(t.Context(), Options{URL: withLogin("redis://127.0.0.1:1")})
	require.ErrorContains(t, err, "is it running")
	_, err = Look(t.Context(), Options{URL: credential.NewSecret("http://x")})
	require.ErrorContains(t, err, "it does not begin with redis://")
	forbidden := testproc.StartRedis(t, testproc.RedisOptions{Port: true, Args: strings.Fields("--user default on nopass ~* &* +@all -info")})
	_, err = Look(t.Context(), Options{URL: credential.NewSecret(forbidden.URL())})
	require.ErrorContains(t, err, "+info")
}

func TestLookInAFolderWithALongName(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	dir := dataDir(t) + strings.Repeat("x", maxSocketPath)
	_, err := Look(t.Context(), Options{DataDir: dir})
	require.ErrorIs(t, err, ErrNotRunning)
	c := open(t, Options{DataDir: dir})
	v, err := Look(t.Context(), Options{DataDir: dir})
	require.NoError(t, err)
	assert.Equal(t, viewOf(t, c).Identity, v.Identity)
}
