package worker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
	"github.com/refreshd/refreshd/tasks"
	"github.com/refreshd/refreshd/worker"
)

func many(prefix string, n int) []credential.ID {
	ids := make([]credential.ID, n)
	for i := range ids {
		ids[i] = credential.ID(fmt.Sprintf("%s-%d", prefix, i))
	}
	return ids
}

func TestAFetchHealsADueIndexThatWasLost(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.connect("acme", 0, many("fresh", 700)...)
	h.connect("acme", 50*time.Minute, many("due", 300)...)
	h.connect("shop", 0, many("other", 100)...)
	right := h.due("acme")
	require.Len(t, right, 1000)
	other := h.due("shop")
	// What a crash of Redis, or a person, can do to an index.
	require.NoError(t, h.client.Del(t.Context(), "rd:{refresh-00}:due:acme").Err())
	require.NoError(t, h.client.ZAdd(t.Context(), "rd:{refresh-00}:due:acme",
		redis.Z{Score: 1, Member: "fresh-1"}, redis.Z{Score: float64(right["fresh-2"]), Member: "fresh-2"}).Err())

	h.pool(h.client, prometheus.NewRegistry(), func(*worker.Options) {})
	task, err := tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900}, time.Minute)
	h.enqueue(task, err)
	var state store.SlotState
	h.eventually("the slot is done", func() bool {
		state, err = h.store.Slot(t.Context(), tasks.SlotName("acme"))
		return err == nil && state.Done == 900
	})
	assert.Empty(t, cmp.Diff(right, h.due("acme")))
	assert.Equal(t, other, h.due("shop"))
	assert.Equal(t, "finished", state.Outcome)
	assert.Zero(t, state.Running)
	// SCAN may visit a key twice.
	assert.GreaterOrEqual(t, state.Counts["seen"], int64(1000))
	assert.GreaterOrEqual(t, state.Counts["due"], int64(300))
	assert.EqualValues(t, 999, state.Counts["healed"])
}

func TestAFetchGoesOnFromTheStoredCursorOfADeadWorker(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.connect("acme", 0, many("c", 2000)...)
	name := tasks.SlotName("acme")
	_, mine, err := h.store.StartSlot(t.Context(), name, 900, "dead", time.Minute)
	require.NoError(t, err)
	require.True(t, mine)
	visited, cursor, err := h.store.Walk(t.Context(), "acme", "", 500)
	require.NoError(t, err)
	require.NotEmpty(t, cursor)
	kept := store.SlotProgress{Cursor: cursor, Counts: map[string]int64{"seen": 1_000_000}}
	require.NoError(t, h.store.SaveSlot(t.Context(), name, 900, "dead", kept, time.Millisecond))

	first := make(chan string, 100)
	h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) { o.Walker = cursors{h.store, first} })
	task, err := tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900, Resume: 1}, time.Minute)
	h.enqueue(task, err)
	assert.Equal(t, cursor, <-first)
	var state store.SlotState
	h.eventually("the slot is done", func() bool {
		state, err = h.store.Slot(t.Context(), name)
		return err == nil && state.Done == 900
	})
	assert.GreaterOrEqual(t, state.Counts["seen"], int64(1_000_000+2000-len(visited)))
	assert.Equal(t, 1, state.Resumes)
}

// cursors tells the cursors that it is asked for.
type cursors struct {
	*store.Store

	asked chan string
}

func (c cursors) Walk(ctx context.Context, provider, cursor string, count int) ([]credential.Held, string, error) {
	select {
	case c.asked <- cursor:
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
	return c.Store.Walk(ctx, provider, cursor, count)
}

func TestAStoppedFetchIsToBeResumedAtOnce(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.connect("acme", 0, many("c", 2000)...)
	asked := make(chan string)
	p := h.pool(h.client, prometheus.NewRegistry(), func(o *worker.Options) { o.Walker = cursors{h.store, asked} })
	task, err := tasks.NewSlot(tasks.Sweep{Provider: "acme", Slot: 900}, time.Minute)
	id := h.enqueue(task, err)
	<-asked
	<-asked // the first page is done, and no third one is read before the stop
	require.NoError(t, p.Stop(t.Context()))
	info, err := h.inspector.GetTaskInfo(tasks.QueueFetch, id)
	require.NoError(t, err)
	assert.False(t, info.CompletedAt.IsZero(), "the task itself is over, and its ID stays taken")
	state, err := h.store.Slot(t.Context(), tasks.SlotName("acme"))
	require.NoError(t, err)
	assert.EqualValues(t, 900, state.Running)
	assert.NotEmpty(t, state.Cursor)
	assert.Positive(t, state.Counts["seen"])
	h.eventually("nobody holds the slot", func() bool {
		now, err := h.store.Now(t.Context())
		return err == nil && state.Until < now
	})
}
