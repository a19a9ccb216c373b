package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/doctor"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/testproc"
)

// about are the findings on a topic.
func about(list []Finding, topic doctor.Topic) []Finding {
	var of []Finding
	for _, f := range list {
		if f.Topic == topic {
			of = append(of, f)
		}
	}
	return of
}

// diagnose examines a configuration.
func (f *folder) diagnose(t *testing.T) []Finding {
	t.Helper()
	return examineOnly(t, f.save(t))
}

// examineOnly examines a machine without a service.
func examineOnly(t *testing.T, config string) []Finding {
	t.Helper()
	return Doctor(t.Context(), DoctorOptions{Config: config, Ask: func(context.Context) *Answers { return nil }})
}

// TestDoctorFindsWhatIsWrongWithRedis: a Redis that would be refused at the
// start is described all the same, with all that is wrong.
func TestDoctorFindsWhatIsWrongWithRedis(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{Port: true, AppendFsync: "everysec", Args: []string{
		"--maxmemory-policy", "allkeys-lru", "--no-appendfsync-on-rewrite", "yes",
	}})
	f := newFolder(t, "http://127.0.0.1:1/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	list := f.diagnose(t)
	require.Len(t, about(list, "redis_eviction"), 1)
	assert.Equal(t, doctor.Fail, about(list, "redis_eviction")[0].Severity)
	assert.Equal(t, doctor.Warn, about(list, "redis_lazy_syncs")[0].Severity)
	assert.Equal(t, doctor.OK, about(list, "redis_role")[0].Severity)
	assert.Equal(t, []Finding{{Topic: doctor.TopicClock, Severity: doctor.OK, What: "it is within 5s of that of Redis"}}, about(list, "clock"))
	assert.NoDirExists(t, filepath.Join(f.dir, "data"), "looking makes nothing")

	require.NoError(t, server.Kill())
	down := about(f.diagnose(t), "redis")
	require.Len(t, down, 1)
	assert.Equal(t, doctor.Fail, down[0].Severity)
	assert.Contains(t, down[0].What, "is it running")
	assert.NotEmpty(t, down[0].Consequence)
}

func TestDoctorOfTheEmbeddedRedis(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	f := newFolder(t, "http://127.0.0.1:1/token")
	assert.Contains(t, about(f.diagnose(t), "redis")[0].What, "starts with the service")
	conn, err := redisconn.Open(t.Context(), redisconn.Options{DataDir: filepath.Join(f.dir, "data"), Log: zerolog.Nop()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	assert.Equal(t, []Finding{{Topic: "redis_persistence", Severity: doctor.OK, What: "appendfsync always: an acknowledged write is on disk"}}, about(f.diagnose(t), "redis_persistence"))
}

// loading is what Redis answers while it loads its data.
type loading struct{}

func (loading) Error() string { return "LOADING Redis is loading the dataset in memory" }
func (loading) RedisError()   {}

func TestDoctorOfARedisThatLoads(t *testing.T) {
	t.Parallel()
	list := examineRedis(redisconn.View{}, fmt.Errorf("redis: INFO: %w", loading{}))
	require.Len(t, list, 1)
	assert.Equal(t, doctor.Warn, list[0].Severity, "it is not away, and is waited for")
	assert.Contains(t, list[0].What, "loading")
}

func TestDoctorOfTheDataFolder(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "http://127.0.0.1:1/token")
	list := f.diagnose(t)
	require.Len(t, about(list, "data_dir"), 1)
	assert.Contains(t, about(list, "data_dir")[0].What, "the first start makes it")
	assert.Equal(t, doctor.Warn, about(list, "keyset")[0].Severity)

	journals := filepath.Join(f.dir, "data", "journal")
	require.NoError(t, os.MkdirAll(journals, 0o700))
	for _, name := range []string{"one.wal", "two.wal", "three.damaged", ".place"} {
		require.NoError(t, os.WriteFile(filepath.Join(journals, name), nil, 0o600))
	}
	list = f.diagnose(t)
	assert.Contains(t, about(list, "data_dir")[0].What, "is writable")
	assert.Contains(t, about(list, "journal")[1].What, "put aside in "+journals+": 1")
	assert.Contains(t, about(list, "journal")[2].What, "journals in "+journals+": 2")
	entries, err := os.ReadDir(filepath.Join(f.dir, "data"))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "what was written was taken away again")

	require.NoError(t, os.RemoveAll(filepath.Join(f.dir, "data")))
	f.write(t, "data", "a file")
	list = f.diagnose(t)
	assert.Equal(t, doctor.Fail, about(list, "data_dir")[0].Severity)
	assert.Empty(t, about(list, doctor.TopicJournal))
	assert.NotEmpty(t, about(list, "data_dir")[0].Remedy)
	assert.Empty(t, about(list, doctor.TopicDiskSpace))
}

