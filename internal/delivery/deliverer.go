package delivery

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	// LaneCount is how many lanes a subscription's deliveries run in. Events
	// of one credential share a lane, so they arrive in order; lanes run side
	// by side.
	LaneCount = 64

	// pageSize is how many entries of the log are read at a time.
	pageSize = 512
	// laneLease is how long a lane stays with a worker that says nothing more:
	// what a killed one held goes on after it.
	laneLease = 5 * time.Second
	// auditEvery is how often lanes with undelivered events and nobody working
	// on them are looked for.
	auditEvery = time.Second
	// notifyEvery is how long notifications of one lane are gathered.
	notifyEvery = 20 * time.Millisecond
)

// RetrySchedule returns the waits before each delivery of one event, as
// Standard Webhooks recommends them. After the last one the endpoint is
// disabled; its cursor stays.
func RetrySchedule() []time.Duration {
	return []time.Duration{
		0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// Subscription is one receiver of events.
type Subscription struct {
	Name     string
	Filter   event.Filter
	Carrier  Carrier
	Schedule []time.Duration // waits before each delivery of one event; [RetrySchedule] unless set
}

// Carrier takes events to one subscriber. It is used by many goroutines.
type Carrier interface {
	// Carry delivers one event. It is called again with the same one until it
	// succeeds, and then with the next of that credential.
	Carry(ctx context.Context, entry credential.LogEntry) Outcome
}

// Outcome is what came of one delivery. Its zero value is none.
type Outcome struct {
	Result     Result
	Status     int           // that the receiver answered with; 0 where there is no such thing
	Err        error         // why it was not delivered; holds neither a secret nor the receiver's text
	Gone       bool          // the receiver wants no more
	RetryAfter time.Duration // that the receiver asked for
}

// Result sorts outcomes, for metrics and people.
type Result string

// The results of deliveries.
const (
	Delivered   Result = "delivered"
	Refused     Result = "refused"     // the receiver answered, and did not take it
	Unreachable Result = "unreachable" // no answer
	Invalid     Result = "invalid"     // it could not be sent at all
)

// Lane is the stored state of one lane of a subscription.
type Lane struct {
	Last    []string // by shard: the last entry that needs no more delivery here
	Want    uint64   // counts notifications
	Attempt int      // failed deliveries of the entry that comes next
}

// Lanes keeps the lanes' states. A lane is held by one holder at a time, for
// as long as its lease is extended.
type Lanes interface {
	// Notify says that a lane has news, and reports whether a task should be
	// enqueued: nobody holds the lane.
	Notify(ctx context.Context, subscription string, lane int) (bool, error)
	// Take leases a lane; false if somebody holds it, its next delivery is
	// still to come, or the subscription is disabled.
	Take(ctx context.Context, subscription string, lane int, holder credential.Nonce, lease time.Duration) (Lane, bool, error)
	// Advance stores how far one shard's log was delivered, clears the
	// attempts and extends the lease. It fails if the lease was lost.
	Advance(ctx context.Context, subscription string, lane int, holder credential.Nonce, shard int, last string) error
	// Fail stores a failed delivery and gives the lane up for as long as wait
	// says.
	Fail(ctx context.Context, subscription string, lane int, holder credential.Nonce, attempt int, wait time.Duration) error
	// Done gives the lane up unless it was notified since want: then it
	// reports true and the lane stays with its holder.
	Done(ctx context.Context, subscription string, lane int, holder credential.Nonce, want uint64) (bool, error)
}

// Subscriptions keeps what concerns a whole subscription.
type Subscriptions interface {
	// Open makes sure that the subscription exists; a new one starts behind
	// last, the ends of the shards' logs.
	Open(ctx context.Context, subscription string, last []string) error
	// Pending lists the lanes that have news and no holder, and whose next
	// delivery is due.
	Pending(ctx context.Context, subscription string) ([]int, error)
	Disable(ctx context.Context, subscription, reason string) error
}

// Queue enqueues the task that advances a lane.
type Queue interface {
	EnqueueDelivery(ctx context.Context, subscription string, lane int) error
}

// Options are what a [Deliverer] is made of.
type Options struct {
	Log           *event.Log
	Lanes         Lanes
	Subscriptions Subscriptions
	Queue         Queue
	Logger        zerolog.Logger
	Registerer    prometheus.Registerer
}

// Deliverer takes events to subscribers. What is to be delivered is found by
// cursor in the event log; tasks only say which lane to advance.
type Deliverer struct {
	opts       Options
	deliveries *prometheus.CounterVec
	subs       atomic.Pointer[[]Subscription]

	mu    sync.Mutex
	dirty map[laneKey]struct{}
	wake  chan struct{}

	ctx    context.Context //nolint:containedctx // the notifier's own life
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

type laneKey struct {
	subscription string
	lane         int
}

// New returns a deliverer without subscriptions.
func New(opts Options) *Deliverer {
	ctx, cancel := context.WithCancel(context.Background())
	d := &Deliverer{
		opts: opts,
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_deliveries_total", Help: "Deliveries to subscribers, by what came of them.",
		}, []string{"subscription", "outcome"}),
		dirty: map[laneKey]struct{}{}, wake: make(chan struct{}, 1),
		ctx: ctx, cancel: cancel,
	}
	d.subs.Store(&[]Subscription{})
	opts.Registerer.MustRegister(d.deliveries)
	return d
}

// SetSubscriptions replaces the subscriptions. A new one starts at the present
// end of the log.
func (d *Deliverer) SetSubscriptions(ctx context.Context, list []Subscription) error {
	kept := make([]Subscription, 0, len(list))
	for _, s := range list {
		if err := s.Filter.Check(); err != nil {
			return fmt.Errorf("subscription %q: %w", s.Name, err)
		}
		if s.Schedule == nil {
			s.Schedule = RetrySchedule()
		}
		end, err := d.opts.Log.End(ctx)
		if err != nil {
			return err
		}
		if err := d.opts.Subscriptions.Open(ctx, s.Name, end.Last); err != nil {
			return fmt.Errorf("subscription %q: %w", s.Name, err)
		}
		kept = append(kept, s)
	}
	d.subs.Store(&kept)
	return nil
}

// Start begins to notify lanes of what [Deliverer.Observe] hears.
func (d *Deliverer) Start() {
	d.loops.Go(d.notifyLoop)
	d.loops.Go(d.auditLoop)
}

// Stop ends the notifying. It can be called twice, and without Start.
func (d *Deliverer) Stop() {
	d.cancel()
	d.loops.Wait()
}

// Observe hears of an event of the log.
func (d *Deliverer) Observe(e credential.Event) {
	for _, s := range *d.subs.Load() {
		if s.Filter.Wants(e) {
			d.mark(laneKey{s.Name, laneOf(e.ID)})
		}
	}
}

// Heard is part of [Listener]; the end of the log is no news to a receiver.
func (d *Deliverer) Heard(int) {}

func (d *Deliverer) mark(key laneKey) {
	d.mu.Lock()
	d.dirty[key] = struct{}{}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// laneOf spreads credentials over lanes.
func laneOf(id credential.ID) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, string(id)) // a hash never fails
	return int(h.Sum32() % LaneCount)
}

