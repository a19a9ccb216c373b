package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// Advance delivers what a lane has, in order, until it is empty or a delivery
// fails. It does nothing if somebody else holds the lane, or if the
// subscription is gone.
func (d *Deliverer) Advance(ctx context.Context, subscription string, lane int) error {
	var to *Subscription
	for _, s := range *d.subs.Load() {
		if s.Name == subscription {
			to = &s
		}
	}
	if to == nil {
		return nil
	}
	holder := newHolder()
	state, taken, err := d.opts.Lanes.Take(ctx, subscription, lane, holder, laneLease)
	if err == nil && taken {
		err = failpoint.Hit(failpoint.DeliveryTaken)
	}
	if err != nil || !taken {
		return err
	}
	at := event.Cursor{Epoch: d.opts.Log.Epoch(), Last: state.Last}
	run := &laneRun{
		d: d, to: to, lane: lane, holder: holder, at: at, saved: at.Clone(), want: state.Want, attempt: state.Attempt,
	}
	for {
		empty, err := run.drain(ctx)
		if err != nil || !empty {
			return err
		}
		if err := failpoint.Hit(failpoint.DeliveryDone); err != nil {
			return err
		}
		again, err := d.opts.Lanes.Done(ctx, subscription, lane, holder, run.want)
		if err != nil || !again {
			return err
		}
		// Notified while it was drained: hold it for another look. Taking what
		// one holds tells the new count.
		if state, taken, err = d.opts.Lanes.Take(ctx, subscription, lane, holder, laneLease); err != nil || !taken {
			return err
		}
		run.want = state.Want
	}
}

// laneRun is one holder's work on one lane.
type laneRun struct {
	d       *Deliverer
	to      *Subscription
	lane    int
	holder  credential.Nonce
	at      event.Cursor
	saved   event.Cursor // what is stored
	want    uint64
	attempt int
}

// drain delivers until the end of the log. It reports false if it had to stop
// before: the lane is given up then.
func (r *laneRun) drain(ctx context.Context) (bool, error) {
	at, err := r.d.opts.Log.Place(ctx, r.at)
	if errors.Is(err, event.ErrReset) {
		r.d.opts.Logger.Error().Str("subscription", r.to.Name).Int("lane", r.lane).
			Msg("events were trimmed before they could be delivered; delivery goes on from the oldest that is left")
	} else if err != nil {
		return false, err
	}
	r.at = at
	for {
		entries, next, err := r.d.opts.Log.Read(ctx, r.at, pageSize)
		if err == nil && len(entries) == 0 {
			entries, next, err = r.d.opts.Log.ReadStored(ctx, r.at)
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
				if err := failpoint.Hit(failpoint.DeliveryPosted); err != nil {
					return false, err
				}
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
		err := r.d.opts.Lanes.Advance(ctx, r.to.Name, r.lane, r.holder, shard, last)
		if err == nil {
			err = failpoint.Hit(failpoint.DeliveryAdvanced)
		}
		if err != nil {
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
			_, _, _ = r.d.opts.Lanes.Take(ctx, r.to.Name, r.lane, r.holder, laneLease)
		}
	}()
	return func() { cancel(); <-done }
}

// deliver sends one event. It reports false if that failed and the lane was
// given up.
func (r *laneRun) deliver(ctx context.Context, entry event.Numbered) (bool, error) {
	letGo := r.hold(ctx)
	result := r.to.Carrier.Carry(ctx, entry.LogEntry)
	letGo()
	if result.Err != nil && ctx.Err() != nil { // cut off from this side: no fault of the receiver's
		stopped := context.Cause(ctx)
		ctx = context.WithoutCancel(ctx)
		return false, errors.Join(stopped, r.save(ctx), r.d.opts.Lanes.Fail(ctx, r.to.Name, r.lane, r.holder, r.attempt, 0))
	}
	r.d.deliveries.WithLabelValues(r.to.Name, string(result.Result)).Inc()
	if result.Err == nil {
		return true, nil
	}
	ctx = context.WithoutCancel(ctx)
	if err := r.save(ctx); err != nil {
		return false, err
	}
	attempt := r.attempt + 1
	log := r.d.opts.Logger.Warn().Err(result.Err).Str("subscription", r.to.Name).Str("event", entry.Event.EventID()).Int("attempt", attempt)
	if result.Gone || attempt >= len(r.to.Schedule) {
		log.Msg("the endpoint is disabled; its cursor stays")
		return false, errors.Join(
			r.d.opts.Subscriptions.Disable(ctx, r.to.Name, result.Err.Error()),
			r.d.opts.Lanes.Fail(ctx, r.to.Name, r.lane, r.holder, attempt, 0))
	}
	wait := max(r.to.Schedule[attempt], result.RetryAfter)
	log.Stringer("again_in", wait).Msg("delivery failed")
	return false, r.d.opts.Lanes.Fail(ctx, r.to.Name, r.lane, r.holder, attempt, wait)
}
