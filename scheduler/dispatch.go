package scheduler

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/tasks"
)

const (
	// claimLasts is how long a claim lasts. What is not begun by then is claimed
	// again: whatever became of its task, it is not later than this.
	claimLasts = 5 * time.Second
	// mostOverdue is how many overdue credentials are claimed together at the
	// most; a capacity of so many is no limit.
	mostOverdue = 5000
	// mostWaiting is how many batches may wait in a queue. Beyond that they
	// would wait for longer than their claims last.
	mostWaiting = 50
	// manyWaiting is how many batches wait in a queue whose workers have enough to do
	// for longer than a moment.
	manyWaiting = 5
)

// dispatcher claims what is due and enqueues it, with one loop per shard.
type dispatcher struct {
	index         Index
	capacity      Capacity
	account       Account
	recoverWithin func(provider string) time.Duration
	queue         tasks.Enqueuer
	depth         Depth
	clock         Clock
	poll          time.Duration
	log           zerolog.Logger
	metrics       *metrics

	nudges    []chan struct{} // one per shard
	glances   []chan struct{} // likewise
	providers atomic.Pointer[[]string]
}

func newDispatcher(opts Options, m *metrics) *dispatcher {
	d := &dispatcher{
		index: opts.Index, capacity: opts.Capacity, account: opts.Account, recoverWithin: opts.RecoverWithin, queue: opts.Queue, depth: opts.Depth, clock: opts.Clock,
		poll: opts.Poll, log: opts.Logger, metrics: m,
		nudges: make([]chan struct{}, opts.Shards), glances: make([]chan struct{}, opts.Shards),
	}
	for i := range d.nudges {
		d.nudges[i], d.glances[i] = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	d.providers.Store(&[]string{})
	return d
}

func (d *dispatcher) setProviders(names []string) {
	d.providers.Store(&names)
	d.nudge()
}

func (d *dispatcher) nudge() { tellAll(d.nudges) }

func (d *dispatcher) glance() { tellAll(d.glances) }

func tellAll(loops []chan struct{}) {
	for _, c := range loops {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// The waits until a provider's due times are looked at again. All are parts of
// poll, a second: long enough to gather batches and to leave Redis alone, short
// enough for a credential that was stored in the meantime.

// idle is the wait while nothing is due: until it is, at most a poll.
func (d *dispatcher) idle() time.Duration { return jitter(d.poll) }

// busy is the longest wait after there was work.
func (d *dispatcher) busy() time.Duration { return jitter(d.poll / 4) }

// limited is the wait while there is more to do than the provider takes.
func (d *dispatcher) limited() time.Duration { return jitter(d.poll / 10) }

// gather is the wait in which the next batch comes together, or the queue
// empties.
func (d *dispatcher) gather() time.Duration { return jitter(d.poll / 50) }

// jitter returns wait, give or take a tenth: replicas should not look all at
// the same moment.
func jitter(wait time.Duration) time.Duration {
	return time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64())) //nolint:gosec // spreads load, guards nothing
}

// until is the wait for a moment that is known: never too short, and up to a
// tenth longer.
func until(wait time.Duration) time.Duration {
	return time.Duration(float64(wait) * (1 + 0.1*rand.Float64())) //nolint:gosec // spreads load, guards nothing
}

// loop dispatches one shard until ctx ends.
func (d *dispatcher) loop(ctx context.Context, shard int) {
	l := &shardLoop{d: d, shard: shard, queue: tasks.RefreshQueue(shard), log: d.log.With().Int("shard", shard).Logger()}
	for {
		timer := time.NewTimer(l.pass(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.nudges[shard]:
			l.lookNow()
		case <-d.glances[shard]:
			timer.Reset(d.gather()) // a thousand of them are one look
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			select {
			case <-d.glances[shard]: // the look is still to come
			default:
			}
			l.glance()
		case <-timer.C:
		}
		timer.Stop()
	}
}

// shardLoop is the state of one shard's loop.
type shardLoop struct {
	d     *dispatcher
	shard int
	queue string
	log   zerolog.Logger

	names *[]string // that lists was made from
	lists []*dueList
	turn  int              // which list goes first
	took  [2]time.Duration // by the last two passes
}

// dueList is one provider's due index in the loop's shard.
type dueList struct {
	provider string
	lookAt   time.Time
	busy     bool      // there was work at the last look, if only some that waits
	down     bool      // the last look failed
	told     time.Time // when what time brings was last told of some of it
	backlog  *backlog
}

// lookNow has every list looked at, and read again: what is overdue may be other
// than it was.
func (l *shardLoop) lookNow() {
	for _, list := range l.lists {
		list.lookAt = time.Time{}
		list.backlog.again()
	}
}

// glance has the lists looked at that had nothing when they last were. Where there
// was work, a look is not far off.
func (l *shardLoop) glance() {
	for _, list := range l.lists {
		if !list.busy {
			list.lookAt = time.Time{}
		}
	}
}

// pass looks at the lists whose time has come and returns how long the next
// pass is away.
func (l *shardLoop) pass(ctx context.Context) time.Duration {
	l.refit()
	now := time.Now()
	var ready []*dueList
	for i := range l.lists {
		if list := l.lists[(i+l.turn)%len(l.lists)]; !list.lookAt.After(now) {
			ready = append(ready, list)
		}
	}
	l.turn++
	queue := room{left: -1}
	for i, list := range ready {
		if ctx.Err() != nil {
			return 0
		}
		list.backlog.others = min(l.took[0], l.took[1]) // a single pass may have stood still
		wait, err := l.look(ctx, list, &queue, len(ready)-i)
		if err != nil {
			wait = l.d.idle()
		}
		l.complain(ctx, list, err)
		list.lookAt = time.Now().Add(wait)
	}
	next := l.d.idle()
	l.took[0], l.took[1] = l.took[1], time.Since(now)
	now = time.Now()
	for _, list := range l.lists {
		next = min(next, list.lookAt.Sub(now))
	}
	return max(next, 0)
}

// refit follows a change of the providers.
func (l *shardLoop) refit() {
	names := l.d.providers.Load()
	if names == l.names {
		return
	}
	l.names = names
	before := map[string]*dueList{}
	for _, list := range l.lists {
		before[list.provider] = list
	}
	l.lists = l.lists[:0:0]
	for _, name := range *names {
		list, ok := before[name]
		if !ok {
			list = &dueList{provider: name, backlog: &backlog{
				index: l.d.index, clock: l.d.clock, within: l.d.recoverWithin, poll: l.d.poll, page: pageSize, shard: l.shard, provider: name,
			}}
		}
		l.lists = append(l.lists, list)
	}
}

// complain logs the first of a row of failures, and their end.
func (l *shardLoop) complain(ctx context.Context, list *dueList, err error) {
	switch {
	case err != nil && ctx.Err() == nil:
		if !list.down {
			l.log.Warn().Err(err).Str("provider", list.provider).Msg("due credentials cannot be dispatched, again in a second")
		}
		list.down = true
	case err == nil && list.down:
		list.down = false
		l.log.Info().Str("provider", list.provider).Msg("due credentials are dispatched again")
	}
}

// room is how many more batches fit into a queue.
type room struct{ left int } // -1: not asked yet

// look dispatches what is due of one list and returns when to look again.
// others counts the lists that share the room, this one included.
func (l *shardLoop) look(ctx context.Context, list *dueList, queue *room, others int) (time.Duration, error) {
	due, some, err := l.d.index.NextDue(ctx, l.shard, list.provider)
	if err != nil {
		return 0, err
	}
	now := l.d.clock.Now()
	if !some || due > now {
		longest := l.d.idle()
		if list.busy {
			longest = l.d.busy()
		}
		list.busy = false
		list.backlog.forget()
		if some {
			longest = min(longest, until(due.Sub(now)))
		}
		return longest, nil
	}
	if queue.left < 0 {
		waiting, err := l.d.depth.Waiting(ctx, l.queue)
		if err != nil {
			return 0, err
		}
		queue.left = max(mostWaiting-waiting, 0)
	}
	share := (queue.left + others - 1) / others
	if share == 0 {
		return l.d.gather(), nil
	}
	return l.dispatch(ctx, list, queue, share, now.Sub(due))
}

// horizon is for how long ahead a provider's credentials are claimed. What is
// claimed has its place: who comes to die before it waits behind it. So that is
// until after the next look; longer where batches wait in the queue for their
// workers, and so for longer than a moment.
func (l *shardLoop) horizon(queue *room) time.Duration {
	if mostWaiting-queue.left >= manyWaiting {
		return 2 * l.d.poll
	}
	return l.d.poll / 5
}

// dispatch claims and enqueues as much of a list as the provider takes and
// share batches hold.
func (l *shardLoop) dispatch(ctx context.Context, list *dueList, queue *room, share int, late time.Duration) (time.Duration, error) {
	want := min(share*tasks.MaxBatch, mostOverdue)
	capacity, err := l.d.capacity.Capacity(ctx, list.provider, l.horizon(queue))
	if err != nil {
		return 0, err
	}
	if capacity <= 0 {
		return l.wait(ctx, list, queue, share, l.d.busy())
	}
	endless := capacity >= mostOverdue
	reservation := ""
	if !endless {
		if want, reservation, err = l.d.account.ReserveClaims(ctx, list.provider, capacity, want); err != nil {
			return 0, err
		}
	}
	if want == 0 {
		return l.wait(ctx, list, queue, share, l.d.limited())
	}
	ids, more, err := l.take(ctx, list, want)
	if len(ids) < want && reservation != "" {
		l.settle(ctx, list.provider, reservation, len(ids))
	}
	if err != nil {
		return 0, err
	}
	queue.left -= (len(ids) + tasks.MaxBatch - 1) / tasks.MaxBatch
	list.busy = true
	if err := l.enqueue(ctx, tasks.Batch{Provider: list.provider, Reservation: reservation}, ids); err != nil {
		return 0, err
	}
	if len(ids) > 0 {
		l.d.metrics.late(list.provider, late)
	}
	switch {
	case !more:
		return l.d.gather(), nil
	case endless, list.backlog.blind:
		return 0, nil
	default:
		return l.d.limited(), l.tell(ctx, list, queue, share)
	}
}
