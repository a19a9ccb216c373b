package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// maxErrorText is how much of why a delivery failed is remembered.
const maxErrorText = 200

// Advance delivers what a lane has, in order, until it is empty or a delivery
// fails. It does nothing if somebody else holds the lane, or if the
// subscription is gone.
func (d *Deliverer) Advance(ctx context.Context, subscription string, lane int) error {
	to := d.find(subscription)
	if to == nil {
		return nil
	}
	run := &laneRun{d: d, to: to, lane: lane, holder: newHolder()}
	if taken, err := run.take(ctx); err != nil || !taken {
		return err
	}
	if err := failpoint.Hit(failpoint.DeliveryTaken); err != nil {
		return err
	}
	for {
		empty, err := run.drain(ctx)
		if err != nil || !empty {
			return err
		}
		if err := failpoint.Hit(failpoint.DeliveryDone); err != nil {
			return err
		}
		again, err := d.opts.Lanes.Done(ctx, subscription, lane, run.holder, run.state.Want, run.moved())
		if err != nil || !again {
			return err
		}
		// Notified while it was drained: hold it for another look. Taking what
		// one holds tells the new count.
		if taken, err := run.take(ctx); err != nil || !taken {
			return err
		}
	}
}

// laneRun is one holder's work on one lane.
type laneRun struct {
	d       *Deliverer
	to      *subscribed
	lane    int
	holder  credential.Nonce
	state   Lane
	at      event.Cursor
	saved   event.Cursor // what is stored
	savedAt time.Time
}

// take takes the lane, or goes on holding it.
func (r *laneRun) take(ctx context.Context) (taken bool, err error) {
	if r.state, taken, err = r.d.opts.Lanes.Take(ctx, r.to.Name, r.lane, r.holder, laneLease); err != nil || !taken {
		return false, err
	}
	r.at = event.Cursor{Epoch: r.d.opts.Log.Epoch(), Last: r.state.Last}
	r.stored()
	return true, nil
}

// stored notes that what was seen is stored.
func (r *laneRun) stored() { r.saved, r.savedAt = r.at.Clone(), time.Now() }

// moved returns the cursors that are not stored, by shard.
func (r *laneRun) moved() []string {
	list := make([]string, len(r.at.Last))
	for shard, last := range r.at.Last {
		if last != r.saved.Last[shard] {
			list[shard] = last
		}
	}
	return list
}

// drain delivers until the end of the log. It reports false if it had to stop
// before: the lane is given up then.
func (r *laneRun) drain(ctx context.Context) (bool, error) {
	at, err := r.d.opts.Log.Place(ctx, r.at)
	if errors.Is(err, event.ErrReset) {
		if ok, err := r.bridge(ctx, at); err != nil || !ok {
			return false, err
		}
	} else if err != nil {
		return false, err
	}
	r.at = at
	for {
		entries, next, err := r.read(ctx)
		if err != nil {
			return false, err
		}
		if len(entries) == 0 {
			return true, nil
		}
		for _, entry := range entries {
			if laneOf(entry.Event.ID) == r.lane && r.to.Filter.Wants(entry.Event) {
				if ok, err := r.deliver(ctx, entry); err != nil || !ok {
					return false, err
				}
			}
			r.at.Last[entry.Shard] = entry.Position
		}
		r.at = next
		if time.Since(r.savedAt) > laneLease/4 { // a long way without a delivery keeps the lease as well
			if _, err := r.advance(ctx, nil); err != nil {
				return false, err
			}
		}
	}
}

// read returns the entries that come next. None are left only if the place was
// reached up to which the lane was told of news: this process's memory may lag
// behind the one that told.
func (r *laneRun) read(ctx context.Context) ([]event.Numbered, event.Cursor, error) {
	entries, next, err := r.d.opts.Log.Read(ctx, r.at, pageSize)
	if err == nil && len(entries) == 0 && !r.at.Covers(r.state.Notified) {
		return r.d.opts.Log.ReadStored(ctx, r.at)
	}
	return entries, next, err
}

