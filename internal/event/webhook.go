package event

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

const (
	// LaneCount is how many lanes a subscription's deliveries run in. Events
	// of one credential share a lane, so they arrive in order; lanes run side
	// by side.
	LaneCount = 64

	// deliveryTimeout bounds one delivery (Standard Webhooks recommends 15 to
	// 30 s).
	deliveryTimeout = 20 * time.Second
	// laneLease is how long a lane stays with a worker that says nothing more:
	// what a killed one held goes on after it.
	laneLease = 5 * time.Second
	// maxReply is how much of a receiver's answer is read, to keep its
	// connection usable.
	maxReply = 16 << 10
	// maxRetryAfter caps what a receiver may ask for.
	maxRetryAfter = 24 * time.Hour
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
	Name   string
	URL    string
	Secret credential.Secret // "whsec_" and base64 of 24 to 64 bytes
	Filter Filter
}

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

// WebhookOptions are what [Webhooks] are made of.
type WebhookOptions struct {
	Log           *Log
	Lanes         Lanes
	Subscriptions Subscriptions
	Queue         Queue
	Client        *http.Client // dials only where deliveries may go, and follows no redirect
	Source        string
	UserAgent     string
	// Now is the wall clock, against which a receiver holds the signature's
	// time: what processes share may be the clock of a host that is off.
	Now        func() time.Time
	Logger     zerolog.Logger
	Registerer prometheus.Registerer
	Schedule   []time.Duration // [RetrySchedule] unless set
}

// Webhooks delivers events to subscribers' endpoints, with the signatures of
// Standard Webhooks. What is to be delivered is found by cursor in the event
// log; tasks only say which lane to advance.
type Webhooks struct {
	opts       WebhookOptions
	deliveries *prometheus.CounterVec
	subs       atomic.Pointer[[]receiver]

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

type receiver struct {
	Subscription

	signer *standardwebhooks.Webhook
}

// NewWebhooks returns a deliverer without subscriptions.
func NewWebhooks(opts WebhookOptions) *Webhooks {
	if opts.Schedule == nil {
		opts.Schedule = RetrySchedule()
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Webhooks{
		opts: opts,
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "refreshd_deliveries_total", Help: "Webhook deliveries, by what came of them.",
		}, []string{"subscription", "outcome"}),
		dirty: map[laneKey]struct{}{}, wake: make(chan struct{}, 1),
		ctx: ctx, cancel: cancel,
	}
	w.subs.Store(&[]receiver{})
	opts.Registerer.MustRegister(w.deliveries)
	return w
}

// SetSubscriptions replaces the subscriptions. A new one starts at the present
// end of the log.
func (w *Webhooks) SetSubscriptions(ctx context.Context, list []Subscription) error {
	receivers := make([]receiver, 0, len(list))
	for _, s := range list {
		if err := s.Filter.Check(); err != nil {
			return fmt.Errorf("subscription %q: %w", s.Name, err)
		}
		signer, err := standardwebhooks.NewWebhook(s.Secret.Reveal())
		if err != nil {
			return fmt.Errorf("subscription %q: the secret must be \"whsec_\" and base64 of 24 to 64 bytes", s.Name)
		}
		end, err := w.opts.Log.End(ctx)
		if err != nil {
			return err
		}
		if err := w.opts.Subscriptions.Open(ctx, s.Name, end.Last); err != nil {
			return fmt.Errorf("subscription %q: %w", s.Name, err)
		}
		receivers = append(receivers, receiver{Subscription: s, signer: signer})
	}
	w.subs.Store(&receivers)
	return nil
}

// Start begins to notify lanes of what [Webhooks.Observe] hears.
func (w *Webhooks) Start() {
	w.loops.Go(w.notifyLoop)
	w.loops.Go(w.auditLoop)
}

// Stop ends the notifying. It can be called twice, and without Start.
func (w *Webhooks) Stop() {
	w.cancel()
	w.loops.Wait()
}

// Observe hears of an event of the log.
func (w *Webhooks) Observe(e credential.Event) {
	for _, s := range *w.subs.Load() {
		if s.Filter.Wants(e) {
			w.mark(laneKey{s.Name, laneOf(e.ID)})
		}
	}
}

// Heard is part of [Listener]; the end of the log is no news to a receiver.
func (w *Webhooks) Heard(int) {}

func (w *Webhooks) mark(key laneKey) {
	w.mu.Lock()
	w.dirty[key] = struct{}{}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// laneOf spreads credentials over lanes.
func laneOf(id credential.ID) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, string(id)) // a hash never fails
	return int(h.Sum32() % LaneCount)
}

func (w *Webhooks) notifyLoop() {
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-w.wake:
		}
		w.mu.Lock()
		dirty := w.dirty
		w.dirty = map[laneKey]struct{}{}
		w.mu.Unlock()
		wait := notifyEvery
		for key := range dirty {
			if !w.notify(key) {
				wait = auditEvery
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-w.ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// notify tells of a lane's news. If that fails it is done again, not at once.
func (w *Webhooks) notify(key laneKey) bool {
	enqueue, err := w.opts.Lanes.Notify(w.ctx, key.subscription, key.lane)
	if err == nil {
		err = failpoint.Hit(failpoint.DeliveryNotified)
	}
	if err == nil && enqueue {
		err = w.opts.Queue.EnqueueDelivery(w.ctx, key.subscription, key.lane)
	}
	if err != nil && w.ctx.Err() == nil {
		w.opts.Logger.Warn().Err(err).Str("subscription", key.subscription).Int("lane", key.lane).
			Msg("a lane could not be notified, again in a second")
		w.mark(key)
	}
	return err == nil
}

// auditLoop finds the lanes whose task died, or whose next delivery has become
// due: tasks are hints, the stored lanes are the truth.
func (w *Webhooks) auditLoop() {
	ticker := time.NewTicker(auditEvery)
	defer ticker.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-ticker.C:
		}
		for _, s := range *w.subs.Load() {
			lanes, err := w.opts.Subscriptions.Pending(w.ctx, s.Name)
			for _, lane := range lanes {
				err = errors.Join(err, w.opts.Queue.EnqueueDelivery(w.ctx, s.Name, lane))
			}
			if err != nil && w.ctx.Err() == nil {
				w.opts.Logger.Warn().Err(err).Str("subscription", s.Name).Msg("lanes could not be audited, again in a second")
			}
		}
	}
}
