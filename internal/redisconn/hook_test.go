package redisconn

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestQueueClientCarriesOutWhatACancelledContextAsksFor: asynq repeats a
// failed "done" with a context that is over. The plain client refuses it, which
// would make the task run a second time; the queue's client writes it.
func TestQueueClientCarriesOutWhatACancelledContextAsksFor(t *testing.T) {
	t.Parallel()
	for _, noServer := range []bool{false, true} {
		c := open(t, Options{DataDir: dataDir(t), NoServer: noServer})
		over, cancel := context.WithCancel(t.Context())
		cancel()

		require.ErrorIs(t, c.Client().Set(over, "x", "plain", 0).Err(), context.Canceled)
		require.NoError(t, c.QueueClient().Set(over, "x", "done", 0).Err())
		_, err := c.QueueClient().TxPipelined(over, func(p redis.Pipeliner) error {
			p.Set(over, "y", "done", 0)
			return nil
		})
		require.NoError(t, err)
		require.NoError(t, redis.NewScript(`return redis.call('SET', KEYS[1], 'done')`).Run(over, c.QueueClient(), []string{"z"}).Err())
		for _, key := range []string{"x", "y", "z"} {
			assert.Equal(t, "done", c.Client().Get(t.Context(), key).Val(), key)
		}

		late, cancelLate := context.WithTimeout(t.Context(), 0)
		defer cancelLate()
		require.NoError(t, c.QueueClient().Ping(late).Err(), "a deadline that has passed counts likewise")
	}
}

// TestDetachedCommandsAreBounded: what outlives its context has a limit of its
// own, and keeps the context's values.
func TestDetachedCommandsAreBounded(t *testing.T) {
	t.Parallel()
	type key struct{}
	over, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
	detached, release := detach(over)
	assert.Equal(t, over, detached, "a living context is left alone")
	release()
	require.NoError(t, over.Err())

	cancel()
	detached, release = detach(over)
	defer release()
	require.NoError(t, detached.Err())
	assert.Equal(t, "kept", detached.Value(key{}))
	_, bounded := detached.Deadline()
	assert.True(t, bounded)
}
