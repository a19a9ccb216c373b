package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// auditLoop finds the lanes whose task died, or whose next delivery has become
// due: tasks are hints, the stored lanes are the truth.
func (d *Deliverer) auditLoop() {
	ticker := time.NewTicker(auditEvery)
	defer ticker.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-ticker.C:
		}
		for _, s := range *d.subs.Load() {
			d.audit(d.ctx, s.Name)
		}
	}
}

// audit looks over one subscription. What fails is done again by the next one.
func (d *Deliverer) audit(ctx context.Context, name string) {
	found, err := d.opts.Subscriptions.Audit(ctx, name)
	if err == nil {
		now := d.opts.Now()
		d.metrics.audited(name, found, now)
		err = errors.Join(d.watchLag(ctx, name, found, now), d.enqueue(name, found.Pending))
	}
	if err != nil && d.ctx.Err() == nil {
		d.opts.Logger.Warn().Err(err).Str("subscription", name).Msg("lanes could not be audited, again in a second")
	}
}

func (d *Deliverer) enqueue(name string, lanes []int) error {
	var errs []error
	for _, lane := range lanes {
		errs = append(errs, d.opts.Queue.EnqueueDelivery(d.ctx, name, lane))
	}
	return errors.Join(errs...)
}

// watchLag has it announced, once, that what a subscription is owed is about to
// be trimmed.
func (d *Deliverer) watchLag(ctx context.Context, name string, found Audit, now credential.Millis) error {
	switch begins, ends := lagChange(found, d.opts.Retention, now); {
	case begins:
		noted, err := d.opts.Subscriptions.SetLagging(ctx, name, found.Oldest, newULID(now))
		if noted {
			d.opts.Logger.Error().Str("subscription", name).Time("oldest", found.Oldest.Time()).
				Msg("events that were not delivered are about to be trimmed: see to the receiver, or set events.retention higher")
		}
		return err
	case ends:
		return d.opts.Subscriptions.ClearLagging(ctx, name)
	default:
		return nil
	}
}

// lagChange decides whether a subscription begins to lag at now, or has caught
// up: it lags from three quarters of the retention on, until what it is owed is
// younger than half of it.
func lagChange(found Audit, retention time.Duration, now credential.Millis) (begins, ends bool) {
	lag := lagOf(found, now)
	return !found.Lagging && lag > retention/4*3, found.Lagging && lag < retention/2
}

// lagOf is the age of the oldest event that is owed.
func lagOf(found Audit, now credential.Millis) time.Duration {
	if found.Oldest == 0 {
		return 0
	}
	return max(now.Sub(found.Oldest), 0)
}
