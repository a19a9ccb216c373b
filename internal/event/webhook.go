package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/refreshd/refreshd/internal/credential"
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
	// Fail stores a failed delivery and gives the lane up until next.
	Fail(ctx context.Context, subscription string, lane int, holder credential.Nonce, attempt int, next credential.Millis) error
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
	Now           func() credential.Millis
	Source        string
	UserAgent     string
	Logger        zerolog.Logger
	Registerer    prometheus.Registerer
	Schedule      []time.Duration // [RetrySchedule] unless set
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

// Advance delivers what a lane has, in order, until it is empty or a delivery
// fails. It does nothing if somebody else holds the lane, or if the
// subscription is gone.
func (w *Webhooks) Advance(ctx context.Context, subscription string, lane int) error {
	var to *receiver
	for _, s := range *w.subs.Load() {
		if s.Name == subscription {
			to = &s
		}
	}
	if to == nil {
		return nil
	}
	holder := newHolder()
	state, taken, err := w.opts.Lanes.Take(ctx, subscription, lane, holder, laneLease)
	if err != nil || !taken {
		return err
	}
	at := Cursor{Epoch: w.opts.Log.store.Epoch(), Last: state.Last}
	run := &laneRun{
		w: w, to: to, lane: lane, holder: holder, at: at, saved: at.clone(), want: state.Want, attempt: state.Attempt,
	}
	for {
		empty, err := run.drain(ctx)
		if err != nil || !empty {
			return err
		}
		again, err := w.opts.Lanes.Done(ctx, subscription, lane, holder, run.want)
		if err != nil || !again {
			return err
		}
		// Notified while it was drained: hold it for another look. Taking what
		// one holds tells the new count.
		if state, taken, err = w.opts.Lanes.Take(ctx, subscription, lane, holder, laneLease); err != nil || !taken {
			return err
		}
		run.want = state.Want
	}
}

// laneRun is one holder's work on one lane.
type laneRun struct {
	w       *Webhooks
	to      *receiver
	lane    int
	holder  credential.Nonce
	at      Cursor
	saved   Cursor // what is stored
	want    uint64
	attempt int
}

// drain delivers until the end of the log. It reports false if it had to stop
// before: the lane is given up then.
func (r *laneRun) drain(ctx context.Context) (bool, error) {
	at, err := r.w.opts.Log.Place(ctx, r.at)
	if errors.Is(err, ErrReset) {
		r.w.opts.Logger.Error().Str("subscription", r.to.Name).Int("lane", r.lane).
			Msg("events were trimmed before they could be delivered; delivery goes on from the oldest that is left")
	} else if err != nil {
		return false, err
	}
	r.at = at
	for {
		entries, next, err := r.w.opts.Log.Read(ctx, r.at, pageSize)
		if err == nil && len(entries) == 0 {
			entries, next, err = r.w.opts.Log.readStored(ctx, r.at)
		}
		if err != nil {
			return false, err
		}
		if len(entries) == 0 {
			return true, r.save(ctx)
		}
		for _, entry := range entries {
			if laneOf(entry.Event.ID) == r.lane && r.to.Filter.Wants(entry.Event) {
				if ok, err := r.deliver(ctx, entry); err != nil || !ok {
					return false, err
				}
				r.at.Last[entry.Shard] = entry.Position
				r.attempt = 0
				if err := r.save(context.WithoutCancel(ctx)); err != nil { // it was delivered, whoever stops now
					return false, err
				}
			}
			r.at.Last[entry.Shard] = entry.Position
		}
		r.at = next
		if err := r.save(ctx); err != nil { // a long way without a delivery keeps the lease as well
			return false, err
		}
	}
}

// save stores what of the cursor has moved.
func (r *laneRun) save(ctx context.Context) error {
	for shard, last := range r.at.Last {
		if last == r.saved.Last[shard] {
			continue
		}
		if err := r.w.opts.Lanes.Advance(ctx, r.to.Name, r.lane, r.holder, shard, last); err != nil {
			return err
		}
		r.saved.Last[shard] = last
	}
	return nil
}

