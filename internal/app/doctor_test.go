package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/testproc"
)

// about are the findings on a topic.
func about(list []Finding, topic string) []Finding {
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
	return Doctor(t.Context(), DoctorOptions{Config: f.save(t)})
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
	require.Len(t, about(list, "redis eviction"), 1)
	assert.Equal(t, SeverityFail, about(list, "redis eviction")[0].Severity)
	assert.Equal(t, SeverityWarn, about(list, "redis lazy_syncs")[0].Severity)
	assert.Equal(t, SeverityOK, about(list, "redis role")[0].Severity)
	assert.Equal(t, []Finding{{"clock", SeverityOK, "it is within 5s of that of Redis", "", ""}}, about(list, "clock"))
	assert.NoDirExists(t, filepath.Join(f.dir, "data"), "looking makes nothing")

	require.NoError(t, server.Kill())
	down := about(f.diagnose(t), "redis")
	require.Len(t, down, 1)
	assert.Equal(t, SeverityFail, down[0].Severity)
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
	assert.Equal(t, []Finding{{"redis persistence", SeverityOK, "appendfsync always: an acknowledged write is on disk", "", ""}}, about(f.diagnose(t), "redis persistence"))
}

func TestDoctorOfTheDataFolder(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "http://127.0.0.1:1/token")
	list := f.diagnose(t)
	require.Len(t, about(list, "data_dir"), 1)
	assert.Contains(t, about(list, "data_dir")[0].What, "the first start makes it")
	assert.Equal(t, SeverityWarn, about(list, "keyset")[0].Severity)

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
	assert.Equal(t, SeverityFail, about(list, "data_dir")[0].Severity)
	assert.NotEmpty(t, about(list, "data_dir")[0].Remedy)
	assert.Empty(t, about(list, "space"))
}

func TestDoctorOfABrokenConfiguration(t *testing.T) {
	t.Parallel()
	f := newFolder(t, "http://127.0.0.1:1/token")
	f.config["lisen"], f.config["schedule"] = "x", map[string]any{"fetch": "@every 1m"}
	list := f.diagnose(t)
	require.Len(t, list, 2)
	for _, finding := range list {
		assert.Equal(t, "config", finding.Topic)
		assert.Equal(t, SeverityFail, finding.Severity)
	}
	list = Doctor(t.Context(), DoctorOptions{Config: filepath.Join(f.dir, "nothing.yaml")})
	require.Len(t, list, 1)
	assert.Contains(t, list[0].What, "no such file")
}

func TestDoctorsJudgements(t *testing.T) {
	t.Parallel()
	severities := func(list ...Finding) []string {
		var all []string
		for _, f := range list {
			all = append(all, f.Severity)
			assert.Equal(t, f.Severity != SeverityOK, f.Consequence != "", f.What)
			assert.Equal(t, f.Severity != SeverityOK, f.Remedy != "", f.What)
		}
		return all
	}
	assert.Equal(t, []string{"fail", "warn", "ok"}, severities(judgeSpace(1<<20), judgeSpace(100<<20), judgeSpace(1<<40)))
	assert.Equal(t, []string{"fail", "warn", "ok"}, severities(
		judgeMedium(journal.Medium{Name: "NFS", Network: true}), judgeMedium(journal.Medium{Name: "emptyDir", Dies: "the pod"}), judgeMedium(journal.Medium{}),
	))
	assert.Contains(t, judgeMedium(journal.Medium{Name: "emptyDir", Dies: "the pod"}).What, "emptyDir, which is lost with the pod")
	assert.Equal(t, []string{"ok", "ok"}, severities(judgeLimits(65536, 0)...))
	assert.Equal(t, []string{"warn", "warn"}, severities(judgeLimits(1024, 1)...))
}
