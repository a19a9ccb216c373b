package testproc

import (
	"os"
	"os/exec"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func client(t *testing.T, r *Redis) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(r.URL())
	require.NoError(t, err)
	o.MaxRetries, o.DialerRetries = -1, 1
	c := redis.NewClient(o)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

func TestRedisKeepsWhatItsOptionsPromise(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		o    RedisOptions
		keep bool
	}{
		{"socket without a file", RedisOptions{}, false},
		{"socket, always", RedisOptions{AppendFsync: "always"}, true},
		{"port, always", RedisOptions{AppendFsync: "always", Port: true}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := StartRedis(t, tc.o)
			url := r.URL()
			c := client(t, r)
			require.NoError(t, c.Set(t.Context(), "k", "v", 0).Err())
			require.NoError(t, r.Kill())
			require.Error(t, c.Ping(t.Context()).Err())
			require.NoError(t, r.Restart(t.Context()))
			assert.Equal(t, url, r.URL())
			kept, err := c.Exists(t.Context(), "k").Result()
			require.NoError(t, err)
			assert.Equal(t, tc.keep, kept == 1)
			require.NoError(t, r.Restart(t.Context()), "one that runs is killed first")
			require.NoError(t, r.Stop())
			assert.Contains(t, r.String(), "ready to exit", "the output of an orderly end")
		})
	}
}

func TestRedisIsRunWithTheGivenOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := StartRedis(t, RedisOptions{AppendFsync: "everysec", Dir: dir, Args: []string{"--maxmemory", "12mb"}})
	assert.Equal(t, dir, r.Dir())
	network, path := r.Address()
	assert.Equal(t, "unix", network)
	assert.FileExists(t, path)
	c := client(t, r)
	for name, want := range map[string]string{
		"appendonly": "yes", "appendfsync": "everysec", "dir": dir, "port": "0", "save": "",
		"maxmemory": "12582912", "maxmemory-policy": "noeviction",
	} {
		got, err := c.ConfigGet(t.Context(), name).Result()
		require.NoError(t, err)
		assert.Equal(t, map[string]string{name: want}, got)
	}
	assert.DirExists(t, dir+"/appendonlydir")

	r = StartRedis(t, RedisOptions{Port: true})
	network, address := r.Address()
	assert.Equal(t, "tcp", network)
	assert.Equal(t, "redis://"+address, r.URL())
	got, err := client(t, r).ConfigGet(t.Context(), "bind").Result()
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"bind": "127.0.0.1"}, got)
}

func TestRedisPaused(t *testing.T) {
	t.Parallel()
	r := StartRedis(t, RedisOptions{})
	c := client(t, r)
	require.NoError(t, c.Ping(t.Context()).Err())
	require.NoError(t, r.Pause())
	require.Error(t, r.answers(t.Context()), "a paused server accepts and says nothing")
	require.NoError(t, r.Resume())
	require.NoError(t, c.Ping(t.Context()).Err())
}

func TestRedisWithAPasswordCountsAsReady(t *testing.T) {
	t.Parallel()
	r := StartRedis(t, RedisOptions{Args: []string{"--requirepass", "only-here"}})
	require.ErrorContains(t, client(t, r).Ping(t.Context()).Err(), "NOAUTH")
}

func TestRedisFailsWithItsOwnWords(t *testing.T) {
	t.Parallel()
	SkipWithoutRedis(t)
	_, err := newRedis(RedisOptions{AppendFsync: "sometimes", Dir: t.TempDir()}, t.TempDir())
	require.ErrorContains(t, err, `"sometimes"`)
	r, err := newRedis(RedisOptions{Dir: t.TempDir(), Port: true, Args: []string{"--no-such-directive", "1"}}, "")
	require.NoError(t, err)
	err = r.startFirst(t.Context(), true)
	require.ErrorIs(t, err, ErrExited)
	require.ErrorContains(t, err, "no-such-directive")
}

func TestRedisMissingSkipsUnlessRequired(t *testing.T) {
	t.Parallel()
	found := func(string) (string, error) { return "/usr/bin/redis-server", nil }
	missing := func(string) (string, error) { return "", exec.ErrNotFound }
	env := func(value string) func(string) string {
		return func(name string) string {
			if name == "REFRESHD_REQUIRE_REDIS" {
				return value
			}
			return "1"
		}
	}
	words, _ := redisMissing(found, env("1"))
	assert.Empty(t, words)
	words, fatal := redisMissing(missing, env(""))
	assert.Contains(t, words, "apt-get install redis-server")
	assert.False(t, fatal)
	_, fatal = redisMissing(missing, env("1"))
	assert.True(t, fatal)
}

// The real environment decides as the pure function does.
func TestSkipWithoutRedisLooksOnPath(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(requireRedis, "")
	words, fatal := redisMissing(exec.LookPath, os.Getenv)
	assert.NotEmpty(t, words)
	assert.False(t, fatal)
	skipped := false
	t.Run("skipped", func(t *testing.T) {
		defer func() { skipped = t.Skipped() }()
		SkipWithoutRedis(t)
	})
	assert.True(t, skipped)
	_, err := exec.LookPath(redisServer)
	assert.ErrorIs(t, err, exec.ErrNotFound)
}
