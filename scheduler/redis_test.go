package scheduler_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/clock"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/schedule"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/scheduler"
	"github.com/refreshd/refreshd/tasks"
)

const (
	patience = time.Minute
	glance   = 5 * time.Millisecond
)

// house is a real Redis with the real store on it.
type house struct {
	store     *store.Store
	client    *redis.Client
	inspector *asynq.Inspector
}

func open(t testing.TB, shards int) *house {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{})
	keys, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	client := connect(t, server)
	s, err := store.New(t.Context(), store.Options{Client: client, Keyset: keys, Owner: "owner", Shards: shards})
	require.NoError(t, err)
	return &house{store: s, client: client, inspector: asynq.NewInspectorFromRedisClient(client)}
}

func connect(t testing.TB, server *testproc.Redis) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// replica returns a scheduler with a clock and an asynq client of its own.
func (h *house) replica(t testing.TB, index scheduler.Index) *scheduler.Scheduler {
	t.Helper()
	c := clock.New(h.store, clock.Boot)
	_, err := c.Sync(t.Context())
	require.NoError(t, err)
	return scheduler.New(scheduler.Options{
		Index: index, Capacity: unlimited{}, Account: h.store, RecoverWithin: func(string) time.Duration { return 0 }, Queue: asynq.NewClientFromRedisClient(h.client), Depth: depth{h.client},
		Tasks: h.inspector, Slots: slots{h.store}, Log: h.store, Clock: c, Shards: h.store.Shards(), Retention: time.Hour,
		Logger: zerolog.New(io.Discard), Registerer: prometheus.NewRegistry(),
	})
}

type unlimited struct{}

func (unlimited) Capacity(context.Context, string, time.Duration) (int, error) { return 5000, nil }

// depth reads asynq's list of waiting tasks.
type depth struct{ client *redis.Client }

func (d depth) Waiting(ctx context.Context, queue string) (int, error) {
	n, err := d.client.LLen(ctx, "asynq:{"+queue+"}:pending").Result()
	return int(n), err
}

type slots struct{ store *store.Store }

func (s slots) Slot(ctx context.Context, name string) (scheduler.Slot, error) {
	state, err := s.store.Slot(ctx, name)
	return scheduler.Slot{Done: state.Done, Running: state.Running, Until: state.Until, Resumes: state.Resumes}, err
}