// A journal that nobody can take up is named, with what is wrong; one of a process
// that lives, and one that can be taken up, are not.
func TestDoctorNamesJournalsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "http://127.0.0.1:1/token")
	f.config["redis"] = map[string]any{"url": "redis://127.0.0.1:1"}
	conf := f.load(t)
	keys, _, err := seal.Open(conf.Keyset.File, seal.Options{})
	require.NoError(t, err)
	dir := filepath.Join(conf.DataDir, "journal")
	left := func(owner string, keys *seal.Keyset) string {
		file, err := journal.Create(dir, owner, journal.Options{MaxReply: 4 << 10, SegmentSize: 64 << 10})
		require.NoError(t, err)
		j := sealedJournal{journal: file, dir: dir, owner: owner, keys: keys}
		for n := range byte(2) {
			at := refresh.Intent{Nonce: credential.Nonce{n + 1}, ID: "alice", Generation: 1, Grant: 1}
			require.NoError(t, j.Intend(t.Context(), []refresh.Intent{at}))
			found := credential.Found{Token: credential.Token{Access: credential.NewSecret("canary")}, Complete: true}
			require.NoError(t, j.Keep(refresh.Kept{Intent: at, Found: found})())
		}
		if owner == "living" {
			t.Cleanup(func() { assert.NoError(t, file.Close()) })
		} else {
			require.NoError(t, file.Close())
		}
		return filepath.Join(dir, owner+".wal")
	}
	left("living", newKeyset(t))
	left("sound", keys)
	sealed, damaged := left("sealed", newKeyset(t)), left("damaged", keys)
	loop := filepath.Join(dir, "loop.wal")
	require.NoError(t, os.Symlink("loop.wal", loop))
	content, err := os.ReadFile(damaged)
	require.NoError(t, err)
	content[100] ^= 1
	file, err := os.OpenFile(damaged, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(content[100:101], 100)
	require.NoError(t, err)
	require.NoError(t, file.Close())

	var told []Finding
	for _, one := range about(f.diagnose(t), doctor.TopicJournal) {
		if strings.Contains(one.What, ".wal") {
			told = append(told, one)
		}
	}
	require.Len(t, told, 3, told)
	for i, want := range []struct {
		path     string
		severity doctor.Severity
		remedy   string
	}{{damaged, doctor.Warn, "disk"}, {loop, doctor.Fail, "mend"}, {sealed, doctor.Fail, "keyset.file"}} {
		assert.Contains(t, told[i].What, want.path)
		assert.Equal(t, want.severity, told[i].Severity)
		assert.Contains(t, told[i].Remedy, want.remedy)
	}
	after, err := os.ReadFile(damaged)
	require.NoError(t, err)
	assert.Equal(t, content, after, "looking changes nothing")
}

