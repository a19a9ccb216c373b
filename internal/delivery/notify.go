package delivery

import (
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/failpoint"
)

// notifyLoop reads the log behind what lanes were told of, from before this
// process started, and tells those that have news. Whatever died before it told
// of an event is made up for by that.
func (d *Deliverer) notifyLoop() {
	for {
		changed := d.opts.Log.Changed()
		wait, failed := notifyEvery, false
		for _, s := range *d.subs.Load() {
			if err := d.notify(s); err != nil && d.ctx.Err() == nil {
				wait, failed = auditEvery, true
				d.opts.Logger.Warn().Err(err).Str("subscription", s.Name).Msg("lanes could not be told of news, again in a second")
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-d.ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		if failed {
			changed = nil
		}
		select {
		case <-d.ctx.Done():
			return
		case <-d.set:
		case <-changed:
		}
	}
}

// notify tells the lanes of one subscription of what came.
func (d *Deliverer) notify(s *subscribed) error {
	for {
		from := s.told.upTo
		entries, next, err := d.opts.Log.Read(d.ctx, from, pageSize)
		if err != nil || len(entries) == 0 {
			return err
		}
		news := map[int]bool{}
		for _, entry := range entries {
			if s.Filter.Wants(entry.Event) {
				news[laneOf(entry.Event.ID)] = true
			}
		}
		// What nobody wants is stored now and then, so that little of it is
		// read again after a crash.
		if len(news) > 0 || time.Since(s.told.saved) >= auditEvery {
			if err := d.tell(s, slices.Sorted(maps.Keys(news)), from.Last, next.Last); err != nil {
				return err
			}
			s.told.saved = time.Now()
		}
		s.told.upTo = next
	}
}

func (d *Deliverer) tell(s *subscribed, lanes []int, from, upto []string) error {
	enqueue, err := d.opts.Subscriptions.Notify(d.ctx, s.Name, lanes, from, upto)
	if err == nil {
		err = failpoint.Hit(failpoint.DeliveryNotified)
	}
	if err != nil {
		return err
	}
	return d.enqueue(s.Name, enqueue)
}
