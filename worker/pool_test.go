package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
	"github.com/refreshd/refreshd/worker"
)

func batchOf(ids ...credential.ID) (*asynq.Task, error) {
	return tasks.NewBatch(0, tasks.Batch{Provider: "acme", IDs: ids})
}

func TestTasksReachTheirHandlers(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.connect("acme", 0, "a", "b")
	reg := prometheus.NewRegistry()
	refreshes := &recorder{}
	var mu sync.Mutex
	var lanes []tasks.Delivery
	h.pool(h.client, reg, func(o *worker.Options) {
		o.Refresher = refreshes
		o.Deliverer = deliverFunc(func(_ context.Context, subscription string, lane int) error {
			mu.Lock()
			defer mu.Unlock()
			lanes = append(lanes, tasks.Delivery{Subscription: subscription, Lane: lane})
			return nil
		})
	})
	task, err := batchOf("a", "b")
	batch := h.enqueue(task, err)
	task, err = tasks.NewSingle(tasks.Single{ID: "c", RejectedGeneration: 7})
	single := h.enqueue(task, err)
	task, err = tasks.NewDelivery(tasks.Delivery{Subscription: "ui", Lane: 3}, time.Now())
	delivery := h.enqueue(task, err)
	task, err = tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900}, time.Minute)
	h.enqueue(task, err)

	h.gone(tasks.RefreshQueue(0), batch)
	h.gone(tasks.QueueSingle, single)
	h.gone(tasks.QueueDelivery, delivery)
	h.eventually("the slot is done", func() bool {
		state, err := h.store.Slot(t.Context(), tasks.SlotName("acme"))
		return err == nil && state.Done == 900
	})
	assert.Equal(t, []tasks.Batch{{Provider: "acme", IDs: []credential.ID{"a", "b"}}}, refreshes.seen())
	assert.Equal(t, []tasks.Single{{ID: "c", RejectedGeneration: 7}}, refreshes.asked())
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, []tasks.Delivery{{Subscription: "ui", Lane: 3}}, lanes)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP refreshd_batch_credentials_total Credentials in refresh batches, by what became of them.
# TYPE refreshd_batch_credentials_total counter
refreshd_batch_credentials_total{provider="acme",result="advanced"} 0
refreshd_batch_credentials_total{provider="acme",result="failed"} 0
refreshd_batch_credentials_total{provider="acme",result="refreshed"} 2
refreshd_batch_credentials_total{provider="acme",result="returned"} 0
refreshd_batch_credentials_total{provider="acme",result="skipped"} 0
`), "refreshd_batch_credentials_total"))
}

// What is only to be told is not its turn for a call, whoever has permits.
func TestABatchThatIsOnlyToBeToldIsNotRefreshed(t *testing.T) {
	t.Parallel()
	h := open(t)
	reg := prometheus.NewRegistry()
	refreshes := &recorder{}
	h.pool(h.client, reg, func(o *worker.Options) { o.Refresher = refreshes })
	batch := tasks.Batch{Provider: "acme", IDs: []credential.ID{"a", "b"}, ClockOnly: true}
	task, err := tasks.NewBatch(0, batch)
	h.gone(tasks.RefreshQueue(0), h.enqueue(task, err))
	assert.Equal(t, []tasks.Batch{batch}, refreshes.seen())
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP refreshd_batch_credentials_total Credentials in refresh batches, by what became of them.
# TYPE refreshd_batch_credentials_total counter
refreshd_batch_credentials_total{provider="acme",result="told"} 2
`), "refreshd_batch_credentials_total"))
}