func TestDoctorOfABrokenConfiguration(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "http://127.0.0.1:1/token")
	f.config["lisen"], f.config["schedule"] = "x", map[string]any{"fetch": "@every 1m"}
	list := f.diagnose(t)
	require.Len(t, list, 2)
	for _, finding := range list {
		assert.Equal(t, doctor.TopicConfig, finding.Topic)
		assert.Equal(t, doctor.Fail, finding.Severity)
	}
	list = examineOnly(t, filepath.Join(f.dir, "nothing.yaml"))
	require.Len(t, list, 1)
	assert.Contains(t, list[0].What, "no such file")
}

// What the doctor calls the topics of Redis is a closed list: whoever finds
// something new about Redis adds it there.
func TestEveryFindingOfRedisHasATopic(t *testing.T) {
	t.Parallel()
	worst := redisconn.View{
		Kind: redisconn.KindExternal, Identity: redisconn.Identity{RunID: "run", Version: "7.0.15"}, Role: "master", GoodReplicas: 0,
		AppendWriteFailed: true, SnapshotFailed: true, PendingFsync: true, MaxMemory: 1, UsedMemory: 1,
		Replicas:   []redisconn.Replica{{Address: "10.0.0.1:6379", Lag: time.Minute}},
		Durability: redisconn.Durability{AppendOnly: "yes", AppendFsync: "everysec", LazyFsync: "yes", DelayedFsyncs: 2, MinReplicas: 1, Replicas: 1},
	}
	before := worst
	before.Identity.ReplID = "another"
	late := worst
	late.Durability.DelayedFsyncs = 1
	var topics []doctor.Topic
	for _, previous := range []redisconn.View{before, late} {
		for _, f := range redisconn.Assess(worst, previous) {
			topics = append(topics, doctor.RedisTopic(f.Topic))
			assert.NotEqual(t, doctor.TopicRedis, doctor.RedisTopic(f.Topic), f.Topic)
		}
	}
	slices.Sort(topics)
	assert.Len(t, slices.Compact(topics), 12, "all that there is to find")
}

// Nothing else than the service may listen where it is to.
func TestDoctorLooksAtTheAddresses(t *testing.T) {
	t.Parallel()
	var taken []string
	for range 2 {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, ln.Close()) })
		taken = append(taken, ln.Addr().String())
	}
	f := newFolder(t, "http://127.0.0.1:1/token")
	f.config["listen"], f.config["metrics_listen"] = taken[0], taken[1]
	who := ListenerOther
	look := func() []Finding {
		return Doctor(t.Context(), DoctorOptions{
			Config: f.save(t), Ask: func(context.Context) *Answers { return nil },
			Who: func(context.Context) (Listener, string) { return who, "it says 220" },
		})
	}
	list := look()
	assert.Equal(t, doctor.Fail, about(list, doctor.TopicListen)[0].Severity)
	assert.Contains(t, about(list, doctor.TopicListen)[0].What, "not refreshd listens on "+taken[0]+": it says 220")
	assert.Equal(t, doctor.Fail, about(list, doctor.TopicMetricsListen)[0].Severity)
	who = ListenerOurs
	assert.Equal(t, doctor.OK, about(look(), doctor.TopicListen)[0].Severity)
	assert.Equal(t, doctor.OK, about(look(), doctor.TopicMetricsListen)[0].Severity)
}

// A disk that hangs is told of, and does not hold up the rest.
func TestDoctorDoesNotWaitForADiskThatHangs(t *testing.T) {
	t.Parallel()
	silent := doctor.NoAnswerFromDisk("/data")
	assert.Equal(t, SeverityFail, silent.Severity)
	assert.Contains(t, silent.What, "the disk of /data does not answer")
	synctest.Test(t, func(t *testing.T) {
		found := make(chan []Finding, 1)
		assert.Equal(t, []Finding{silent}, within(diskPatience, found, silent))
		fine := []Finding{{Topic: doctor.TopicDataDir}}
		found <- fine
		assert.Equal(t, fine, within(diskPatience, found, silent))
	})
}