// hold extends the lane's lease until the returned function is called: a
// receiver may take longer than a lease lasts.
func (r *laneRun) hold(ctx context.Context) (letGo func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(laneLease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// Lost or not, the delivery under way is brought to its end; what
			// is stored afterwards shows it.
			_, _, _ = r.w.opts.Lanes.Take(ctx, r.to.Name, r.lane, r.holder, laneLease)
		}
	}()
	return func() { cancel(); <-done }
}

// deliver sends one event. It reports false if that failed and the lane was
// given up.
func (r *laneRun) deliver(ctx context.Context, entry Numbered) (bool, error) {
	letGo := r.hold(ctx)
	result := r.w.post(ctx, r.to, entry.LogEntry)
	letGo()
	if result.err != nil && ctx.Err() != nil { // cut off from this side: no fault of the receiver's
		stopped := context.Cause(ctx)
		ctx = context.WithoutCancel(ctx)
		return false, errors.Join(stopped, r.save(ctx), r.w.opts.Lanes.Fail(ctx, r.to.Name, r.lane, r.holder, r.attempt, 0))
	}
	r.w.deliveries.WithLabelValues(r.to.Name, result.outcome).Inc()
	if result.err == nil {
		return true, nil
	}
	ctx = context.WithoutCancel(ctx)
	if err := r.save(ctx); err != nil {
		return false, err
	}
	attempt := r.attempt + 1
	log := r.w.opts.Logger.Warn().Err(result.err).Str("subscription", r.to.Name).Str("event", entry.Event.EventID()).Int("attempt", attempt)
	if result.gone || attempt >= len(r.w.opts.Schedule) {
		log.Msg("the endpoint is disabled; its cursor stays")
		return false, errors.Join(
			r.w.opts.Subscriptions.Disable(ctx, r.to.Name, result.err.Error()),
			r.w.opts.Lanes.Fail(ctx, r.to.Name, r.lane, r.holder, attempt, 0))
	}
	wait := max(r.w.opts.Schedule[attempt], result.retryAfter)
	log.Dur("again_in", wait).Msg("delivery failed")
	return false, r.w.opts.Lanes.Fail(ctx, r.to.Name, r.lane, r.holder, attempt, r.w.opts.Now().Add(wait))
}

// posted is what came of one delivery.
type posted struct {
	outcome    string
	err        error
	gone       bool // 410: the receiver wants no more
	retryAfter time.Duration
}

// post sends one event. Its errors hold neither the address's query nor the
// answer's body.
func (w *Webhooks) post(ctx context.Context, to *receiver, entry credential.LogEntry) posted {
	event := Expand(entry, w.opts.Source, to.Filter)
	body, err := event.Encode()
	if err != nil {
		return posted{outcome: "invalid", err: err}
	}
	now := w.opts.Now().Time()
	signature, err := to.signer.Sign(event.ID, now, body)
	if err != nil {
		return posted{outcome: "invalid", err: err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, deliveryTimeout, errors.New("the receiver took longer than "+deliveryTimeout.String()))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil {
		return posted{outcome: "invalid", err: errors.New("the subscription's url is malformed")}
	}
	req.Header.Set("Content-Type", "application/cloudevents+json")
	req.Header.Set("User-Agent", w.opts.UserAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, event.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	resp, err := w.opts.Client.Do(req)
	if err != nil {
		return posted{outcome: "unreachable", err: bare(ctx, err)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxReply)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return posted{outcome: "delivered"}
	}
	return posted{
		outcome: "refused", err: fmt.Errorf("the receiver answered %d", resp.StatusCode),
		gone:       resp.StatusCode == http.StatusGone,
		retryAfter: retryAfter(resp.Header.Get("Retry-After"), now),
	}
}

// bare strips an HTTP client's error of the address.
func bare(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		if !strings.Contains(inner.Error(), "://") {
			return inner
		}
	}
	return errors.New("the receiver could not be reached")
}

// retryAfter reads the header of RFC 9110 section 10.2.3, in either form.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return min(time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
