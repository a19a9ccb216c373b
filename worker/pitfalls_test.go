package worker_test

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/redisconn"
	"github.com/refreshd/refreshd/internal/schedule"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/scheduler"
	"github.com/refreshd/refreshd/tasks"
	"github.com/refreshd/refreshd/worker"
)

// asynq gives a killed worker's task to another after 55 to 120 s. Its
// credentials come back when their claim has run out.
func TestAsynqPitfallAKilledWorkersCredentialsComeBackByTheirClaim(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.connect("acme", 50*time.Minute, "alice")
	s := scheduler.New(scheduler.Options{
		Index: h.store, Capacity: unlimited{}, Account: h.store, RecoverWithin: noGrace, Queue: h.queue, Depth: emptyQueue{}, Tasks: h.inspector, Slots: slots{h.store},
		Log: h.store, Clock: h.clock, Shards: 1, Retention: time.Hour, Logger: zerolog.New(io.Discard), Registerer: prometheus.NewRegistry(),
	})
	s.SetSchedules(map[string]schedule.Schedule{"acme": {}})

	dying := testproc.Start(t, testproc.Options{
		Path: os.Args[0], Env: []string{"REFRESHD_TEST_DYING_WORKER=" + h.server.URL()}, // see TestMain
	})
	s.Start()
	t.Cleanup(s.Stop)
	_, err := dying.WaitFor(t.Context(), regexp.MustCompile("took a batch"))
	require.NoError(t, err)
	queue := tasks.RefreshQueue(0)
	active, err := h.inspector.ListActiveTasks(queue)
	require.NoError(t, err)
	require.NotEmpty(t, active)
	require.NoError(t, dying.Kill())

	refreshes := &recorder{}
	h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) { o.Refresher = refreshes })
	h.eventually("another worker is given the credential", func() bool { return len(refreshes.seen()) > 0 })
	assert.Equal(t, []credential.ID{"alice"}, refreshes.seen()[0].IDs)
	state, there := h.state(queue, active[0].ID)
	assert.True(t, there)
	assert.Equal(t, asynq.TaskStateActive, state, "asynq has not even noticed yet")
}

type unlimited struct{}

func (unlimited) Capacity(context.Context, string, time.Duration) (int, error) { return 5000, nil }

type emptyQueue struct{}

func (emptyQueue) Waiting(context.Context, string) (int, error) { return 0, nil }

// loseDone loses asynq's first "this task is done", and tells what became of
// the later ones. It stands next to the wire, behind other hooks.
type loseDone struct {
	seen  atomic.Int32
	later chan error
}

func (l *loseDone) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *loseDone) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *loseDone) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !isDone(cmd) {
			return next(ctx, cmd)
		}
		if l.seen.Add(1) == 1 {
			err := errors.New("connection reset")
			cmd.SetErr(err)
			return err
		}
		err := next(ctx, cmd)
		if !redis.HasErrorPrefix(err, "NOSCRIPT") { // else the script itself follows
			select {
			case l.later <- err:
			default:
			}
		}
		return err
	}
}

// isDone recognises asynq's script for the end of a task that is not kept, by
// its keys: active, lease, task, and two counters.
func isDone(cmd redis.Cmder) bool {
	args := cmd.Args()
	if cmd.Name() != "evalsha" && cmd.Name() != "eval" || len(args) < 6 || args[2] != 5 {
		return false
	}
	first, _ := args[3].(string)
	third, _ := args[5].(string)
	return strings.HasSuffix(first, ":active") && strings.Contains(third, "}:t:")
}

// From v0.25 on asynq repeats a lost "done" with a context that has ended by
// then, so every repetition fails and the task is sure to be taken up again.
func TestAsynqPitfallADoneThatIsLostOnceIsRepeatedByADetachedContext(t *testing.T) {
	t.Parallel()
	queue := tasks.RefreshQueue(0)
	for name, row := range map[string]struct {
		hooks []redis.Hook
		cured bool
	}{
		"with the hook":    {[]redis.Hook{redisconn.DetachHook{}}, true},
		"without the hook": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			wire := &loseDone{later: make(chan error, 1)}
			refreshes := &recorder{}
			h.pool(connect(t, h.server.URL(), append(row.hooks, wire)...), prometheus.NewRegistry(),
				func(o *worker.Options) { o.Refresher = refreshes })
			task, err := batchOf("a")
			id := h.enqueue(task, err, asynq.MaxRetry(3)) // as an older version's task may have
			select {
			case err = <-wire.later:
			case <-t.Context().Done():
				t.Fatal("asynq gave up")
			}
			state, there := h.state(queue, id)
			assert.Len(t, refreshes.seen(), 1)
			if row.cured {
				require.NoError(t, err)
				assert.False(t, there, "nothing is left that could be run again")
				return
			}
			require.ErrorIs(t, err, context.Canceled)
			assert.True(t, there)
			assert.Equal(t, asynq.TaskStateActive, state)
		})
	}
}

// Once a worker's lease has passed, asynq archives a task of ours, and never
// runs it a second time.
func TestAsynqPitfallAnExpiredLeaseRunsNothingTwice(t *testing.T) {
	t.Parallel()
	h := open(t)
	queue := tasks.RefreshQueue(0)
	task, err := batchOf("a")
	id := h.enqueue(task, err)
	// As a worker leaves it that was killed two minutes ago.
	require.NoError(t, h.client.LMove(t.Context(), "asynq:{"+queue+"}:pending", "asynq:{"+queue+"}:active", "RIGHT", "LEFT").Err())
	require.NoError(t, h.client.HSet(t.Context(), "asynq:{"+queue+"}:t:"+id, "state", "active").Err())
	require.NoError(t, h.client.ZAdd(t.Context(), "asynq:{"+queue+"}:lease",
		redis.Z{Score: float64(time.Now().Add(-2 * time.Minute).Unix()), Member: id}).Err())
	refreshes := &recorder{}
	h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) { o.Refresher = refreshes })
	h.archived(queue, id)
	assert.Empty(t, refreshes.seen())
}

// Whoever can read the queue, or asynq's pages, learns IDs.
func TestAsynqPitfallPayloadsThatAnyoneCanReadHoldNoSecret(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.connect("acme", 50*time.Minute, "alice")
	s := scheduler.New(scheduler.Options{
		Index: h.store, Capacity: unlimited{}, Account: h.store, RecoverWithin: noGrace, Queue: h.queue, Depth: emptyQueue{}, Tasks: h.inspector, Slots: slots{h.store},
		Log: h.store, Clock: h.clock, Shards: 1, Retention: time.Hour, Logger: zerolog.New(io.Discard), Registerer: prometheus.NewRegistry(),
	})
	s.SetSchedules(map[string]schedule.Schedule{"acme": {}})
	s.Start()
	t.Cleanup(s.Stop)
	queue := tasks.RefreshQueue(0)
	var waiting []*asynq.TaskInfo
	h.eventually("a batch waits", func() bool {
		waiting, _ = h.inspector.ListPendingTasks(queue)
		return len(waiting) > 0
	})
	assert.JSONEq(t, `{"provider":"acme","ids":["alice"]}`, string(waiting[0].Payload))
	keys, err := h.client.Keys(t.Context(), "asynq:*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		if !strings.Contains(key, "}:t:") {
			continue
		}
		fields, err := h.client.HGetAll(t.Context(), key).Result()
		require.NoError(t, err)
		for field, value := range fields {
			assert.NotContains(t, value, "first-alice", "%s of %s", field, key)
		}
	}
}

// noGrace is what a strict provider grants.
func noGrace(string) time.Duration { return 0 }
