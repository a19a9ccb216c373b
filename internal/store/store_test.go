package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/store/storetest"
	"github.com/refreshd/refreshd/internal/testproc"
)

const databases = 512

func keyset(t testing.TB) *seal.Keyset {
	t.Helper()
	k, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	return k
}

// server runs a redis-server whose databases are handed out one by one.
func server(t testing.TB, args ...string) (fresh func(t testing.TB) *redis.Client) {
	t.Helper()
	r := testproc.StartRedis(t, testproc.RedisOptions{Args: append([]string{"--databases", fmt.Sprint(databases)}, args...)})
	var used atomic.Int32
	return func(t testing.TB) *redis.Client {
		t.Helper()
		opts, err := redis.ParseURL(r.URL())
		require.NoError(t, err)
		opts.DB = int(used.Add(1))
		return connect(t, opts)
	}
}

// twoReplicas work on one Redis in memory, whose clock is the test's.
func twoReplicas(t *testing.T) (*miniredis.Miniredis, [2]*store.Store) {
	t.Helper()
	m := miniredis.NewMiniRedis()
	require.NoError(t, m.Start())
	t.Cleanup(m.Close)
	client := connect(t, &redis.Options{Addr: m.Addr()})
	keys := keyset(t)
	var replicas [2]*store.Store
	for i := range replicas {
		s, err := store.New(t.Context(), store.Options{
			Client: client, Keyset: keys, Owner: fmt.Sprintf("replica-%d", i), Shards: 1, Memory: true,
			RunID: func(context.Context) (string, error) { return "run", nil },
		})
		require.NoError(t, err)
		replicas[i] = s
	}
	return m, replicas
}

func connect(t testing.TB, opts *redis.Options) *redis.Client {
	t.Helper()
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func memory(t testing.TB) *redis.Client {
	t.Helper()
	m := miniredis.NewMiniRedis()
	require.NoError(t, m.Start())
	t.Cleanup(m.Close)
	return connect(t, &redis.Options{Addr: m.Addr()})
}

func TestStoreOnRedis(t *testing.T) {
	t.Parallel()
	fresh := server(t)
	for _, shards := range []int{1, 5} {
		t.Run(fmt.Sprintf("%d shards", shards), func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) *storetest.Harness {
				t.Helper()
				client := fresh(t)
				return &storetest.Harness{Client: client, Options: store.Options{
					Client: client, Keyset: keyset(t), Owner: "self", Shards: shards,
				}}
			})
		})
	}
}

func TestStoreInProcess(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) *storetest.Harness {
		t.Helper()
		client := memory(t)
		return &storetest.Harness{Client: client, Options: store.Options{
			Client: client, Keyset: keyset(t), Owner: "self", Shards: 1, Memory: true,
			RunID: func(context.Context) (string, error) { return "this-process", nil },
		}}
	})
}
