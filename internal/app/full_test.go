package app

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/doctor"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/testproc"
)

// TestStartOnARedisThatIsFull: a start that Redis has no memory for says what it
// could not write, where, and what to do, at the first start as at any other; with
// room it starts.
func TestStartOnARedisThatIsFull(t *testing.T) {
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	f := newFolder(t, startProvider(t).url+"/token")
	f.config["redis"] = map[string]any{"url": server.URL()}

	for _, what := range []string{"(admin key: store an API key)", "(roll the store forward: heartbeat)"} {
		require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1000").Err())
		r := begin(t, f, everything())
		<-r.ended
		full := new(redisconn.FullError)
		require.ErrorAs(t, r.err, &full)
		require.ErrorContains(t, r.err, "redis.url: "+server.URL()+" is out of memory (")
		require.ErrorContains(t, r.err, " used of a maxmemory of 1000 bytes), and refused what has to be written first "+what+"; raise maxmemory")
		assert.NotContains(t, r.err.Error(), "OOM command not allowed")

		require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "0").Err())
		r = run(t, f, everything())
		require.NoError(t, r.end())
	}
}

// A start that Redis takes no writes for says where, why and what to do, and the doctor
// says the same of Redis, and nothing against the keyset.
func TestStartOnARedisThatTakesNoWrites(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	f := newFolder(t, startProvider(t).url+"/token")
	f.config["redis"] = map[string]any{"url": server.URL()}
	r := run(t, f, everything())
	require.NoError(t, r.end())

	require.NoError(t, client.ConfigSet(t.Context(), "min-replicas-to-write", "1").Err())
	r = begin(t, f, everything())
	<-r.ended
	require.ErrorContains(t, r.err, "redis.url: "+server.URL()+" lacks the replicas that its min-replicas-to-write wants, "+
		"and refused what has to be written first (store: description of the installation); bring the replicas back")
	assert.NotContains(t, r.err.Error(), "NOREPLICAS")
	list := f.diagnose(t)
	require.Len(t, about(list, doctor.TopicKeyset), 1)
	assert.Equal(t, doctor.OK, about(list, doctor.TopicKeyset)[0].Severity)
	require.Len(t, about(list, doctor.TopicRedis), 1)
	refused := about(list, doctor.TopicRedis)[0]
	assert.Equal(t, doctor.Fail, refused.Severity)
	assert.Contains(t, refused.What, "lacks the replicas")
	assert.Equal(t, "bring the replicas back", refused.Remedy)
}
