package delivery

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/event/eventtest"
	"github.com/refreshd/refreshd/internal/seal"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/internal/testproc"
)

// flakyCarrier refuses each fifth delivery, and tells when it has something.
type flakyCarrier struct {
	mu    sync.Mutex
	calls int
	got   []credential.Event
	came  chan struct{}
}

func (c *flakyCarrier) Carry(_ context.Context, entry credential.LogEntry) Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.calls%5 == 0 {
		return Outcome{Result: Refused, Status: 503, Err: errRefused}
	}
	c.got = append(c.got, entry.Event)
	select {
	case c.came <- struct{}{}:
	default:
	}
	return Outcome{Result: Delivered, Status: 204}
}

func (c *flakyCarrier) have() []credential.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// replica is a process that delivers.
type replica struct {
	*Deliverer

	dead atomic.Bool
	stop func()
}

func newReplica(t *testing.T, s *store.Store, carrier Carrier, queue *testQueue) *replica {
	t.Helper()
	log := event.NewLog(s, zerolog.Nop())
	r := &replica{}
	r.Deliverer = New(Options{
		Log: log, Lanes: mortalLanes{testLanes{s}, r.dead.Load}, Subscriptions: testSubscriptions{s}, Gaps: testSubscriptions{s}, Queue: queue,
		Retention: 96 * time.Hour, Now: func() credential.Millis { return credential.At(time.Now()) },
		Logger: zerolog.Nop(), Registerer: prometheus.NewRegistry(),
	})
	schedule := append(slices.Repeat([]time.Duration{10 * time.Millisecond}, 200), time.Hour)
	schedule[0] = 0
	require.NoError(t, r.SetSubscriptions(t.Context(), []Subscription{{Name: "ui", Carrier: carrier, Schedule: schedule}}))
	require.NoError(t, log.Start(t.Context()))
	r.Start()
	ctx, cancel := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for {
				select {
				case task := <-queue.tasks:
					_ = r.Advance(ctx, task.subscription, task.lane) // an audit finds what fails
				case <-ctx.Done():
					return
				}
			}
		})
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		workers.Wait()
		r.Stop()
		log.Stop()
	})
	t.Cleanup(r.stop)
	return r
}

// Two replicas share the lanes on a real Redis, one of them dies with what it
// holds, and the receiver fails at each fifth delivery: every version arrives,
// in order.
func TestReplicasOnRedis(t *testing.T) {
	t.Parallel()
	server := testproc.StartRedis(t, testproc.RedisOptions{})
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	keys, _, err := seal.Open(filepath.Join(t.TempDir(), "keyset.json"), seal.Options{})
	require.NoError(t, err)
	s, err := store.New(t.Context(), store.Options{Client: client, Keyset: keys, Owner: "self", Shards: 2})
	require.NoError(t, err)
	carrier := &flakyCarrier{came: make(chan struct{}, 1)}
	queue := &testQueue{tasks: make(chan laneKey, 10_000)}
	one, two := newReplica(t, s, carrier, queue), newReplica(t, s, carrier, queue)

	const credentials, each = 20, 16
	emit(t, s, credentials*each/2, credentials)
	eventtest.Soon(t, carrier.came, "a delivery")
	one.dead.Store(true)
	one.stop()
	emit(t, s, credentials*each-credentials*each/2, credentials)
	want := map[credential.ID]uint64{}
	for i := range credentials {
		want[credential.ID(fmt.Sprintf("user-%d", i))] = each
	}
	complete := func() bool {
		newest := map[credential.ID]uint64{}
		for _, e := range carrier.have() {
			newest[e.ID] = max(newest[e.ID], e.Version)
		}
		for id, version := range want {
			if newest[id] < version {
				return false
			}
		}
		return true
	}
	for !complete() {
		eventtest.Soon(t, carrier.came, "the next delivery")
	}
	two.stop()
	arrived(t, carrier.have(), want)
}
