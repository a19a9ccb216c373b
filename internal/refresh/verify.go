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
// fetch. A session is not asked about: that would be a use of it. What the
// replies tell beside is kept.
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
		answers := e.verifySome(ctx, t, live[:n], permits)
		permits.giveBack(ctx)
		refused += e.heed(ctx, t, answers)
		asked += n
		live = live[n:]
	}
	return asked, refused, context.Cause(ctx)
}

func (e *Engine) verifiable(h credential.Held) bool {
	r := h.Record
	return h.Attempt == nil && !r.Paused && !r.Session.Sliding() && r.ValidAt(e.clock.Now(), readMargin)
}

// verified is what a provider has answered about a token.
type verified struct {
	held    credential.Held
	outcome credential.Outcome
	renamed *Kept // the new token that the reply brought, nil if none
}

// verifySome asks about as many as there are permits for. As any call that was
// sent, one is not cut off: its reply may bring the only token that is still taken.
func (e *Engine) verifySome(ctx context.Context, t *Target, list []credential.Held, permits *permitLease) []verified {
	var wg sync.WaitGroup
	answers := make([]verified, len(list))
	for i, h := range list {
		wg.Add(1)
		e.crew.run(func() {
			defer wg.Done()
			sentAt := e.clock.Now()
			o := t.Exchanger.Verify(context.WithoutCancel(ctx), h.Token, h.Record.Subject, permits.start(ctx))
			e.metrics.asked(t.Name, askedVerify, o)
			answers[i] = verified{held: h, outcome: o, renamed: e.keepName(h, o, sentAt)}
		})
	}
	wg.Wait()
	return answers
}

// heed stores what answers tell, and replaces the tokens that they refuse. It
// returns how many those are.
func (e *Engine) heed(ctx context.Context, t *Target, answers []verified) (refused int) {
	var wg sync.WaitGroup
	for _, answer := range answers {
		if answer.outcome.Class != credential.ClassOK {
			continue
		}
		wg.Add(1)
		e.crew.run(func() { // the next call may need what was told
			defer wg.Done()
			e.storeTold(ctx, t, answer)
		})
	}
	wg.Wait()
	for _, answer := range answers {
		if answer.outcome.Class != credential.ClassPermanent {
			continue
		}
		refused++
		id, generation := answer.held.Record.ID, answer.held.Record.Generation
		e.log.Info().Str("credential", string(id)).Str("provider", t.Name).Uint64("generation", generation).
			Msg("the provider does not take this token any more")
		_, err := e.Refresh(ctx, id, generation)
		if _, person := errors.AsType[*StateError](err); err != nil && !person {
			e.log.Info().Err(err).Str("credential", string(id)).Msg("a token that is not taken any more could not be replaced now")
		}
	}
	return refused
}

// storeTold stores what the reply to a verification has told beside that the token
// is taken. Most tell nothing that is not known, and need no store.
func (e *Engine) storeTold(ctx context.Context, t *Target, answer verified) {
	held, o := answer.held, answer.outcome
	e.missing.unkept(t.Name, held.Record.ID, o.Missing, e.clock.Boot())
	if answer.renamed != nil {
		e.storeName(ctx, t, held, *answer.renamed)
	}
	take := func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		if h.Record.Grant != held.Record.Grant {
			return credential.Write{}, false // it is of an earlier login
		}
		return credential.TakeTold(h, o.UserData, o.Subject, t.Policy, nonce, credential.BySchedule, now)
	}
	if _, wanted := take(held, newNonce(), e.clock.Now()); !wanted {
		return
	}
	if _, err := e.amend(ctx, held.Record.ID, take); err != nil {
		e.log.Info().Err(err).Str("credential", string(held.Record.ID)).Msg("what a verification has told could not be stored")
	}
}
