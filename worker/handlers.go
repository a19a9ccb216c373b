package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/tasks"
)

// deliveryGrace is how long deliveries go on after a stop was asked for: one
// that is cut off reaches its receiver twice.
const deliveryGrace = 5 * time.Second

// errAllowed is the cause for which a task ends by itself.
var errAllowed = errors.New("the allowed time is over")

func (p *Pool) refreshBatch(ctx context.Context, payload []byte) (about string, err error) {
	batch, err := tasks.DecodeBatch(payload)
	if err != nil {
		return "", err
	}
	var report credential.BatchReport
	if batch.ClockOnly {
		report, err = p.refresher.AdvanceBatch(ctx, batch.Provider, batch.IDs)
		p.metrics.told(batch.Provider, report)
	} else {
		report, err = p.refresher.RefreshBatch(ctx, batch.Provider, batch.IDs, batch.Reservation)
		p.metrics.batch(batch.Provider, report)
	}
	if err != nil {
		return batch.Provider, fmt.Errorf("batch of %d credentials of %s: %w", len(batch.IDs), batch.Provider, err)
	}
	return batch.Provider, nil
}

func (p *Pool) refreshSingle(ctx context.Context, payload []byte) (about string, err error) {
	single, err := tasks.DecodeSingle(payload)
	if err != nil {
		return "", err
	}
	if _, err := p.refresher.Refresh(ctx, single.ID, single.RejectedGeneration); err != nil {
		return "", fmt.Errorf("refresh of %s: %w", single.ID, err)
	}
	return "", nil
}

func (p *Pool) deliver(ctx context.Context, payload []byte) (about string, err error) {
	delivery, err := tasks.DecodeDelivery(payload)
	if err != nil {
		return "", err
	}
	ctx, cancel := p.allowed(ctx, deliveryGrace)
	defer cancel()
	err = p.deliverer.Advance(ctx, delivery.Subscription, delivery.Lane)
	if err != nil && ctx.Err() != nil {
		return delivery.Subscription, nil // the lane is still pending, and will be found as such
	}
	if err != nil {
		return delivery.Subscription, fmt.Errorf("lane %d of %s: %w", delivery.Lane, delivery.Subscription, err)
	}
	return delivery.Subscription, nil
}

// allowed derives the context of a task that ends by itself: in good time
// before asynq would abandon it, and grace after the pool was told to stop.
func (p *Pool) allowed(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancelCause(ctx)
	release := func() {}
	if deadline, ok := ctx.Deadline(); ok {
		ctx, release = context.WithDeadlineCause(ctx, deadline.Add(-tasks.Grace), errAllowed)
	}
	forget := context.AfterFunc(p.stopping, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			stop(errStopping)
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		forget()
		release()
		stop(context.Canceled)
	}
}
