package event

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

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
	if err == nil && taken {
		err = failpoint.Hit(failpoint.DeliveryTaken)
	}
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
		if err := failpoint.Hit(failpoint.DeliveryDone); err != nil {
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
		err := r.w.opts.Lanes.Advance(ctx, r.to.Name, r.lane, r.holder, shard, last)
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
	log.Stringer("again_in", wait).Msg("delivery failed")
	return false, r.w.opts.Lanes.Fail(ctx, r.to.Name, r.lane, r.holder, attempt, wait)
}
