package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/store"
)

// testLanes gives the stored lanes of subscriptions to the deliverer.
type testLanes struct{ store *store.Store }

func (l testLanes) Take(ctx context.Context, subscription string, lane int, holder credential.Nonce, lease time.Duration) (Lane, bool, error) {
	state, taken, err := l.store.LaneTake(ctx, subscription, lane, holder, lease)
	return Lane{
		Last: state.Cursors, Notified: state.Notified, Want: state.Want, Attempt: state.Attempt,
	}, taken, err
}

func (l testLanes) Advance(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string, done *Delivery) (Progress, error) {
	var stored *store.Delivery
	var at credential.Millis
	if done != nil {
		stored, at = new(deliveryOf(*done, lane)), done.EventAt
	}
	to, err := l.store.LaneAdvance(ctx, subscription, lane, holder, last, stored, at)
	switch to {
	case store.AdvancedClosed:
		return Closed, err
	case store.AdvancedStop:
		return Hold, err
	case store.AdvancedOn:
	}
	return GoOn, err
}

func (l testLanes) Fail(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string, f Failure) (Verdict, error) {
	verdict, err := l.store.LaneFail(ctx, subscription, lane, holder, store.Failure{
		Delivery: deliveryOf(f.Delivery, lane), EventAt: f.Delivery.EventAt, Gone: f.Gone, RetryAfter: f.RetryAfter,
		Schedule: f.Schedule, Cursors: last, ULID: f.ULID,
	})
	return Verdict(verdict), err
}

func (l testLanes) Leave(ctx context.Context, subscription string, lane int, holder credential.Nonce, last []string) error {
	return l.store.LaneLeave(ctx, subscription, lane, holder, last)
}

func (l testLanes) Done(ctx context.Context, subscription string, lane int, holder credential.Nonce, want uint64, last []string) (bool, error) {
	return l.store.LaneDone(ctx, subscription, lane, holder, want, last)
}

func deliveryOf(d Delivery, lane int) store.Delivery {
	return store.Delivery{
		Event: d.Event, Type: string(d.Type), Credential: d.Credential, Lane: lane, Attempt: d.Attempt,
		Took: d.Took, Result: string(d.Result), Status: d.Status, Error: d.Error,
	}
}

// testSubscriptions gives the stored subscriptions to the deliverer.
type testSubscriptions struct{ store *store.Store }

func (s testSubscriptions) Open(ctx context.Context, subscription string, last []string) ([]string, error) {
	return s.store.StartSubscription(ctx, subscription, last)
}

func (s testSubscriptions) Notify(ctx context.Context, subscription string, lanes []int, from, upto []string) ([]int, error) {
	enqueue, err := s.store.LanesNotify(ctx, subscription, lanes, from, upto)
	if errors.Is(err, store.ErrToldLess) {
		err = ErrToldLess
	}
	return enqueue, err
}

func (s testSubscriptions) Audit(ctx context.Context, subscription string) (Audit, error) {
	found, err := s.store.AuditLanes(ctx, subscription)
	return Audit{
		Pending: found.Pending, Oldest: found.Oldest, Disabled: found.Disabled, Open: found.Open, Lagging: found.Lagging,
	}, err
}

func (s testSubscriptions) SetLagging(ctx context.Context, subscription string, oldest credential.Millis, id credential.Nonce) (bool, error) {
	return s.store.SetLagging(ctx, subscription, oldest, id)
}

func (s testSubscriptions) ClearLagging(ctx context.Context, subscription string) error {
	return s.store.ClearLagging(ctx, subscription)
}

func (s testSubscriptions) BeginGap(
	ctx context.Context, subscription string, holder credential.Nonce, newest credential.Millis, id credential.Nonce, lease time.Duration,
) (Gap, error) {
	gap, err := s.store.BeginGap(ctx, subscription, holder, newest, id, lease)
	turns := map[store.GapStatus]GapTurn{store.GapTold: GapTold, store.GapTell: GapMine, store.GapOther: GapOther}
	return Gap{Turn: turns[gap.Status], ID: gap.ID, Since: gap.Since, New: gap.New}, err
}

func (s testSubscriptions) EndGap(ctx context.Context, subscription string, holder credential.Nonce, told bool) error {
	return s.store.EndGap(ctx, subscription, holder, told)
}