// connectDue stores credentials whose refresh was due minutes ago.
func (h *house) connectDue(t testing.TB, n int) []credential.ID {
	t.Helper()
	now, err := h.store.Now(t.Context())
	require.NoError(t, err)
	policy := credential.Policy{RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
	ids := make([]credential.ID, n)
	writes := make([]credential.Write, n)
	for i := range n {
		ids[i] = credential.ID(fmt.Sprintf("c-%d", i))
		login := credential.Login{
			ID: ids[i], Provider: "acme", ExpiresIn: time.Hour,
			Token: credential.Token{Access: credential.NewSecret("a"), Refresh: credential.NewSecret(string("r-" + ids[i]))},
		}
		writes[i] = credential.Connect(nil, login, policy, credential.Nonce{1, byte(i), byte(i >> 8)}, now.Add(-50*time.Minute))
	}
	for chunk := range slices.Chunk(writes, 500) {
		statuses, err := h.store.Apply(t.Context(), chunk)
		require.NoError(t, err)
		for _, status := range statuses {
			require.Equal(t, credential.StatusWritten, status)
		}
	}
	return ids
}

// waiting lists the IDs in the batches that wait.
func (h *house) waiting(t testing.TB) []credential.ID {
	t.Helper()
	var ids []credential.ID
	for _, queue := range tasks.RefreshQueues(h.store.Shards()) {
		list, err := h.inspector.ListPendingTasks(queue, asynq.PageSize(1000))
		if err != nil {
			require.ErrorIs(t, err, asynq.ErrQueueNotFound)
		}
		for _, info := range list {
			batch, err := tasks.DecodeBatch(info.Payload)
			require.NoError(t, err)
			require.Equal(t, "acme", batch.Provider)
			for _, id := range batch.IDs {
				require.Equal(t, queue, tasks.RefreshQueue(h.store.ShardOf(id)))
			}
			ids = append(ids, batch.IDs...)
		}
	}
	return ids
}

// claimLog notes every claim with moments of the store's clock just before and
// just after it.
type claimLog struct {
	*store.Store

	mu     sync.Mutex
	claims map[credential.ID][]claimed
}

type claimed struct{ before, after credential.Millis }

func (c *claimLog) Claim(ctx context.Context, shard int, provider string, ids []credential.ID, nonce credential.Nonce, lasts time.Duration) ([]credential.ID, error) {
	before, err := c.Now(ctx)
	if err != nil {
		return nil, err
	}
	got, err := c.Store.Claim(ctx, shard, provider, ids, nonce, lasts)
	if err != nil {
		return nil, err
	}
	after, err := c.Now(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range got {
		c.claims[id] = append(c.claims[id], claimed{before, after})
	}
	return got, err
}

func TestTwoSchedulersHandOutNoCredentialTwiceWithinItsHold(t *testing.T) {
	t.Parallel()
	h := open(t, 3)
	ids := h.connectDue(t, 3000)
	log := &claimLog{Store: h.store, claims: map[credential.ID][]claimed{}}
	for range 2 {
		s := h.replica(t, log)
		s.SetSchedules(map[string]schedule.Schedule{"acme": {}, "other": {}})
		s.Start()
		t.Cleanup(s.Stop)
	}
	require.Eventually(t, func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return len(log.claims) == len(ids)
	}, patience, glance)
	require.Eventually(t, func() bool { return len(h.waiting(t)) >= len(ids) }, patience, glance)
	assert.Subset(t, h.waiting(t), ids)
	log.mu.Lock()
	defer log.mu.Unlock()
	for id, claims := range log.claims {
		slices.SortFunc(claims, func(a, b claimed) int { return int(a.after - b.after) })
		for i := range len(claims) - 1 {
			require.GreaterOrEqual(t, claims[i+1].after.Sub(claims[i].before), 5*time.Second, "%s", id)
		}
	}
}

// Two of asynq's own schedulers enqueue a periodic task twice.
func TestAsynqPitfallTwoSchedulersEnqueueASlotOnce(t *testing.T) {
	t.Parallel()
	h := open(t, 1)
	s, err := schedule.Parse("@every 8760h") // no slot ends while it runs
	require.NoError(t, err)
	var replicas [2]*scheduler.Scheduler
	for i := range replicas {
		replicas[i] = h.replica(t, h.store)
		replicas[i].SetSchedules(map[string]schedule.Schedule{"acme": s, "shop": s})
	}
	var started sync.WaitGroup
	for _, r := range replicas {
		started.Go(r.Start)
		t.Cleanup(r.Stop)
	}
	started.Wait()
	list := func() []*asynq.TaskInfo {
		list, err := h.inspector.ListPendingTasks(tasks.QueueFetch)
		if err != nil {
			require.ErrorIs(t, err, asynq.ErrQueueNotFound)
		}
		return list
	}
	require.Eventually(t, func() bool { return len(list()) >= 2 }, patience, glance)
	for _, r := range replicas {
		r.Stop() // waits for the looks of its start
	}
	assert.Len(t, list(), 2, "one for each provider")
}

// The archive drops what it likes, and a batch that was archived is never run
// again by asynq: its credentials come back by the due index.
func TestAsynqPitfallWhatTheArchiveSwallowsComesBackByTheDueIndex(t *testing.T) {
	t.Parallel()
	h := open(t, 1)
	ids := h.connectDue(t, 20)
	s := h.replica(t, h.store)
	s.SetSchedules(map[string]schedule.Schedule{"acme": {}})
	s.Start()
	t.Cleanup(s.Stop)
	require.Eventually(t, func() bool { return len(h.waiting(t)) >= len(ids) }, patience, glance)
	swallowed, err := h.inspector.ListPendingTasks(tasks.RefreshQueue(0), asynq.PageSize(1000))
	require.NoError(t, err)
	_, err = h.inspector.ArchiveAllPendingTasks(tasks.RefreshQueue(0))
	require.NoError(t, err)
	_, err = h.inspector.DeleteAllArchivedTasks(tasks.RefreshQueue(0))
	require.NoError(t, err)
	for _, task := range swallowed { // what waits from now on is another
		_, err = h.inspector.GetTaskInfo(tasks.RefreshQueue(0), task.ID)
		require.ErrorIs(t, err, asynq.ErrTaskNotFound)
	}
	require.Eventually(t, func() bool { return len(h.waiting(t)) >= len(ids) }, patience, glance)
	assert.Subset(t, h.waiting(t), ids)
}

func TestHousekeepingSpeaksToTheRealLog(t *testing.T) {
	t.Parallel()
	h := open(t, 2)
	h.connectDue(t, 10)
	now, err := h.store.Now(t.Context())
	require.NoError(t, err)
	var log scheduler.EventLog = h.store
	n, err := log.TrimEvents(t.Context(), now.Add(time.Second))
	require.NoError(t, err)
	assert.EqualValues(t, 10, n)
}

// BenchmarkDispatch dispatches a backlog from one loop, while workers that do
// nothing take the batches.
func BenchmarkDispatch(b *testing.B) {
	h := open(b, 1)
	const many = 200_000
	server := asynq.NewServerFromRedisClient(h.client, asynq.Config{
		Concurrency: 32, Queues: map[string]int{tasks.RefreshQueue(0): 1}, TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	var left atomic.Int64
	all := make(chan struct{}, 1)
	require.NoError(b, server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		batch, err := tasks.DecodeBatch(task.Payload())
		if n := int64(len(batch.IDs)); left.Add(-n) <= 0 {
			select {
			case all <- struct{}{}:
			default:
			}
		}
		return err
	})))
	b.Cleanup(server.Shutdown)
	for b.Loop() {
		b.StopTimer()
		for from := 0; from < many; from += 10_000 {
			members := make([]redis.Z, 10_000)
			for i := range members {
				members[i] = redis.Z{Score: float64(from + i + 1), Member: fmt.Sprintf("credential-%d", from+i)}
			}
			require.NoError(b, h.client.ZAdd(b.Context(), "rd:{refresh-00}:due:acme", members...).Err())
		}
		left.Store(many)
		select {
		case <-all: // of a batch that was handed out twice
		default:
		}
		s := h.replica(b, h.store)
		s.SetSchedules(map[string]schedule.Schedule{"acme": {}})
		b.StartTimer()
		s.Start()
		<-all
		b.StopTimer()
		s.Stop()
		require.NoError(b, h.client.FlushAll(b.Context()).Err())
		b.StartTimer()
	}
	b.ReportMetric(float64(many)*float64(b.N)/b.Elapsed().Seconds(), "credentials/s")
}
