package refresh

import (
	"context"
	"errors"
	"sync"

	"github.com/refreshd/refreshd/internal/credential"
)

// Verify asks the provider whether it still takes the tokens that it should,
// where its settings have a call for that. One that it refuses is refreshed, as
// if its resource had refused it. It returns how many were asked about and how
// many of those were refused; what cannot be asked now is left to the next
// fetch. A session is not asked about: that would be a use of it.
func (e *Engine) Verify(ctx context.Context, provider string, ids []credential.ID) (asked, refused int, err error) {
	leave, err := e.enter()
	if err != nil {
		return 0, 0, err
	}
	defer leave()
	t, err := e.target(provider)
	if err != nil || !t.Verify || e.opts.Delegate != nil {
		return 0, 0, err
	}
	if held, err := e.breakers.heldBack(ctx, t.Name); err != nil || held {
		return 0, 0, err
	}
	list, err := e.store.Load(ctx, ids...)
	if _, single := errors.AsType[itemsError](err); err != nil && !single {
		return 0, 0, err
	}
	var live []credential.Held
	for _, h := range list {
		if h != nil && e.verifiable(*h) {
			live = append(live, *h)
		}
	}
	for len(live) > 0 && ctx.Err() == nil {
		permits, err := e.takePermits(ctx, t, len(live))
		if _, busy := errors.AsType[*UnavailableError](err); busy {
			continue // somebody else has them; a fetch has time
		}
		if err != nil {
			return asked, refused, err
		}
		n := min(permits.granted, len(live))
		refused += e.verifySome(ctx, t, live[:n], permits)
		permits.giveBack(ctx)
		asked += n
		live = live[n:]
	}
	return asked, refused, context.Cause(ctx)
}

func (e *Engine) verifiable(h credential.Held) bool {
	r := h.Record
	return h.Attempt == nil && !r.Paused && !r.Session.Sliding() && r.ValidAt(e.clock.Now(), readMargin)
}

// verifySome asks about as many as there are permits for.
func (e *Engine) verifySome(ctx context.Context, t *Target, list []credential.Held, permits *permitLease) int {
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		refused []credential.Held
	)
	for _, h := range list {
		wg.Add(1)
		e.crew.run(func() {
			defer wg.Done()
			o := t.Exchanger.Verify(ctx, h.Token, h.Record.Subject, permits.start(ctx))
			e.metrics.asked(t.Name, askedVerify, o)
			if o.Class == credential.ClassPermanent {
				mu.Lock()
				defer mu.Unlock()
				refused = append(refused, h)
			}
		})
	}
	wg.Wait()
	for _, h := range refused {
		id := h.Record.ID
		e.log.Info().Str("credential", string(id)).Str("provider", t.Name).Uint64("generation", h.Record.Generation).
			Msg("the provider does not take this token any more")
		_, err := e.Refresh(ctx, id, h.Record.Generation)
		if _, person := errors.AsType[*StateError](err); err != nil && !person {
			e.log.Info().Err(err).Str("credential", string(id)).Msg("a token that is not taken any more could not be replaced now")
		}
	}
	return len(refused)
}
