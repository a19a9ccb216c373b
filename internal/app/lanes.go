package app

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/delivery"
	"github.com/refreshd/refreshd/internal/store"
)

// lanes gives the stored lanes of subscriptions to the deliverer.
type lanes struct{ store *store.Store }

func (l lanes) Notify(ctx context.Context, subscription string, lane int) (bool, error) {
	return l.store.LaneNotify(ctx, subscription, lane)
}

func (l lanes) Take(ctx context.Context, subscription string, lane int, holder credential.Nonce, lease time.Duration) (delivery.Lane, bool, error) {
	state, taken, err := l.store.LaneTake(ctx, subscription, lane, holder, lease)
	return delivery.Lane{Last: state.Cursors, Want: state.Want, Attempt: state.Attempt}, taken, err
}

func (l lanes) Advance(ctx context.Context, subscription string, lane int, holder credential.Nonce, shard int, last string) error {
	return l.store.LaneAdvance(ctx, subscription, lane, holder, shard, last)
}

func (l lanes) Fail(ctx context.Context, subscription string, lane int, holder credential.Nonce, attempt int, wait time.Duration) error {
	return l.store.LaneFail(ctx, subscription, lane, holder, attempt, wait)
}

func (l lanes) Done(ctx context.Context, subscription string, lane int, holder credential.Nonce, want uint64) (bool, error) {
	return l.store.LaneDone(ctx, subscription, lane, holder, want)
}

// subscriptions gives the stored subscriptions to the deliverer.
type subscriptions struct {
	store *store.Store
	now   func() credential.Millis
}

func (s subscriptions) Open(ctx context.Context, subscription string, last []string) error {
	_, err := s.store.StartSubscription(ctx, subscription, last)
	return err
}

func (s subscriptions) Pending(ctx context.Context, subscription string) ([]int, error) {
	return s.store.LanesPending(ctx, subscription, s.now())
}

func (s subscriptions) Disable(ctx context.Context, subscription, reason string) error {
	return s.store.Disable(ctx, subscription, reason)
}
