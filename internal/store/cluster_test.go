package store_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/store/storetest"
	"github.com/refreshd/refreshd/internal/testproc"
)

// clusterNodes is how many tests run on a cluster at once: it has no databases
// to tell them apart.
const clusterNodes = 4

// clusterOf starts a cluster of one node that has all slots. It enforces what a
// larger one does: the keys of one script lie in one slot.
func clusterOf(t *testing.T) *redis.ClusterClient {
	t.Helper()
	bus, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(bus.Addr().String())
	require.NoError(t, err)
	require.NoError(t, bus.Close())
	r := testproc.StartRedis(t, testproc.RedisOptions{Port: true, Args: []string{
		"--cluster-enabled", "yes", "--cluster-port", port, "--cluster-require-full-coverage", "no",
	}})
	_, address := r.Address()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{address}})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	node := connect(t, &redis.Options{Addr: address})
	require.NoError(t, node.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err())
	return client
}

// serves waits until a cluster has taken up its slots: it takes two seconds.
func serves(t *testing.T, client *redis.ClusterClient) {
	t.Helper()
	require.Eventually(t, func() bool {
		info, err := client.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	}, time.Minute, 5*time.Millisecond, "the cluster takes up its slots")
}

func TestStoreOnCluster(t *testing.T) {
	t.Parallel()
	testproc.SkipWithoutRedis(t)
	free := make(chan *redis.ClusterClient, clusterNodes)
	for range clusterNodes {
		free <- clusterOf(t)
	}
	storetest.Run(t, func(t *testing.T) *storetest.Harness {
		t.Helper()
		client := <-free
		t.Cleanup(func() { free <- client })
		serves(t, client)
		require.NoError(t, client.FlushAll(t.Context()).Err())
		return &storetest.Harness{Client: client, Options: store.Options{
			Client: client, Keyset: keyset(t), Owner: "self", Shards: 3,
		}}
	})
}
