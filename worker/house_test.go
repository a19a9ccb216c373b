package worker_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/clock"
	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/logging"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
	"github.com/refreshd/refreshd/scheduler"
	"github.com/refreshd/refreshd/tasks"
	"github.com/refreshd/refreshd/worker"
)

const (
	patience = time.Minute
	glance   = 5 * time.Millisecond
)

// noVerifier has nothing to ask.
type noVerifier struct{}

func (noVerifier) Verify(context.Context, string, []credential.ID) (asked, refused int, err error) {
	return 0, 0, nil
}

// noTuner finds every session as it should be.
type noTuner struct{}

func (noTuner) Tune(context.Context, string, []credential.Held) (int, error) { return 0, nil }

// house is a real Redis with the real store and asynq on it.
type house struct {
	t         *testing.T
	server    *testproc.Redis
	client    *redis.Client
	store     *store.Store
	clock     *clock.Clock
	queue     *asynq.Client
	inspector *asynq.Inspector
}

func open(t *testing.T) *house {
	t.Helper()
	server := testproc.StartRedis(t, testproc.RedisOptions{})
	client := connect(t, server.URL())
	keys, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	s, err := store.New(t.Context(), store.Options{Client: client, Keyset: keys, Owner: "owner"})
	require.NoError(t, err)
	c := clock.New(s, clock.Boot)
	_, err = c.Sync(t.Context())
	require.NoError(t, err)
	return &house{
		t: t, server: server, client: client, store: s, clock: c,
		queue: asynq.NewClientFromRedisClient(client), inspector: asynq.NewInspectorFromRedisClient(client),
	}
}

func connect(t *testing.T, url string, hooks ...redis.Hook) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(opts)
	for _, hook := range hooks {
		client.AddHook(hook)
	}
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// pool starts a pool on client, with fakes for what it is not told.
func (h *house) pool(client *redis.Client, reg *prometheus.Registry, change func(*worker.Options)) *worker.Pool {
	h.t.Helper()
	discard := zerolog.New(io.Discard)
	opts := worker.Options{
		NewServer: func(cfg asynq.Config) *asynq.Server { return asynq.NewServerFromRedisClient(client, cfg) },
		Refresher: &recorder{}, Deliverer: deliverFunc(func(context.Context, string, int) error { return nil }),
		Walker: h.store, Verifier: noVerifier{}, Tuner: noTuner{}, Slots: slots{h.store}, Clock: h.clock, Owner: "owner", Shards: h.store.Shards(),
		ShutdownTimeout: patience, AsynqLog: logging.NewAsynq(discard), Logger: discard, Registerer: reg,
	}
	change(&opts)
	p, err := worker.New(opts)
	require.NoError(h.t, err)
	require.NoError(h.t, p.Start())
	h.t.Cleanup(func() { require.NoError(h.t, p.Stop(context.WithoutCancel(h.t.Context()))) })
	return p
}

// recorder is a Refresher that notes what it is asked for.
type recorder struct {
	mu      sync.Mutex
	batches []tasks.Batch
	singles []tasks.Single
	act     func(ctx context.Context, ids []credential.ID) error
}

func (r *recorder) RefreshBatch(ctx context.Context, provider string, ids []credential.ID, reservation string) (credential.BatchReport, error) {
	r.mu.Lock()
	r.batches = append(r.batches, tasks.Batch{Provider: provider, IDs: ids, Reservation: reservation})
	r.mu.Unlock()
	report := credential.BatchReport{Refreshed: len(ids)}
	if r.act != nil {
		return report, r.act(ctx, ids)
	}
	return report, nil
}

func (r *recorder) AdvanceBatch(_ context.Context, provider string, ids []credential.ID) (credential.BatchReport, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches = append(r.batches, tasks.Batch{Provider: provider, IDs: ids, ClockOnly: true})
	return credential.BatchReport{Advanced: len(ids)}, nil
}

func (r *recorder) Refresh(ctx context.Context, id credential.ID, rejected uint64) (credential.Held, error) {
	r.mu.Lock()
	r.singles = append(r.singles, tasks.Single{ID: id, RejectedGeneration: rejected})
	r.mu.Unlock()
	if r.act != nil {
		return credential.Held{}, r.act(ctx, []credential.ID{id})
	}
	return credential.Held{}, nil
}

func (r *recorder) seen() []tasks.Batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.batches)
}

func (r *recorder) asked() []tasks.Single {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.singles)
}

type deliverFunc func(ctx context.Context, subscription string, lane int) error

