package refresh

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/refreshd/refreshd/internal/credential"
)

// Verify asks the provider whether it still takes the tokens that it should,
// where its settings have a call for that. One that it refuses is refreshed, as
// if its resource had refused it; one that nothing can replace is over, if it is
// refused once more. It returns how many were asked about and how
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
	var stuck []credential.Held
	for len(live) > 0 && ctx.Err() == nil && e.ctx.Err() == nil {
		if held, err := e.breakers.heldBack(ctx, t.Name); err != nil || held {
			return asked, refused, err
		}
		answers, err := e.verifySome(ctx, t, live)
		if busy, ok := errors.AsType[*UnavailableError](err); ok && busy.Reason == credential.ReasonRateLimited {
			e.waitFor(ctx, busy.RetryAfter) // somebody else has the permits; a fetch has time
			continue
		}
		if err != nil {
			return asked, refused, leftToNextFetch(err)
		}
		e.storeAllTold(ctx, t, answers)
		n, irreplaceable := e.replaceRefused(ctx, t, answers)
		refused += n
		stuck = append(stuck, irreplaceable...)
		asked += len(answers)
		live = live[len(answers):]
	}
	if err := e.confirm(ctx, t, stuck); err != nil {
		return asked, refused, err
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

// leftToNextFetch is nil for what keeps anybody from asking now, such as a pause.
func leftToNextFetch(err error) error {
	if _, away := errors.AsType[*UnavailableError](err); away {
		return nil
	}
	return err
}

// waitFor waits for d, or until ctx ends or the engine is told to stop.
func (e *Engine) waitFor(ctx context.Context, d time.Duration) {
	ctx, cancel := e.untilStopped(ctx)
	defer cancel()
	_ = pause(ctx, d) // whoever waits looks at why himself
}

// verifySome asks about as many as there are permits for, from the first on. As any
// call that was sent, one is not cut off: its reply may bring the only token that is
// still taken.
func (e *Engine) verifySome(ctx context.Context, t *Target, list []credential.Held) ([]verified, error) {
	permits, err := e.takePermits(ctx, t, len(list))
	if err != nil {
		return nil, err
	}
	defer permits.giveBack(ctx)
	var wg sync.WaitGroup
	answers := make([]verified, min(permits.granted, len(list)))
	for i, h := range list[:len(answers)] {
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
	return answers, nil
}

// storeAllTold stores what answers tell beside that the token is taken.
func (e *Engine) storeAllTold(ctx context.Context, t *Target, answers []verified) {
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
}

// replaceRefused replaces the tokens that answers refuse. It returns how many those
// are, and which of them, as they are stored now, nothing can replace.
func (e *Engine) replaceRefused(ctx context.Context, t *Target, answers []verified) (refused int, irreplaceable []credential.Held) {
	for _, answer := range answers {
		if answer.outcome.Class != credential.ClassPermanent {
			continue
		}
		refused++
		id, generation := answer.held.Record.ID, answer.held.Record.Generation
		e.log.Info().Str("credential", string(id)).Str("provider", t.Name).Uint64("generation", generation).
			Msg("the provider does not take this token any more")
		held, err := e.Refresh(ctx, id, generation)
		_, person := errors.AsType[*StateError](err)
		switch {
		case errors.Is(err, ErrNotRefreshable):
			if e.verifiable(held) {
				irreplaceable = append(irreplaceable, held)
			}
		case err != nil && !person:
			e.log.Info().Err(err).Str("credential", string(id)).Msg("a token that is not taken any more could not be replaced now")
		}
	}
	return refused, irreplaceable
}

// confirm asks once more about tokens that were refused and that nothing can
// replace. Such a credential ends only if both answers say so: nobody but its user
// brings it back, and a backend in trouble refuses for a moment what it takes again.
//
// Where the store came back without its last writes that waits until everyone has
// put back what they know: a newer login may be among it.
func (e *Engine) confirm(ctx context.Context, t *Target, list []credential.Held) error {
	for len(list) > 0 && ctx.Err() == nil && e.barrier.passes() == passAll {
		if held, err := e.breakers.heldBack(ctx, t.Name); err != nil || held {
			return err
		}
		answers, err := e.verifySome(ctx, t, list)
		if err != nil {
			return leftToNextFetch(err)
		}
		e.storeAllTold(ctx, t, answers)
		for _, answer := range answers {
			if answer.outcome.Class == credential.ClassPermanent {
				e.endRefused(ctx, t, answer)
				continue
			}
			e.log.Info().Str("credential", string(answer.held.Record.ID)).Str("provider", t.Name).Str("class", string(answer.outcome.Class)).
				Msg("a token that was refused was not refused again: nothing is changed")
		}
		list = list[len(answers):]
	}
	return nil
}

// endRefused asks for the user of a token that was refused and that nothing can
// replace.
func (e *Engine) endRefused(ctx context.Context, t *Target, answer verified) {
	id := answer.held.Record.ID
	_, err := e.amend(ctx, id, func(h credential.Held, nonce credential.Nonce, now credential.Millis) (credential.Write, bool) {
		return credential.TakeRefused(h, answer.held.Record, answer.outcome, t.Policy, nonce, now)
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		e.log.Info().Err(err).Str("credential", string(id)).Msg("that a token is not taken any more could not be stored")
	}
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