func TestATaskThatFailsIsNeitherArchivedNorRunAgain(t *testing.T) {
	t.Parallel()
	h := open(t)
	reg := prometheus.NewRegistry()
	log := &lines{}
	refreshes := &recorder{act: func(context.Context, []credential.ID) error { return errors.New("the store is away") }}
	h.pool(h.client, reg, func(o *worker.Options) {
		o.Refresher, o.Logger = refreshes, zerolog.New(log)
	})
	task, err := batchOf("a")
	id := h.enqueue(task, err)
	h.gone(tasks.RefreshQueue(0), id)
	assert.Len(t, refreshes.seen(), 1)
	assert.Contains(t, log.String(), "the store is away")
	info, err := h.inspector.GetQueueInfo(tasks.RefreshQueue(0))
	require.NoError(t, err)
	assert.Zero(t, info.Archived+info.Retry)
	assert.Equal(t, 1, testutil.CollectAndCount(reg, "refreshd_tasks_total"))
}

func TestMalformedUnknownAndPanickingTasksAreArchivedAndCounted(t *testing.T) {
	t.Parallel()
	h := open(t)
	reg := prometheus.NewRegistry()
	h.pool(h.client, reg, func(o *worker.Options) {
		o.Refresher = &recorder{act: func(_ context.Context, ids []credential.ID) error {
			if ids[0] == "panic" {
				panic("a handler's mistake")
			}
			return nil
		}}
	})
	queue := tasks.RefreshQueue(0)
	options := []asynq.Option{asynq.Queue(queue), asynq.MaxRetry(0)}
	malformed := h.enqueue(asynq.NewTask(tasks.TypeRefreshBatch, []byte(`{"provider":"acme"}`), options...), nil, asynq.MaxRetry(5))
	unknown := h.enqueue(asynq.NewTask("refresh:of-the-next-version", nil, options...), nil)
	task, err := batchOf("panic")
	panicked := h.enqueue(task, err)
	h.archived(queue, malformed)
	h.archived(queue, unknown)
	h.archived(queue, panicked)
	task, err = batchOf("well")
	h.gone(queue, h.enqueue(task, err))
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP refreshd_tasks_archived_total Tasks that asynq archived, by type and cause. Their work is found again without them.
# TYPE refreshd_tasks_archived_total counter
refreshd_tasks_archived_total{cause="error",type="unknown"} 1
refreshd_tasks_archived_total{cause="malformed",type="refresh:batch"} 1
refreshd_tasks_archived_total{cause="panic",type="refresh:batch"} 1
`), "refreshd_tasks_archived_total"))
}

func TestStopWaitsMayBeCalledTwiceAndWithoutStart(t *testing.T) {
	t.Parallel()
	h := open(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	p := h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) {
		o.Refresher = &recorder{act: func(context.Context, []credential.ID) error {
			close(entered)
			<-leave
			return nil
		}}
	})
	task, err := batchOf("a")
	id := h.enqueue(task, err)
	<-entered
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p.Stop(impatient), context.Canceled)
	close(leave)
	require.NoError(t, p.Stop(t.Context()))
	require.NoError(t, p.Stop(t.Context()))
	_, there := h.state(tasks.RefreshQueue(0), id)
	assert.False(t, there, "what was under way ended in order")

	never, err := worker.New(worker.Options{
		NewServer:  func(cfg asynq.Config) *asynq.Server { return asynq.NewServerFromRedisClient(h.client, cfg) },
		Registerer: prometheus.NewRegistry(), Shards: 1,
	})
	require.NoError(t, err)
	require.NoError(t, never.Stop(t.Context()))
	require.NoError(t, never.Stop(t.Context()))
	require.NoError(t, h.client.Ping(t.Context()).Err(), "the servers share a client and none closes it")
}

func TestAHandlerThatOutlivesTheShutdownTimeoutIsWaitedForAndItsTaskGoesBack(t *testing.T) {
	t.Parallel()
	h := open(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	abandoned := make(chan struct{})
	p := h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) {
		o.ShutdownTimeout = time.Millisecond
		o.Refresher = &recorder{act: func(ctx context.Context, _ []credential.ID) error {
			close(entered)
			<-ctx.Done()
			close(abandoned)
			<-leave
			return nil
		}}
	})
	task, err := batchOf("a")
	id := h.enqueue(task, err)
	<-entered
	stopped := make(chan error)
	go func() { stopped <- p.Stop(t.Context()) }()
	<-abandoned
	h.eventually("the task is pushed back", func() bool {
		state, ok := h.state(tasks.RefreshQueue(0), id)
		return ok && state == asynq.TaskStatePending
	})
	select {
	case err := <-stopped:
		t.Fatalf("Stop returned while a handler was running: %v", err)
	default:
	}
	close(leave)
	require.NoError(t, <-stopped)
}

func TestInFlightTasksAreBounded(t *testing.T) {
	t.Parallel()
	for _, n := range []int{-1, 500, 10_000} {
		_, err := worker.New(worker.Options{Concurrency: n, Registerer: prometheus.NewRegistry()})
		require.ErrorContains(t, err, fmt.Sprint(n))
		require.ErrorContains(t, err, "499")
	}
}

// asynq takes one task per round trip and a server that is full takes none, so
// each kind of task has a server of its own.
func TestAsynqPitfallSlowTasksOfOneKindHoldUpNoOther(t *testing.T) {
	t.Parallel()
	h := open(t)
	var blocked sync.WaitGroup
	blocked.Add(4 + 64 + 8)
	release := make(chan struct{})
	block := func(ctx context.Context) {
		blocked.Done()
		select {
		case <-release:
		case <-ctx.Done():
		}
	}
	refreshes := &recorder{act: func(ctx context.Context, ids []credential.ID) error {
		if strings.HasPrefix(string(ids[0]), "slow") {
			block(ctx)
		}
		return nil
	}}
	h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) {
		o.Refresher, o.Concurrency = refreshes, 8
		o.Walker = blockingWalker{block}
		o.Deliverer = deliverFunc(func(ctx context.Context, _ string, _ int) error {
			block(ctx)
			return nil
		})
	})
	for i := range 8 {
		task, err := tasks.NewSingle(tasks.Single{ID: credential.ID(fmt.Sprintf("slow-%d", i))})
		h.enqueue(task, err)
	}
	for lane := range 64 {
		task, err := tasks.NewDelivery(tasks.Delivery{Subscription: "ui", Lane: lane}, time.Now())
		h.enqueue(task, err)
	}
	for i := range 4 {
		task, err := tasks.NewSlot(tasks.Sweep{Provider: fmt.Sprintf("p%d", i), Slot: 900}, time.Minute)
		h.enqueue(task, err)
	}
	blocked.Wait() // every place of the other servers is taken
	task, err := batchOf("quick")
	h.gone(tasks.RefreshQueue(0), h.enqueue(task, err))
	assert.Len(t, refreshes.seen(), 1)
	close(release)
}

type blockingWalker struct{ block func(context.Context) }

func (w blockingWalker) Walk(ctx context.Context, _, _ string, _ int) ([]credential.Held, string, error) {
	w.block(ctx)
	return nil, "", nil
}

func (w blockingWalker) Suspects(context.Context, string, []credential.Held, []credential.Millis, credential.Millis) ([]bool, error) {
	return nil, nil
}

func (w blockingWalker) Heal(context.Context, credential.Held, credential.Millis) (bool, error) {
	return false, nil
}

func TestADeliveryThatIsOutOfTimeIsNoFailure(t *testing.T) {
	t.Parallel()
	h := open(t)
	log := &lines{}
	entered := make(chan struct{})
	h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) {
		o.Logger = zerolog.New(log)
		o.Deliverer = deliverFunc(func(ctx context.Context, _ string, _ int) error {
			close(entered)
			<-ctx.Done()
			return ctx.Err()
		})
	})
	task, err := tasks.NewDelivery(tasks.Delivery{Subscription: "ui"}, time.Now())
	id := h.enqueue(task, err, asynq.Timeout(tasks.Grace+time.Second))
	<-entered
	h.gone(tasks.QueueDelivery, id)
	assert.NotContains(t, log.String(), "did not do")
}

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

var _ io.Writer = (*lines)(nil)

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
