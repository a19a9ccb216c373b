package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// question looks for attempts whose owners have gone silent. On another machine
// a silent heartbeat proves nothing: it starts the quarantine, in which the
// owner or its journal may come back, and which does not run while a process lives
// that can read the journal. After that the attempt counts as sent and
// unknown. On this machine the journal's lock tells: nobody who holds it is
// overruled, however long he is silent; nor is anybody while it cannot be looked
// at. What spends nothing needs no proof: it is
// taken over at its deadline, wherever its owner is silent. A journal that is
// free is adopted first, for it may have the answer.
func (e *Engine) question(ctx context.Context, open map[string][]credential.ID) error {
	roster, err := e.registry.Roster(ctx)
	if err != nil {
		return err
	}
	now := e.clock.Boot()
	var trouble error
	for owner, ids := range open {
		if owner == e.owner {
			continue
		}
		e.watch.also(owner, now)
		s := e.standing(owner, roster.Members[owner], now)
		switch {
		case s.Left && !s.Locked:
		case !s.Left && s.Dead(e.opts.Silence, e.quarantine()):
			err := e.inheritAll(ctx, ids, owner, credential.EvidenceSent)
			if _, listed := roster.Members[owner]; err == nil && listed && s.Gone(e.opts.Silence) {
				err = e.registry.Forget(ctx, owner)
			}
			trouble = errors.Join(trouble, err)
		case s.Silent >= e.opts.Silence:
			ids, err := e.spendingNothing(ctx, ids)
			trouble = errors.Join(trouble, err, e.inheritAll(ctx, ids, owner, credential.EvidenceSilent))
		}
	}
	return errors.Join(trouble, e.forgetLost(ctx, roster, open))
}

// forgetLost takes off the roster who is elsewhere, was given up and has nothing open:
// at the next restart of the store everybody would wait for him once more. One that comes
// back all the same is on it again with his first heartbeat.
func (e *Engine) forgetLost(ctx context.Context, roster credential.Roster, open map[string][]credential.ID) error {
	now := e.clock.Boot()
	var trouble error
	for owner, m := range roster.Members {
		if owner == e.owner || len(open[owner]) > 0 {
			continue
		}
		if s := e.standing(owner, m, now); !s.Here && s.Dead(e.opts.Silence, e.quarantine()) {
			trouble = errors.Join(trouble, e.registry.Forget(ctx, owner))
		}
	}
	return trouble
}

// noEnd is a quarantine that does not end: three times that is a duration still.
const noEnd = 10 * 365 * 24 * time.Hour

// quarantine is for how long a silent process elsewhere is waited for. While the
// store does not hold the installation it has no end: whoever has a journal is
// refused at his start then, so that his silence proves nothing, and what he has
// received is in that journal alone. A person has to act then in any case.
func (e *Engine) quarantine() time.Duration {
	if e.barrier.ours.Load() {
		return e.opts.Quarantine
	}
	return noEnd
}

func (e *Engine) inheritAll(ctx context.Context, ids []credential.ID, owner string, evidence credential.Evidence) error {
	var trouble error
	r := e.reader()
	for _, id := range ids {
		if err := e.inherit(ctx, r, id, owner, func(credential.Nonce) credential.Evidence { return evidence }); err != nil {
			trouble = errors.Join(trouble, fmt.Errorf("attempt of %s, whose owner is silent: %w", id, err))
		}
	}
	return trouble
}

// spendingNothing returns those whose open attempt is past its deadline and
// presented no refresh token. What cannot be read is left to those who tell of it.
func (e *Engine) spendingNothing(ctx context.Context, ids []credential.ID) ([]credential.ID, error) {
	now := e.clock.Now()
	var list []credential.ID
	for ids := range slices.Chunk(ids, putBackAtOnce) {
		found, err := e.store.Load(ctx, ids...)
		if _, single := errors.AsType[itemsError](err); err != nil && !single {
			return list, err
		}
		for i, h := range found {
			if h != nil && credential.SpendsNothing(*h) && h.Attempt.Deadline <= now {
				list = append(list, ids[i])
			}
		}
	}
	return list, nil
}

// takenUp returns when the open attempt of h is taken up by others than its
// owner, who is silent; 0 while he is heard, or if that cannot be told: he is
// stopped, on this machine, or the store does not hold the installation, and a
// refresh token is at stake.
func (e *Engine) takenUp(h credential.Held) credential.Millis {
	a := h.Attempt
	if a == nil || a.Doubt || a.Owner == e.owner {
		return 0
	}
	now := e.clock.Now()
	s := e.watch.seen(a.Owner)
	switch _, locked, err := e.opts.Folder.Look(a.Owner); {
	case s.Silent < e.opts.Silence:
		return 0
	case credential.SpendsNothing(h):
		return max(a.Deadline, now).Add(tickEvery)
	case locked, err != nil, !e.barrier.ours.Load():
		return 0
	default:
		return now.Add(max(s.Remaining(e.opts.Silence, e.opts.Quarantine), 0) + tickEvery)
	}
}

// Shown returns h as it is to be shown: in the later version, if memory has one
// that the store lacks, with what its owner has said meanwhile, and with the moment at
// which others take it up for the deadline of an attempt whose owner is silent.
func (e *Engine) Shown(h credential.Held) credential.Held {
	if held, _, known := e.tokens.get(h.Record.ID); known && held.Record.Version > h.Record.Version {
		h.Record, h.Attempt = held.Record.WithWords(h.Record), held.Attempt
	}
	if at := e.takenUp(h); at != 0 {
		a := *h.Attempt
		a.Deadline = at
		h.Attempt = &a
	}
	return h
}

// unsettled says why an attempt of somebody else's has not ended yet, and when it
// is looked at: at its deadline, or when others take it up, if that is known. One
// whose owner is silent is in no hands that are known to work on it.
func (e *Engine) unsettled(h credential.Held) (late *UnavailableError, known bool) {
	late = &UnavailableError{Reason: credential.ReasonTimeout, RetryAfter: time.Second}
	if h.Attempt == nil {
		return late, false
	}
	at := e.takenUp(h)
	if at != 0 || e.watch.seen(h.Attempt.Owner).Silent >= e.opts.Silence {
		late.Reason = credential.ReasonOwnerDied
	}
	late.RetryAfter = max(cmp.Or(at, h.Attempt.Deadline).Sub(e.clock.Now()), time.Second)
	return late, at != 0
}