func (f deliverFunc) Advance(ctx context.Context, subscription string, lane int) error {
	return f(ctx, subscription, lane)
}

// slots fits the store's slots to what scheduler and worker ask for.
type slots struct{ store *store.Store }

func (s slots) StartSlot(ctx context.Context, name string, slot int64, owner string, lease time.Duration) (worker.Progress, bool, error) {
	state, mine, err := s.store.StartSlot(ctx, name, slot, owner, lease)
	return worker.Progress{Cursor: state.Cursor, Counts: state.Counts}, mine, err
}

func (s slots) SaveSlot(ctx context.Context, name string, slot int64, owner string, p worker.Progress, lease time.Duration) error {
	return lost(s.store.SaveSlot(ctx, name, slot, owner, store.SlotProgress{Cursor: p.Cursor, Counts: p.Counts}, lease))
}

func (s slots) FinishSlot(ctx context.Context, name string, slot int64, owner string, counts map[string]int64, outcome string) error {
	return lost(s.store.FinishSlot(ctx, name, slot, owner, counts, outcome))
}

func lost(err error) error {
	if errors.Is(err, store.ErrLeaseLost) {
		return worker.ErrSlotLost
	}
	return err
}

func (s slots) Slot(ctx context.Context, name string) (scheduler.Slot, error) {
	state, err := s.store.Slot(ctx, name)
	return scheduler.Slot{Done: state.Done, Running: state.Running, Until: state.Until, Resumes: state.Resumes}, err
}

// enqueue puts a task on the queue and returns its ID.
func (h *house) enqueue(task *asynq.Task, err error, opts ...asynq.Option) string {
	h.t.Helper()
	require.NoError(h.t, err)
	info, err := h.queue.EnqueueContext(h.t.Context(), task, opts...)
	require.NoError(h.t, err)
	return info.ID
}

// state is that of a task; false once it is gone.
func (h *house) state(queue, id string) (asynq.TaskState, bool) {
	h.t.Helper()
	info, err := h.inspector.GetTaskInfo(queue, id)
	if errors.Is(err, asynq.ErrTaskNotFound) {
		return 0, false
	}
	require.NoError(h.t, err)
	return info.State, true
}

func (h *house) eventually(what string, ok func() bool) {
	h.t.Helper()
	require.Eventually(h.t, ok, patience, glance, what)
}

func (h *house) archived(queue, id string) {
	h.t.Helper()
	h.eventually("the task is archived", func() bool {
		state, ok := h.state(queue, id)
		return ok && state == asynq.TaskStateArchived
	})
}

func (h *house) gone(queue, id string) {
	h.t.Helper()
	h.eventually("the task is done", func() bool {
		_, ok := h.state(queue, id)
		return !ok
	})
}

// connect stores credentials of a provider whose tokens were issued age ago,
// for an hour.
func (h *house) connect(provider string, age time.Duration, ids ...credential.ID) {
	h.t.Helper()
	now, err := h.store.Now(h.t.Context())
	require.NoError(h.t, err)
	writes := make([]credential.Write, len(ids))
	for i, id := range ids {
		login := credential.Login{
			ID: id, Provider: provider, ExpiresIn: time.Hour,
			Token: credential.Token{Access: credential.NewSecret("a"), Refresh: credential.NewSecret("first-" + string(id))},
		}
		writes[i] = credential.Connect(nil, login, policy(), credential.Nonce{1, byte(i), byte(i >> 8)}, now.Add(-age))
	}
	for chunk := range slices.Chunk(writes, 500) {
		statuses, err := h.store.Apply(h.t.Context(), chunk)
		require.NoError(h.t, err)
		for _, status := range statuses {
			require.Equal(h.t, credential.StatusWritten, status)
		}
	}
}

func policy() credential.Policy {
	return credential.Policy{RefreshAt: 0.66, Rotates: credential.RotatesYes, Times: credential.DefaultTimes(0)}
}

// due reads a due index of the only shard.
func (h *house) due(provider string) map[credential.ID]credential.Millis {
	h.t.Helper()
	list, err := h.client.ZRangeWithScores(h.t.Context(), "rd:{refresh-00}:due:"+provider, 0, -1).Result()
	require.NoError(h.t, err)
	scores := map[credential.ID]credential.Millis{}
	for _, z := range list {
		id, ok := z.Member.(string)
		require.True(h.t, ok)
		scores[credential.ID(id)] = credential.Millis(z.Score)
	}
	return maps.Clone(scores)
}
