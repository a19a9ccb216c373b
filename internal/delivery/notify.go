package delivery

import (
	"errors"
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
		look := time.NewTimer(auditEvery)
		select {
		case <-d.ctx.Done():
			look.Stop()
			return
		case <-d.set:
		case <-changed:
		case <-look.C: // what lanes were told of may have been lost with Redis's last writes
		}
		look.Stop()
	}
}

// notify tells the lanes of one subscription of what came.
func (d *Deliverer) notify(s *subscribed) error {
	for {
		entries, next, err := d.opts.Log.Read(d.ctx, s.told.upTo, pageSize)
		if err != nil {
			return err
		}
		news := map[int]bool{}
		for _, entry := range entries {
			if s.Filter.Wants(entry.Event) {
				news[laneOf(entry.Event.ID)] = true
			}
		}
		// What nobody wants is stored now and then, so that little of it is
		// read again after a crash; that nothing came, so that it shows whether
		// what was told is still known.
		if len(news) > 0 || time.Since(s.told.saved) >= auditEvery {
			err := d.tell(s, slices.Sorted(maps.Keys(news)), s.told.stored.Last, next.Last)
			if errors.Is(err, ErrToldLess) {
				if err := d.tellAgain(s); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			s.told.saved, s.told.stored = time.Now(), next
		}
		s.told.upTo = next
		if len(entries) == 0 {
			return nil
		}
	}
}

// tellAgain goes back to what lanes are known to have been told of.
func (d *Deliverer) tellAgain(s *subscribed) error {
	notified, err := d.opts.Subscriptions.Open(d.ctx, s.Name, s.told.first)
	if err != nil {
		return err
	}
	d.opts.Logger.Warn().Str("subscription", s.Name).Msg("Redis has lost what lanes had been told of, they are told again")
	s.told.upTo.Last = slices.Clone(notified)
	s.told.stored = s.told.upTo.Clone()
	return nil
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
