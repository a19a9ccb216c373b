package app

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/store"
)

// lanes gives the stored lanes of subscriptions to the deliverer.
type lanes struct{ store *store.Store }

func (l lanes) Take(ctx context.Context, subscription string, lane int, holder credential.Nonce, lease time.Duration) (delivery.Lane, bool, error) {
	state, taken, err := l.store.LaneTake(ctx, subscription, lane, holder, lease)
	return delivery.Lane{
		Last: state.Cursors, Notified: state.Notified, Want: state.Want, Attempt: state.Attempt,
	}, taken, err
}

func (l lanes) Advance(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string, done *delivery.Delivery) (delivery.Progress, error) {
	var stored *store.Delivery
	var at credential.Millis
	if done != nil {
		stored, at = new(deliveryOf(*done, lane)), done.EventAt
	}
	to, err := l.store.LaneAdvance(ctx, subscription, lane, holder, last, stored, at)
	switch to {
	case store.AdvancedClosed:
		return delivery.Closed, err
	case store.AdvancedStop:
		return delivery.Hold, err
	case store.AdvancedOn:
	}
	return delivery.GoOn, err
}

func (l lanes) Fail(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string, f delivery.Failure) (delivery.Verdict, error) {
	verdict, err := l.store.LaneFail(ctx, subscription, lane, holder, store.Failure{
		Delivery: deliveryOf(f.Delivery, lane), EventAt: f.Delivery.EventAt, Gone: f.Gone, RetryAfter: f.RetryAfter,
		Schedule: f.Schedule, Cursors: last, ULID: f.ULID,
	})
	return delivery.Verdict(verdict), err
}

func (l lanes) Leave(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string) error {
	return l.store.LaneLeave(ctx, subscription, lane, holder, last)
}

func (l lanes) Done(ctx context.Context, subscription string, lane int, holder credential.Nonce, want uint64, last []string) (bool, error) {
	return l.store.LaneDone(ctx, subscription, lane, holder, want, last)
}

func deliveryOf(d delivery.Delivery, lane int) store.Delivery {
	return store.Delivery{
		Event: d.Event, Type: string(d.Type), Credential: d.Credential, Lane: lane, Attempt: d.Attempt,
		Took: d.Took, Result: string(d.Result), Status: d.Status, Error: d.Error,
	}
}

// subscriptions gives the stored subscriptions to the deliverer.
type subscriptions struct{ store *store.Store }

func (s subscriptions) Open(ctx context.Context, subscription string, last []string) ([]string, error) {
	return s.store.StartSubscription(ctx, subscription, last)
}

func (s subscriptions) Notify(ctx context.Context, subscription string, lanes []int, from, upto []string) ([]int, error) {
	enqueue, err := s.store.LanesNotify(ctx, subscription, lanes, from, upto)
	if errors.Is(err, store.ErrToldLess) {
		err = delivery.ErrToldLess
	}
	return enqueue, err
}

func (s subscriptions) Audit(ctx context.Context, subscription string) (delivery.Audit, error) {
	found, err := s.store.AuditLanes(ctx, subscription)
	return delivery.Audit{
		Pending: found.Pending, Oldest: found.Oldest, Disabled: found.Disabled, Open: found.Open, Lagging: found.Lagging,
	}, err
}

func (s subscriptions) SetLagging(ctx context.Context, subscription string, oldest credential.Millis, id credential.Nonce) (bool, error) {
	return s.store.SetLagging(ctx, subscription, oldest, id)
}

func (s subscriptions) ClearLagging(ctx context.Context, subscription string) error {
	return s.store.ClearLagging(ctx, subscription)
}

func (s subscriptions) BeginGap(
	ctx context.Context, subscription string, holder credential.Nonce, newest credential.Millis, id credential.Nonce, lease time.Duration,
) (delivery.Gap, error) {
	gap, err := s.store.BeginGap(ctx, subscription, holder, newest, id, lease)
	turns := map[store.GapStatus]delivery.GapTurn{store.GapTold: delivery.GapTold, store.GapTell: delivery.GapMine, store.GapOther: delivery.GapOther}
	return delivery.Gap{Turn: turns[gap.Status], ID: gap.ID, Since: gap.Since, New: gap.New}, err
}

func (s subscriptions) EndGap(ctx context.Context, subscription string, holder credential.Nonce, told bool) error {
	return s.store.EndGap(ctx, subscription, holder, told)
}
