package scheduler

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus/testutil"
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

// withoutRepeats lists each where it was met first.
func withoutRepeats(ids []credential.ID) (first []credential.ID) {
	for _, id := range ids {
		if !slices.Contains(first, id) {
			first = append(first, id)
		}
	}
	return first
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
		b.index.sessions = map[credential.ID]bool{"touched": true, "returned": true}
		b.index.clocks["returned"] = now.Add(time.Hour)
		b.index.add("acme", now-1, "returned")
		b.index.add("acme", now-1, "dies", "touched", "lives", "endless", "over")
		b.index.add("acme", now.Add(30*time.Second), "later")
		stop := run(t, b.loop)
		ids, _ := b.queue.clockOnly()
		require.Equal(t, []credential.ID{"over"}, ids, "its clock had passed before it was read")
		b.index.done("over")
		elapse(10 * time.Second)
		b.index.set(func(f *fakeIndex) {
			f.clocks["touched"], f.clocks["returned"] = now.Add(time.Hour), now.Add(15*time.Second)
		})
		elapse(50 * time.Second)
		stop()
		ids, at := b.queue.clockOnly()
		require.GreaterOrEqual(t, len(withoutRepeats(ids)), 3)
		require.Equal(t, []credential.ID{"over", "returned", "dies"}, withoutRepeats(ids)[:3])
		assert.Contains(t, ids, credential.ID("later"))
		assert.NotContains(t, ids, credential.ID("touched"))
		assert.NotContains(t, ids, credential.ID("lives"))
		for i, id := range ids {
			if id != "over" {
				assert.GreaterOrEqual(t, at[i], b.index.clocks[id])
			}
		}
		for _, id := range []credential.ID{"returned", "dies"} {
			assert.LessOrEqual(t, at[slices.Index(ids, id)].Sub(b.index.clocks[id]), 1300*time.Millisecond, id)
		}
		assert.Len(t, b.queue.ids("acme"), len(ids), "nothing is sent to be called")
		assert.Zero(t, testutil.ToFloat64(b.d.metrics.dispatched.WithLabelValues("acme")), "and nothing is counted as if it were")
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
		assert.LessOrEqual(t, b.index.records, count+(polls+1)*againRecords, "a bounded part of it in each poll")
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
		b := newBench(t, bucket.room, "acme")
		calls := &fakeQueue{clock: b.clock}
		bucket.queue, bucket.books, b.books.waits = calls, b.books, true
		b.d.queue = forkedQueue{calls: calls, clocks: b.queue}
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

// Whoever was told is put back to its place by a worker, where its next moment is
// found; one whose clock had moved was claimed for nothing, and only once.
func TestWhoWasToldIsReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, withoutPermits, "acme")
		now := b.clock.Now()
		all := names("c", 2500) // of which two are told
		told, moved := all[700], all[1900]
		b.index.add("acme", now.Add(-time.Minute), all...)
		b.index.clocks = map[credential.ID]credential.Millis{told: now.Add(3 * time.Second), moved: now.Add(3 * time.Second)}
		stop := run(t, b.loop)
		elapse(2 * time.Second)
		b.index.set(func(f *fakeIndex) { f.clocks[moved] = now.Add(time.Hour) })
		elapse(2500 * time.Millisecond)
		ids, _ := b.queue.clockOnly()
		require.ElementsMatch(t, []credential.ID{told, moved}, ids)
		b.index.set(func(f *fakeIndex) { f.clocks[told] = now.Add(8 * time.Second) })
		b.index.add("acme", now.Add(-time.Minute), told, moved)
		elapse(7500 * time.Millisecond)
		stop()
		ids, at := b.queue.clockOnly()
		require.Equal(t, told, ids[len(ids)-1])
		assert.Len(t, ids, 3, "each for its own moment, and nobody else")
		assert.LessOrEqual(t, at[2].Sub(now.Add(8*time.Second)), 1300*time.Millisecond)
		assert.Equal(t, len(all)+2, b.index.records, "no other record was read again")
	})
}

// What is told is known no more, and nobody is picked in its place before it is back.
func TestWhoIsToldIsNotPickedAsWell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(50)
		now := e.clock.Now()
		all := e.arrive(200, now.Add(-time.Hour), now.Add(time.Hour))
		e.clocks = map[credential.ID]credential.Millis{all[0]: now - 1, all[7]: now - 2, all[9]: now - 3, all[12]: now + 1}
		for e.backlog.known == nil || e.backlog.blind {
			require.NoError(t, e.backlog.follow(t.Context()))
		}
		require.Empty(t, e.backlog.passed(now, 0))
		require.Equal(t, []credential.ID{all[9], all[7]}, e.backlog.passed(now, 2))
		require.Equal(t, []credential.ID{all[0]}, e.backlog.passed(now, 2))
		require.Empty(t, e.backlog.passed(now, 2))
		require.Equal(t, []credential.ID{all[12]}, e.backlog.passed(now+1, 2))
		e.put(all[7], now.Add(-time.Hour), now.Add(time.Hour), 0)
		ids, _, err := e.backlog.pick(t.Context(), 3)
		require.NoError(t, err)
		assert.Equal(t, []credential.ID{all[1], all[2], all[3]}, ids)
	})
}