// deliver sends one event, and moves past it. It reports false if it failed, or
// if no more is to be sent: the lane was given up then.
func (r *laneRun) deliver(ctx context.Context, entry event.Numbered) (bool, error) {
	done := Delivery{Event: entry.Event.EventID(), Type: entry.Event.Type, Credential: entry.Event.ID, EventAt: entry.At}
	return r.carry(ctx, done, func(ctx context.Context) Outcome { return r.to.Carrier.Carry(ctx, entry.LogEntry) }, func() {
		r.at.Last[entry.Shard] = entry.Position
	})
}

// carry makes one delivery, of which done says what it is. delivered is called
// if it was taken, before that is stored. It reports what deliver does.
func (r *laneRun) carry(ctx context.Context, done Delivery, by func(context.Context) Outcome, delivered func()) (bool, error) {
	letGo := r.hold(ctx)
	began := time.Now()
	outcome := by(ctx)
	took := time.Since(began)
	letGo()
	if outcome.Err != nil && ctx.Err() != nil { // cut off from this side: no fault of the receiver's
		return false, errors.Join(context.Cause(ctx), r.leave(context.WithoutCancel(ctx)))
	}
	if errors.Is(outcome.Err, ErrReplaced) { // the audit gives the lane to somebody who knows the new one
		return false, r.leave(context.WithoutCancel(ctx))
	}
	r.d.metrics.deliveries.WithLabelValues(r.to.Name, string(outcome.Result)).Inc()
	ctx = context.WithoutCancel(ctx) // whoever stops now, it was or was not delivered
	done.Attempt, done.Took, done.Result, done.Status = r.state.Attempt+1, took, outcome.Result, outcome.Status
	if outcome.Err != nil {
		return false, r.fail(ctx, done, outcome)
	}
	delivered()
	if err := failpoint.Hit(failpoint.DeliveryPosted); err != nil {
		return false, err
	}
	switch progress, err := r.advance(ctx, &done); {
	case err != nil:
		return false, err
	case progress == Hold:
		return false, r.leave(ctx)
	case progress == Closed:
		r.d.opts.Logger.Info().Str("subscription", r.to.Name).Msg("the endpoint takes deliveries again")
		r.d.audit(ctx, r.to.Name) // the others need not wait for it
	}
	r.state.Attempt = 0
	return true, nil
}

// advance stores how far the lane came, and what was delivered if anything was.
func (r *laneRun) advance(ctx context.Context, done *Delivery) (Progress, error) {
	progress, err := r.d.opts.Lanes.Advance(ctx, r.to.Name, r.lane, r.holder, r.moved(), done)
	if err == nil {
		err = failpoint.Hit(failpoint.DeliveryAdvanced)
	}
	if err == nil {
		r.stored()
	}
	return progress, err
}

func (r *laneRun) leave(ctx context.Context) error {
	return r.d.opts.Lanes.Leave(ctx, r.to.Name, r.lane, r.holder, r.moved())
}

// fail stores that a delivery failed, and tells people what follows.
func (r *laneRun) fail(ctx context.Context, done Delivery, outcome Outcome) error {
	if err := failpoint.Hit(failpoint.DeliveryFailed); err != nil {
		return err
	}
	done.Error = outcome.Err.Error()
	done.Error = done.Error[:min(len(done.Error), maxErrorText)]
	verdict, err := r.d.opts.Lanes.Fail(ctx, r.to.Name, r.lane, r.holder, r.moved(), Failure{
		Delivery: done, Gone: outcome.Gone, RetryAfter: outcome.RetryAfter, Schedule: r.to.Schedule, ULID: newULID(r.d.opts.Now()),
	})
	if err != nil {
		return err
	}
	log := r.d.opts.Logger.Warn().Err(outcome.Err).Str("subscription", r.to.Name).Str("event", done.Event).Int("attempt", verdict.Attempt)
	switch {
	case verdict.Disabled:
		log.Msg("the endpoint is disabled; its cursor stays")
		r.d.audit(ctx, r.to.Name) // so that the event log tells of it now
	case verdict.Open:
		log.Stringer("again_in", verdict.Wait).Msg("delivery failed, as others did; the endpoint is left alone but for a probe")
	default:
		log.Stringer("again_in", verdict.Wait).Msg("delivery failed")
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
			_, _, _ = r.d.opts.Lanes.Take(ctx, r.to.Name, r.lane, r.holder, laneLease)
		}
	}()
	return func() { cancel(); <-done }
}
