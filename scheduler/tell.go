package scheduler

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/tasks"
)

// wait keeps what is overdue of a list in view while none of it is called: their
// own clocks go on. It returns when to look again, which is longest unless there
// is more to read.
func (l *shardLoop) wait(ctx context.Context, list *dueList, queue *room, share int, longest time.Duration) (time.Duration, error) {
	list.busy = true // no glance makes it more
	if err := list.backlog.follow(ctx); err != nil {
		return 0, err
	}
	if list.backlog.blind {
		longest = min(longest, l.d.limited())
	}
	return longest, l.tell(ctx, list, queue, share)
}

// tell has what time alone brings told of those that are overdue and wait: a token
// expires, a session ends, a countdown goes on. It is no call, so it needs no permit.
// share is how many batches it may make of the queue's room; those of half a poll
// come together in one.
func (l *shardLoop) tell(ctx context.Context, list *dueList, queue *room, share int) error {
	if time.Since(list.told) < l.d.poll/2 {
		return nil
	}
	ids := list.backlog.passed(l.d.clock.Now(), min(share, queue.left)*tasks.MaxBatch)
	if len(ids) == 0 {
		return nil
	}
	list.told = time.Now()
	claimed, err := l.claim(ctx, list.provider, ids)
	if err != nil {
		return err
	}
	queue.left -= (len(claimed) + tasks.MaxBatch - 1) / tasks.MaxBatch
	return l.enqueue(ctx, tasks.Batch{Provider: list.provider, ClockOnly: true}, claimed)
}