func (d *Deliverer) notifyLoop() {
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-d.wake:
		}
		d.mu.Lock()
		dirty := d.dirty
		d.dirty = map[laneKey]struct{}{}
		d.mu.Unlock()
		wait := notifyEvery
		for key := range dirty {
			if !d.notify(key) {
				wait = auditEvery
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-d.ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// notify tells of a lane's news. If that fails it is done again, not at once.
func (d *Deliverer) notify(key laneKey) bool {
	enqueue, err := d.opts.Lanes.Notify(d.ctx, key.subscription, key.lane)
	if err == nil {
		err = failpoint.Hit(failpoint.DeliveryNotified)
	}
	if err == nil && enqueue {
		err = d.opts.Queue.EnqueueDelivery(d.ctx, key.subscription, key.lane)
	}
	if err != nil && d.ctx.Err() == nil {
		d.opts.Logger.Warn().Err(err).Str("subscription", key.subscription).Int("lane", key.lane).
			Msg("a lane could not be notified, again in a second")
		d.mark(key)
	}
	return err == nil
}

// auditLoop finds the lanes whose task died, or whose next delivery has become
// due: tasks are hints, the stored lanes are the truth.
func (d *Deliverer) auditLoop() {
	ticker := time.NewTicker(auditEvery)
	defer ticker.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-ticker.C:
		}
		for _, s := range *d.subs.Load() {
			lanes, err := d.opts.Subscriptions.Pending(d.ctx, s.Name)
			for _, lane := range lanes {
				err = errors.Join(err, d.opts.Queue.EnqueueDelivery(d.ctx, s.Name, lane))
			}
			if err != nil && d.ctx.Err() == nil {
				d.opts.Logger.Warn().Err(err).Str("subscription", s.Name).Msg("lanes could not be audited, again in a second")
			}
		}
	}
}
