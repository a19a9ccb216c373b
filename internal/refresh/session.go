package refresh

import (
	"context"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// SetPresence stores who uses a credential's session. On the return from the
// background a session is extended that was not used for two thirds of its idle
// timeout, and one that is over is replaced, as soon as there is a permit, and
// the former also if its user has left again by then. Where
// there is no session and will be none it is [ErrNoSession]; where the provider is
// not configured nothing can be planned, which is [ErrUnknownProvider]. With a
// subject, a credential of another one does not exist.
func (e *Engine) SetPresence(ctx context.Context, id credential.ID, presence credential.Presence, subject string) (credential.Held, error) {
	var refused error
	held, err := e.owners(ctx, id, subject, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		var t *Target
		if t, refused = e.target(h.Record.Provider); refused != nil {
			return credential.Write{}, false
		}
		if !h.Record.Session.Sliding() && t.Policy.Sessions.Idle == 0 {
			refused = ErrNoSession
			return credential.Write{}, false
		}
		return credential.SetPresence(h, presence, t.Policy, nonce, now)
	})
	if err == nil && refused != nil {
		return held, refused
	}
	return held, err
}

// SetPaused holds a credential back or lets it go on. With a subject, one of
// another does not exist.
func (e *Engine) SetPaused(ctx context.Context, id credential.ID, paused bool, subject string) (credential.Held, error) {
	return e.owners(ctx, id, subject, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		write, wanted := credential.SetPaused(h, paused, nonce, now)
		if !wanted && e.barrier.lacks() {
			return credential.AffirmPaused(h, nonce, now)
		}
		return write, wanted
	})
}

// PlanOnce asks for one refresh after a delay, beside what is planned. A
// negative delay takes back what was asked for. With a subject, a credential of
// another one does not exist.
func (e *Engine) PlanOnce(ctx context.Context, id credential.ID, after time.Duration, subject string) (credential.Held, error) {
	return e.owners(ctx, id, subject, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		at := credential.Millis(0)
		if after >= 0 {
			at = now.Add(after)
		}
		return credential.PlanOnce(h, at, nonce, now)
	})
}

// owners stores an owner's wish that has no event.
func (e *Engine) owners(ctx context.Context, id credential.ID, subject string, decide func(credential.Held, credential.Nonce, credential.Millis) (credential.Write, bool)) (credential.Held, error) {
	leave, err := e.enter()
	if err != nil {
		return credential.Held{}, err
	}
	defer leave()
	if err := e.barrier.awaitSoon(ctx, passWrites); err != nil {
		return credential.Held{}, e.unavailable(err)
	}
	held, err := e.amendSurely(ctx, id, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		if !of(h.Record, subject) {
			return credential.Write{}, false
		}
		return decide(h, nonce, now)
	})
	if err == nil && !of(held.Record, subject) {
		err = ErrNotFound
	}
	if err != nil {
		return credential.Held{}, e.unavailable(err)
	}
	e.tellDue(held)
	if r := held.Record; r.State.Terminal() {
		return held, &StateError{State: r.State, Reason: r.Reason, Since: r.Since}
	}
	return held, nil
}

// tellDue tells whoever looks for what is due, where an owner's word has made it so.
func (e *Engine) tellDue(held credential.Held) {
	if at := credential.NextDue(held.Record, held.Attempt); at != 0 && at <= e.clock.Now() && e.opts.OnDue != nil {
		e.opts.OnDue()
	}
}
