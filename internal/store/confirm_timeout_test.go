package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTwoWaitsFitIntoThePipelinesTime: a wait that outlasts the client's own
// timeouts would break the connection and repeat the whole pipeline.
func TestTwoWaitsFitIntoThePipelinesTime(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ asked, read, deadline, want time.Duration }{
		"as asked":                  {asked: time.Second, read: 3 * time.Second, want: time.Second},
		"no timeout of the client":  {asked: time.Minute, read: -1, want: time.Minute},
		"the client's":              {asked: time.Minute, read: 2 * time.Second, want: 900 * time.Millisecond},
		"the caller's":              {asked: time.Minute, read: 3 * time.Second, deadline: time.Second, want: 450 * time.Millisecond},
		"the caller has gone":       {asked: time.Second, read: time.Second, deadline: time.Nanosecond},
		"not a whole millisecond":   {asked: time.Microsecond, read: time.Second},
		"nothing":                   {read: time.Second},
		"the caller has more time":  {asked: time.Second, read: 3 * time.Second, deadline: time.Hour, want: time.Second},
		"broken into milliseconds":  {asked: 1500 * time.Microsecond, read: time.Second, want: time.Millisecond},
		"the shorter of the bounds": {asked: time.Minute, read: time.Second, deadline: time.Hour, want: 450 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if row.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, row.deadline)
					defer cancel()
				}
				got := confirmTimeout(ctx, row.asked, row.read)
				assert.Equal(t, row.want, got)
				if row.read > 0 {
					assert.Less(t, 2*got, row.read)
				}
			})
		})
	}
}

// TestClusterIsNotWaitedFor: go-redis sends a command without a key to any
// node, which knows nothing of the write.
func TestClusterIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := &Store{client: client}
	s.SetConfirm(Confirm{Enough: true, AOF: true, Replicas: 1, Timeout: time.Second})
	pipe := client.Pipeline()
	w := s.awaitDurable(t.Context(), pipe)
	assert.Zero(t, pipe.Len())
	assert.False(t, w.confirmed())
}
