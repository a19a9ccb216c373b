package refresh

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// settled is what became of a turn.
type settled struct {
	held    credential.Held // as stored afterwards
	outcome credential.Outcome
	err     error // the store could not be told; the journal knows
}

// install stores a received token. If the attempt is no longer the open one,
// the token is kept as an alternate, or revoked if its login is over.
func (e *Engine) install(ctx context.Context, tn *turn, o credential.Outcome, got credential.Received) settled {
	result := e.settle(ctx, tn, &got, func(h credential.Held, now credential.Millis) credential.Write {
		return credential.Install(h, tn.attempt, got, tn.target.Policy, tn.by, now)
	})
	return result.with(o)
}

// lastLook is made before a credential is given up: a token that a dead
// process received, or that waits as an alternate, is installed instead.
func (e *Engine) lastLook(ctx context.Context, tn *turn, o credential.Outcome) settled {
	ctx, cancel := e.untilStopped(ctx)
	defer cancel()
	if e.barrier.passes() != passAll {
		e.flights.stall(tn.held.Record.ID, credential.Held{}) // who is missing may be waited for long
	}
	err := errors.Join(e.barrier.await(ctx, passAll), e.adopt(ctx))
	if left := e.Unread(); err != nil || left != "" {
		e.log.Warn().Err(err).Str("credential", string(tn.held.Record.ID)).Str("journals", left).Msg("journals could not be read before giving up a credential")
	}
	if fresh, err := e.loadCurrent(ctx, tn.held.Record.ID); err == nil && fresh != nil {
		tn.held = *fresh
	}
	return e.settle(ctx, tn, nil, func(h credential.Held, now credential.Millis) credential.Write {
		if alt, _, ok := credential.NextAlternate(h); ok {
			return credential.InstallAlternate(h, alt, tn.target.Policy, tn.attempt.Nonce, tn.by, now)
		}
		return credential.Fail(h, tn.attempt, o, tn.target.Policy, tn.by, now)
	}).with(o)
}

func (s settled) with(o credential.Outcome) settled {
	s.outcome = o
	return s
}

// settle stores what decide makes of the record as it is now. Where the record
// has moved it is read and decided again; where the attempt is no longer open,
// only a received token is still of interest.
func (e *Engine) settle(ctx context.Context, tn *turn, got *credential.Received, decide func(credential.Held, credential.Millis) credential.Write) settled {
	ctx, cancel := e.untilStopped(context.WithoutCancel(ctx))
	defer cancel()
	h := tn.held
	for {
		if h.Attempt == nil || h.Attempt.Nonce != tn.attempt.Nonce {
			return e.superseded(ctx, tn, h, got)
		}
		write := decide(h, e.clock.Now())
		stalled := func() {
			var promised credential.Held
			if got != nil {
				promised = write.Result(h)
				e.tokens.promise(promised)
			}
			e.flights.stall(h.Record.ID, promised)
		}
		if write.Open != nil {
			_ = failpoint.Hit(failpoint.DoubtBefore) // it is stored in any case
		}
		written, err := e.commit(ctx, h, write, stalled)
		if err != nil {
			return settled{held: write.Result(h), err: err}
		}
		if written {
			after := write.Result(h)
			e.finished(tn, after, got != nil)
			return settled{held: after}
		}
		again, err := e.reloadKept(ctx, h.Record.ID, stalled)
		if err != nil {
			return settled{held: h, err: err}
		}
		if again == nil {
			e.finished(tn, credential.Held{}, got != nil)
			return settled{err: ErrNotFound}
		}
		h = *again
	}
}

// superseded ends a turn whose attempt was closed by somebody else.
func (e *Engine) superseded(ctx context.Context, tn *turn, h credential.Held, got *credential.Received) settled {
	if got == nil || h.Record.LastWrite == tn.attempt.Nonce {
		e.finished(tn, h, got != nil)
		return settled{held: h}
	}
	kept := Kept{
		Intent: Intent{
			Nonce: tn.attempt.Nonce, ID: h.Record.ID,
			Generation: tn.attempt.Generation, Grant: tn.attempt.Grant, At: got.SentAt,
		},
	}
	after, err := e.keepLate(ctx, tn.target, h, kept, *got, disposal{
		store: func(ctx context.Context, h credential.Held, write credential.Write) (bool, error) {
			return e.commit(ctx, h, write, nil)
		},
		over: func() { e.revoke(ctx, tn.target, got.Token) },
	})
	if err == nil {
		e.finished(tn, after, true)
	} // else the journal has the only copy
	return settled{held: after, err: err}
}

// reload reads a record, asking again while the store is away.
func (e *Engine) reload(ctx context.Context, id credential.ID) (*credential.Held, error) {
	return askAgain(ctx, nil, func() (*credential.Held, error) {
		list, err := e.store.Load(ctx, id)
		if err != nil {
			return nil, err
		}
		return list[0], nil
	})
}

