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
	// waitingPage is how many of those that wait are read together: in a few
	// milliseconds of the store's time.
	waitingPage = 1000
	// newPages is how many pages are read at the most in one poll of what has come
	// due since the last, or of a backlog that is not known yet.
	newPages = 10
	// againPages is how many pages of what is known are read again in one poll: a
	// touch moves a clock, and what was put back has its place among the known.
	againPages = 3
	// clockAhead is how far ahead clocks are remembered: for longer than a backlog
	// of 300,000 takes to be read again.
	clockAhead = 2 * time.Minute
)

// waiting is what is known of the overdue of one list that wait for their turn: the
// provider takes no call now, or not so many. Their own clocks go on: a token
// expires, a session ends, a countdown goes on.
type waiting struct {
	read  time.Time        // when they were last read
	fresh credential.Place // behind what was read of them
	again credential.Place // behind what was read of them once more
	// soon has whose clock brings something within clockAhead: that moment.
	soon map[credential.ID]credential.Millis
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
		page, next, err := l.d.clocks.Clocks(ctx, l.shard, list.provider, w.fresh, now, waitingPage)
		if err != nil {
			return err
		}
		w.note(page, now)
		if w.fresh = next; len(page) < waitingPage {
			break
		}
	}
	for range againPages {
		page, next, err := l.d.clocks.Clocks(ctx, l.shard, list.provider, w.again, w.fresh.Score, waitingPage)
		if err != nil {
			return err
		}
		w.note(page, now)
		if w.again = next; len(page) < waitingPage {
			w.again = credential.Place{}
			break
		}
	}
	return nil
}
