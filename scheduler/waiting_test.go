package scheduler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

// withoutPermits is a provider that takes no call now.
func withoutPermits(string, time.Duration) (int, error) { return 0, nil }

// clockOnly lists what was sent to be told and not called, in order, and when.
func (q *fakeQueue) clockOnly() (ids []credential.ID, at []credential.Millis) {
	for _, b := range q.sent() {
		if b.ClockOnly {
			for _, id := range b.IDs {
				ids, at = append(ids, id), append(at, b.at)
			}
		}
	}
	return ids, at
}

func TestWhatTimeBringsIsToldOfThoseThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, withoutPermits, "acme")
		now := b.clock.Now()
		b.index.clocks = map[credential.ID]credential.Millis{
			"dies": now.Add(20 * time.Second), "touched": now.Add(20 * time.Second), "later": now.Add(40 * time.Second), "lives": now.Add(time.Hour),
			"over": now - 60_000,
		}
		b.index.add("acme", now-1, "dies", "touched", "lives", "endless", "over")
		b.index.add("acme", now.Add(30*time.Second), "later")
		stop := run(t, b.loop)
		ids, at := b.queue.clockOnly()
		require.Equal(t, []credential.ID{"over"}, ids, "its clock had passed before it was read")
		b.index.done("acme", "over")
		elapse(10 * time.Second)
		b.index.set(func(f *fakeIndex) { f.clocks["touched"] = now.Add(time.Hour) })
		elapse(50 * time.Second)
		stop()
		ids, at = b.queue.clockOnly()
		require.GreaterOrEqual(t, len(ids), 3)
		assert.Equal(t, []credential.ID{"over", "dies"}, ids[:2])
		assert.Contains(t, ids, credential.ID("later"))
		assert.NotContains(t, ids, credential.ID("touched"))
		assert.NotContains(t, ids, credential.ID("lives"))
		for i, id := range ids {
			if id != "over" {
				assert.GreaterOrEqual(t, at[i], b.index.clocks[id])
			}
		}
		assert.LessOrEqual(t, at[1].Sub(b.index.clocks["dies"]), 1300*time.Millisecond)
		assert.Len(t, b.queue.ids("acme"), len(ids), "nothing is sent to be called")
	})
}

func TestABacklogThatWaitsIsReadSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const count, polls = 10_000, 30
		b := newBench(t, withoutPermits, "acme")
		all := names("c", count)
		b.index.add("acme", b.clock.Now(), all...)
		b.index.clocks = map[credential.ID]credential.Millis{}
		for i, id := range all {
			b.index.clocks[id] = b.clock.Now().Add(time.Duration(i) * time.Second)
		}
		stop := run(t, b.loop)
		elapse(polls * time.Second)
		stop()
		ids, at := b.queue.clockOnly()
		told := map[credential.ID]bool{}
		for i, id := range ids {
			if !told[id] { // nobody does it here, so it comes back
				assert.LessOrEqual(t, at[i].Sub(b.index.clocks[id]), 1300*time.Millisecond)
			}
			told[id] = true
		}
		assert.GreaterOrEqual(t, len(told), polls-2)
		assert.LessOrEqual(t, len(told), polls+1)
		assert.LessOrEqual(t, b.index.records, count+(polls+1)*oldPages*pageSize, "a bounded part of it in each poll")
	})
}

// forkedQueue keeps what is to be called apart from what is only to be told.
type forkedQueue struct{ calls, clocks *fakeQueue }

func (q forkedQueue) EnqueueContext(ctx context.Context, task *asynq.Task, opts ...asynq.Option) (*asynq.TaskInfo, error) {
	batch, err := tasks.DecodeBatch(task.Payload())
	if err != nil {
		return nil, err
	}
	if batch.ClockOnly {
		return q.clocks.EnqueueContext(ctx, task, opts...)
	}
	return q.calls.EnqueueContext(ctx, task, opts...)
}

// Of a backlog that is served slowly those have their turn that die first; what
// time brings to the others takes no turn from them.
func TestWhatTimeBringsTakesNobodysTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bucket := &tokenBucket{perSecond: 10, tokens: 10, at: time.Now()}
		b := newBench(t, nil, "acme")
		calls := &fakeQueue{clock: b.clock}
		bucket.queue = calls
		b.d.queue = forkedQueue{calls: calls, clocks: b.queue}
		b.d.capacity = bucket
		all := names("c", 600)
		b.index.add("acme", b.clock.Now(), all...)
		last := all[len(all)-1]
		b.index.expires[last] = b.clock.Now() - 1
		for _, id := range all[:len(all)-1] {
			b.index.expires[id] = b.clock.Now().Add(time.Hour)
		}
		b.index.clocks = map[credential.ID]credential.Millis{last: b.clock.Now().Add(10 * time.Second)}
		stop := run(t, b.loop)
		elapse(20 * time.Second)
		stop()
		ids, at := b.queue.clockOnly()
		require.NotEmpty(t, ids)
		assert.Equal(t, last, ids[0])
		assert.LessOrEqual(t, at[0].Sub(b.index.clocks[last]), 1300*time.Millisecond)
		assert.NotContains(t, calls.ids("acme"), last, "those that live have their turn before it")
		assert.GreaterOrEqual(t, len(calls.ids("acme")), 200)
	})
}
