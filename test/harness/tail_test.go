package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/testproc"
)

// What a redis-server wrote after the mark is gone once its file was cut, and
// what was before is there, transactions whole.
func TestTheTailIsCutBetweenTransactions(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	// With everysec a write may still be in memory when it is acknowledged, while the
	// disk is busy with a sync.
	server := testproc.StartRedis(t, testproc.RedisOptions{AppendFsync: "always"})
	o, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(o)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	tail, err := NewTail(server.Dir())
	require.NoError(t, err)

	require.NoError(t, client.Set(ctx, "before", "x\r\n*1\r\n", 0).Err())
	mark, err := tail.Size()
	require.NoError(t, err)
	pair(ctx, t, client, "both", 0)
	middle, err := tail.Size()
	require.NoError(t, err)
	require.NoError(t, client.Set(ctx, "after", "y", 0).Err())
	end, err := tail.Size()
	require.NoError(t, err)
	require.NoError(t, server.Kill())

	gone, err := tail.Cut(end)
	require.NoError(t, err)
	assert.Zero(t, gone, "nothing was written after the end")
	require.NoError(t, server.Restart(ctx))
	assert.EqualValues(t, 4, client.DBSize(ctx).Val())

	require.NoError(t, server.Kill())
	gone, err = tail.Cut(middle - 3)
	require.NoError(t, err)
	assert.Greater(t, gone, end-middle, "the transaction that the mark lies in is gone as a whole")
	require.NoError(t, server.Restart(ctx))
	assert.Equal(t, []string{"before"}, client.Keys(ctx, "*").Val())
	size, err := tail.Size()
	require.NoError(t, err)
	assert.Equal(t, mark, size)
}

// pair writes two keys in one transaction, as scripts do.
func pair(ctx context.Context, t *testing.T, client *redis.Client, name string, n int) {
	t.Helper()
	_, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, fmt.Sprintf("%s:%d", name, n), "1", 0)
		p.Set(ctx, fmt.Sprintf("%s:%d", name, n+1), "2", 0)
		return nil
	})
	require.NoError(t, err)
}

func TestATailThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	_, err := NewTail(t.TempDir())
	require.ErrorIs(t, err, errTail)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "appendonlydir"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "appendonlydir", "appendonly.aof.1.incr.aof"), []byte("PING\r\n"), 0o600))
	tail, err := NewTail(dir)
	require.NoError(t, err)
	_, err = tail.Cut(1)
	require.ErrorContains(t, err, "was expected")
}
