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
	// notifyEvery is how long notifications are gathered.
	notifyEvery = 20 * time.Millisecond
	// minWait is the shortest wait that a schedule may have: a receiver that
	// refuses must not be called in a loop.
	minWait = 10 * time.Millisecond
)

// Subscription is one receiver of events.
type Subscription struct {
	Name     string
	Filter   event.Filter
	Carrier  Carrier
	Schedule []time.Duration // waits before each delivery of one event; [RetrySchedule] unless set, see [CheckSchedule]
}

// Carrier takes events to one subscriber. It is used by many goroutines.
type Carrier interface {
	// Carry delivers one event. It is called again with the same one until it
	// succeeds, and then with the next of that credential. A carrier that is
	// an io.Closer is closed once its subscription has another one, or none;
	// from then on Carry returns [ErrReplaced].
	Carry(ctx context.Context, entry credential.LogEntry) Outcome
}

// Resetter is a [Carrier] that can tell its subscriber that events are missing
// before those that follow, so that he has to look at the present state. One
// that cannot is given what is left without a word.
type Resetter interface {
	// Reset tells it. It is called again with the same ID until it succeeds.
	Reset(ctx context.Context, id string, at credential.Millis) Outcome
}

// Outcome is what came of one delivery. Its zero value is none.
type Outcome struct {
	Result     Result
	Status     int           // that the receiver answered with; 0 where there is no such thing
	Err        error         // why it was not delivered; holds neither a secret nor the receiver's text
	Gone       bool          // the receiver wants no more
	RetryAfter time.Duration // that the receiver asked for
}

// ErrReplaced is wrapped by the outcome's error of a carrier that was closed,
// for the subscription has another one now. It is no fault of the receiver's.
var ErrReplaced = errors.New("the subscription was changed meanwhile")

// Result sorts outcomes, for metrics and people.
type Result string

// The results of deliveries.
const (
	Delivered   Result = "delivered"
	Refused     Result = "refused"     // the receiver answered, and did not take it
	Unreachable Result = "unreachable" // no answer
	Invalid     Result = "invalid"     // it could not be sent at all
)

// Queue enqueues the task that advances a lane.
type Queue interface {
	EnqueueDelivery(ctx context.Context, subscription string, lane int) error
}

// Options are what a [Deliverer] is made of.
type Options struct {
	Log           *event.Log
	Lanes         Lanes
	Subscriptions Subscriptions
	Gaps          Gaps
	Queue         Queue
	// Retention is how long an event stays in the log: what is owed for three
	// quarters of it is announced.
	Retention time.Duration
	// Now is the store's clock.
	Now        func() credential.Millis
	Logger     zerolog.Logger
	Registerer prometheus.Registerer
}

// Deliverer takes events to subscribers. What is to be delivered is found by
// cursor in the event log; tasks only say which lane to advance.
type Deliverer struct {
	opts    Options
	metrics metrics
	subs    atomic.Pointer[[]*subscribed]
	setting sync.Mutex    // one SetSubscriptions at a time
	set     chan struct{} // has one when the subscriptions changed

	ctx    context.Context //nolint:containedctx // the loops' own life
	cancel context.CancelFunc
	loops  sync.WaitGroup
}

// subscribed is a subscription and how far its lanes were told of news.
type subscribed struct {
	Subscription

	told *told
}

// told belongs to the loop that tells. It outlives a change of the
// subscription.
type told struct {
	upTo   event.Cursor
	stored event.Cursor // what of it is stored
	saved  time.Time    // when it was stored last
	first  []string     // what it was when this process heard of the subscription
}

// New returns a deliverer without subscriptions.
func New(opts Options) *Deliverer {
	ctx, cancel := context.WithCancel(context.Background())
	d := &Deliverer{
		opts: opts, metrics: newMetrics(opts.Registerer), set: make(chan struct{}, 1),
		ctx: ctx, cancel: cancel,
	}
	d.subs.Store(&[]*subscribed{})
	return d
}

// SetSubscriptions replaces the subscriptions. A new one starts at the present
// end of the log, one that is known where its lanes stand.
func (d *Deliverer) SetSubscriptions(ctx context.Context, list []Subscription) error {
	d.setting.Lock()
	defer d.setting.Unlock()
	kept := make([]*subscribed, 0, len(list))
	for _, s := range list {
		one, err := d.subscribe(ctx, s)
		if err != nil {
			return fmt.Errorf("subscription %q: %w", s.Name, err)
		}
		kept = append(kept, one)
	}
	before := d.subs.Swap(&kept)
	for _, s := range *before {
		now := d.find(s.Name)
		if now == nil {
			d.metrics.forget(s.Name)
		}
		if open, ok := s.Carrier.(io.Closer); ok && (now == nil || now.Carrier != s.Carrier) {
			d.closeCarrier(s.Name, open)
		}
	}
	select {
	case d.set <- struct{}{}:
	default:
	}
	return nil
}

func (d *Deliverer) subscribe(ctx context.Context, s Subscription) (*subscribed, error) {
	if err := s.Filter.Check(); err != nil {
		return nil, err
	}
	if s.Schedule == nil {
		s.Schedule = RetrySchedule()
	}
	if err := CheckSchedule(s.Schedule); err != nil {
		return nil, err
	}
	if known := d.find(s.Name); known != nil {
		return &subscribed{Subscription: s, told: known.told}, nil
	}
	end, err := d.opts.Log.End(ctx)
	if err != nil {
		return nil, err
	}
	notified, err := d.opts.Subscriptions.Open(ctx, s.Name, end.Last)
	if err != nil {
		return nil, err
	}
	at := event.Cursor{Epoch: end.Epoch, Last: notified}
	return &subscribed{Subscription: s, told: &told{upTo: at, stored: at.Clone(), first: notified}}, nil
}

// find returns the subscription of that name, nil if there is none.
func (d *Deliverer) find(name string) *subscribed {
	for _, s := range *d.subs.Load() {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Start begins to tell lanes of news, and to look after those that nobody works
// on.
func (d *Deliverer) Start() {
	d.loops.Go(d.notifyLoop)
	d.loops.Go(d.auditLoop)
}

// Stop ends that, and closes the carriers. It can be called twice, and without
// Start.
func (d *Deliverer) Stop() {
	d.cancel()
	d.loops.Wait()
	for _, s := range *d.subs.Load() {
		if open, ok := s.Carrier.(io.Closer); ok {
			d.closeCarrier(s.Name, open)
		}
	}
}

// closeCarrier ends what a carrier holds open, after the deliveries under way.
func (d *Deliverer) closeCarrier(subscription string, open io.Closer) {
	if err := open.Close(); err != nil {
		d.opts.Logger.Warn().Err(err).Str("subscription", subscription).Msg("what carried its events did not end well")
	}
}

// laneOf spreads credentials over lanes.
func laneOf(id credential.ID) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, string(id)) // a hash never fails
	return int(h.Sum32() % LaneCount)
}
