package scheduler

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

const (
	// newPages is how many pages are read at the most in one poll of what has come
	// due since the last, or of a backlog that is not known yet.
	newPages = 10
	// oldPages is how many pages of what is known are read again in one poll: a
	// touch moves a clock, and what was put back has its place among the known.
	oldPages = 3
	// clockAhead is how far ahead clocks are remembered: for longer than a backlog
	// of 300,000 takes to be read again.
	clockAhead = 2 * time.Minute
)

// waiting is what is known of the overdue of one list that wait for their turn: the
// provider takes no call now, or not so many. Their own clocks go on: a token
// expires, a session ends, a countdown goes on.
type waiting struct {
	read  time.Time // when they were last read
	fresh place     // behind what was read of them
	again place     // behind what was read of them once more
	// soon has whose clock brings something within clockAhead: that moment.
	soon map[credential.ID]credential.Millis
}

// place is how far a reading of a due index has come that goes on later: behind
// as many entries of a score. Who goes on from there finds what has come since, but
// not what was put back in between.
type place struct {
	score credential.Millis
	past  int
}

// note remembers the clocks of a page as of now.
func (w *waiting) note(page []credential.Overdue, now credential.Millis) {
	if w.soon == nil {
		w.soon = map[credential.ID]credential.Millis{}
	}
	for _, o := range page {
		if o.Clock != 0 && o.Clock <= now.Add(clockAhead) {
			w.soon[o.ID] = o.Clock
		} else {
			delete(w.soon, o.ID)
		}
	}
}

// passed returns up to n of those whose clocks have passed, the first first.
func (w *waiting) passed(now credential.Millis, n int) []credential.ID {
	var ids []credential.ID
	for id, clock := range w.soon {
		if clock <= now {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b credential.ID) int {
		return cmp.Or(cmp.Compare(w.soon[a], w.soon[b]), cmp.Compare(a, b))
	})
	return ids[:min(n, len(ids))]
}

// settle forgets those that were claimed. What was not is in other hands, which
// tell it or put it back before long; if its clock had passed before a moment, it
// is forgotten as well.
func (w *waiting) settle(asked, claimed []credential.ID, before credential.Millis) {
	for _, id := range claimed {
		delete(w.soon, id)
	}
	for _, id := range asked {
		if w.soon[id] <= before {
			delete(w.soon, id)
		}
	}
}

// tell has what time alone brings told of those that are overdue and wait, once a
// poll. It is no call, so it needs no permit. share is how many batches it may
// make of the queue's room.
func (l *shardLoop) tell(ctx context.Context, list *dueList, queue *room, share int) error {
	w := &list.waiting
	if time.Since(w.read) < l.d.poll {
		return nil
	}
	w.read = time.Now()
	now := l.d.clock.Now()
	if err := l.readWaiting(ctx, list, now); err != nil {
		return err
	}
	ids := w.passed(now, max(min(share, queue.left), 0)*tasks.MaxBatch)
	claimed, err := l.claim(ctx, list.provider, ids)
	if err != nil {
		return err
	}
	w.settle(ids, claimed, now.Add(-2*l.d.hold))
	queue.left -= (len(claimed) + tasks.MaxBatch - 1) / tasks.MaxBatch
	return l.enqueue(ctx, tasks.Batch{Provider: list.provider, ClockOnly: true}, claimed)
}

// readWaiting reads those that have come to wait, and again some of those that
// did before.
func (l *shardLoop) readWaiting(ctx context.Context, list *dueList, now credential.Millis) error {
	w := &list.waiting
	for range newPages {
		page, err := l.waitingFrom(ctx, list.provider, &w.fresh, now)
		if err != nil {
			return err
		}
		w.note(page, now)
		if len(page) < pageSize {
			break
		}
	}
	for range oldPages {
		page, err := l.waitingFrom(ctx, list.provider, &w.again, w.fresh.score)
		if err != nil {
			return err
		}
		w.note(page, now)
		if len(page) < pageSize {
			w.again = place{}
			break
		}
	}
	return nil
}

// waitingFrom reads a page from a place on, and moves the place behind it.
func (l *shardLoop) waitingFrom(ctx context.Context, provider string, at *place, till credential.Millis) ([]credential.Overdue, error) {
	page, err := l.d.index.Overdue(ctx, l.shard, provider, at.score, till, at.past, pageSize)
	if err == nil {
		err = l.d.index.Expiries(ctx, l.shard, page)
	}
	if err != nil {
		return nil, err
	}
	for _, o := range page {
		if o.Due != at.score {
			*at = place{score: o.Due}
		}
		at.past++
	}
	return page, nil
}
