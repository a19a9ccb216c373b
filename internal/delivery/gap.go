package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/event"
)

// gapLease is how long one lane may be at telling a receiver of a gap: a
// delivery, and what is stored of it.
const gapLease = deliveryTimeout + laneLease

// bridge brings the lane over events that were trimmed before they could be
// delivered, to where the log begins by now. The receiver is told of it before
// anything that follows, once for all lanes: what one of them has told was
// committed after all that the others miss. It reports false if the lane was
// given up.
func (r *laneRun) bridge(ctx context.Context, to event.Cursor) (bool, error) {
	newest := to.Newer(r.at)
	gap, err := r.d.opts.Gaps.BeginGap(ctx, r.to.Name, r.holder, newest, newULID(r.d.opts.Now()), gapLease)
	if err != nil {
		return false, err
	}
	switch gap.Turn {
	case GapTold:
		r.at = to
		return true, nil
	case GapOther: // the audit gives the lane to somebody in a second
		return false, r.leave(context.WithoutCancel(ctx))
	case GapMine:
	}
	carrier, tells := r.to.Carrier.(Resetter)
	if gap.New {
		r.d.opts.Logger.Error().Str("subscription", r.to.Name).Time("newest", newest.Time()).Bool("told", tells).
			Msg("events were trimmed before they could be delivered; delivery goes on from the oldest that is left")
	}
	over, told := true, false
	if tells {
		missing := credential.Event{Type: credential.EventStreamReset, Nonce: gap.ID}
		over, err = r.carry(ctx, Delivery{Event: missing.EventID(), Type: missing.Type, EventAt: newest},
			func(ctx context.Context) Outcome { return carrier.Reset(ctx, missing.EventID(), gap.Since) },
			func() { r.at, told = to.Clone(), true })
	} else {
		r.at, told = to.Clone(), true
	}
	return over, errors.Join(err, r.endGap(ctx, told))
}

func (r *laneRun) endGap(ctx context.Context, told bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return r.d.opts.Gaps.EndGap(ctx, r.to.Name, r.holder, told)
}