// reloadKept is reload for what must not be given up. A record that is not there was
// deleted, unless the store has lost all that it held: then it is away, too. stalled
// is called once if that takes time.
func (e *Engine) reloadKept(ctx context.Context, id credential.ID, stalled func()) (*credential.Held, error) {
	return askAgain(ctx, stalled, func() (*credential.Held, error) {
		h, err := e.loadCurrent(ctx, id)
		if err == nil && h == nil {
			err = e.emptied(ctx)
		}
		return h, err
	})
}

// askAgain reads until there is an answer or ctx ends. stalled, if not nil, is called
// at the first failure.
func askAgain(ctx context.Context, stalled func(), read func() (*credential.Held, error)) (*credential.Held, error) {
	wait := firstStoreWait
	for {
		h, err := read()
		if err == nil {
			return h, nil
		}
		if stalled != nil {
			stalled()
			stalled = nil
		}
		if pause(ctx, wait) != nil {
			return nil, err
		}
		wait = min(2*wait, maxStoreWait)
	}
}

// loadCurrent reads a record of which something is concluded without a write, and
// fails where that cannot be done.
func (e *Engine) loadCurrent(ctx context.Context, id credential.ID) (*credential.Held, error) {
	seen := e.barrier.sight()
	list, err := e.store.Load(ctx, id)
	if err != nil {
		return nil, err
	}
	switch stands, err := e.barrier.stands(ctx, seen); {
	case err != nil:
		return nil, err
	case !stands:
		return nil, errFellBack
	}
	return list[0], nil
}

// emptied is an error where the store does not hold what this process started on,
// so that nothing is known of what is not there.
func (e *Engine) emptied(ctx context.Context) error {
	ours, _, err := e.opts.Runs.HoldsInstallation(ctx)
	if err == nil && !ours {
		err = errEmptied
	}
	return err
}

// errFellBack says that the store may lack what was there before.
var errFellBack = errors.New("redis was restarted or replaced, and may lack its last writes until everyone has put back what they know")

// errEmptied says that the store came back empty, or was emptied.
var errEmptied = errors.New("redis does not hold any more what this process started on: bring its data back")

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// untilStopped returns ctx, ended when the engine gives up waiting.
func (e *Engine) untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(e.ctx, func() { cancel(context.Cause(e.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// finished forgets a turn that is settled in the store. The journal's record of
// an answer, or of a doubt, goes once the store cannot lose it any more;
// where nothing was changed at the provider it goes at once, so that nobody who
// finds it takes it for a presentation of which the answer is missing.
func (e *Engine) finished(tn *turn, after credential.Held, received bool) {
	e.ledger.ended(tn.attempt.Nonce)
	if open := after.Attempt; received || tn.ended || open != nil && open.Nonce == tn.attempt.Nonce {
		e.ledger.retain(e.clock.Boot(), tn.attempt.Nonce)
	} else {
		e.journal.Drop(tn.attempt.Nonce)
	}
	if after.Record.ID != "" {
		e.tokens.put(after)
	}
}

// logOutcome says what came of an exchange: success is for those who debug, a
// failure that mends itself is information, one that needs a person a warning.
func (e *Engine) logOutcome(tn *turn, o credential.Outcome) {
	level := zerolog.InfoLevel
	switch o.Class {
	case credential.ClassOK:
		level = zerolog.DebugLevel
	case credential.ClassPermanent, credential.ClassOperator:
		level = zerolog.WarnLevel
	case credential.ClassNotSent, credential.ClassRateLimited, credential.ClassNotProcessed,
		credential.ClassTransient, credential.ClassAmbiguous, credential.ClassRefused:
	}
	e.log.WithLevel(level).Str("credential", string(tn.held.Record.ID)).Str("provider", tn.target.Name).
		Str("method", string(tn.method)).Uint64("generation", tn.attempt.Generation).Bool("recovery", tn.attempt.Recovery).
		Str("class", string(o.Class)).Str("reason", string(o.Reason)).Str("detail", o.Detail).
		Str("initiated_by", string(tn.by)).Msg("exchange")
}

// announce counts and logs the events of a write that was stored, and counts the
// doubt that it left. What is put back is not counted once more.
func (e *Engine) announce(write credential.Write) {
	if write.Doubted {
		e.metrics.inDoubt(write.Record.Provider)
	}
	for _, event := range write.Events {
		e.metrics.event(event)
		level := zerolog.InfoLevel
		switch event.Type {
		case credential.EventReauthRequired, credential.EventReuseSuspected, credential.EventClientMisconfigured:
			level = zerolog.WarnLevel
		case credential.EventRefreshed:
			level = zerolog.DebugLevel
		default: // the others are information
		}
		e.log.WithLevel(level).Str("credential", string(event.ID)).Str("provider", event.Provider).Uint64("version", event.Version).
			Str("state", string(event.State)).Str("reason", string(event.Reason)).Msg(string(event.Type))
	}
}
