package refresh

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/failpoint"
)

// turn is one begun attempt on its way through exchange and commit.
type turn struct {
	target   *Target
	held     credential.Held // as begin handed it out
	attempt  credential.Attempt
	by       credential.Initiator
	method   credential.Method // what is presented
	rejected bool              // asked for because the resource had refused the token
	asked    time.Duration     // boot time just before begin was sent
	answered time.Duration     // boot time when its answer had come
	now      credential.Millis // the store's time in that answer
	ended    bool              // the journal has that the provider called the grant dead

	// spare, if not nil, is called once the provider is done with: the permit
	// is free then, while the reply is still to be stored.
	spare func()
}

// settled is what became of a turn.
type settled struct {
	held    credential.Held // as stored afterwards
	outcome credential.Outcome
	err     error // the store could not be told; the journal knows
}

// abandon gives up an attempt of which nothing was sent.
func (e *Engine) abandon(ctx context.Context, tn *turn) {
	e.settle(ctx, tn, nil, func(h credential.Held, now credential.Millis) credential.Write {
		return credential.Abandon(h, tn.attempt, tn.by, now)
	})
}

// take carries one turn to its end, whatever becomes of ctx: once sent, an
// exchange is never cut off.
func (e *Engine) take(ctx context.Context, tn *turn) settled {
	ctx = context.WithoutCancel(ctx)
	if tn.method == credential.MethodNone {
		return e.conclude(ctx, tn, nothingToPresent(tn.held.Record), tn.now)
	}
	if failed := tn.target.Exchanger.Prepare(ctx); failed != nil {
		return e.conclude(ctx, tn, *failed, tn.now)
	}
	if tn.attempt.Recovery && failpoint.Hit(failpoint.RecoverBefore) != nil {
		return e.conclude(ctx, tn, credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonUnavailable}, tn.now)
	}
	// This spares a connection. What counts is the answer to the same question
	// right before the first byte is written.
	if err := e.maySend(tn); err != nil {
		return e.unsent(ctx, tn, err)
	}
	if failpoint.Hit(failpoint.SendBefore) != nil {
		return e.conclude(ctx, tn, credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonUnavailable}, tn.now)
	}
	sentAt := tn.now.Add(e.clock.Boot() - tn.answered)
	started := e.clock.Boot()
	asked := *tn // a reply may be dealt with while the request's end is still being written
	var refused atomic.Pointer[error]
	var handed atomic.Pointer[handing] // a reply is read by another goroutine
	outcome := tn.target.Exchanger.Exchange(ctx, credential.Presentation{
		Method: tn.method, Token: tn.held.Token, SignIn: tn.held.SignIn, Subject: tn.held.Record.Subject,
		MaySend: func() error {
			err := e.maySend(&asked)
			if err != nil {
				refused.Store(&err)
			}
			return err
		},
		Hand: func(found credential.Found) { handed.Store(&handing{found, e.hand(&asked, found, sentAt)}) },
		Keep: func(found credential.Found) error {
			if read := handed.Load(); read != nil {
				return kept(read.durable)
			}
			return kept(e.hand(tn, found, sentAt))
		},
	})
	if read := handed.Load(); read != nil && outcome.Class == credential.ClassAmbiguous && outcome.Token == (credential.Token{}) {
		// The call was given up just as its reply was read.
		_ = kept(read.durable) // a reply is used even where it could not be journaled
		outcome.Token, outcome.ExpiresIn = read.found.Token, credential.ParseExpiresIn(read.found.ExpiresIn)
	}
	outcome.Method = tn.method
	_ = failpoint.Hit(failpoint.SendAnswered) // what came is dealt with in any case
	took := e.clock.Boot() - started
	if outcome.Class == credential.ClassPermanent {
		e.keepEnded(tn, outcome, sentAt) // before the store is asked for anything
	}
	if tn.spare != nil {
		tn.spare()
	}
	e.metrics.exchanged(tn.target.Name, outcome, took)
	if why := refused.Load(); why != nil && outcome.Class == credential.ClassNotSent {
		return e.unsent(ctx, tn, *why)
	}
	e.pace.saw(tn.target.Name, took)
	e.hold(ctx, tn.target, outcome)
	return e.conclude(ctx, tn, outcome, sentAt)
}

// nothingToPresent is the outcome for a record whose last way to a new token is
// gone: the settings of its provider have changed.
func nothingToPresent(r credential.Record) credential.Outcome {
	reason := credential.ReasonNotRefreshable
	if r.Session.Sliding() {
		reason = credential.ReasonSessionEnded
	}
	return credential.Outcome{Class: credential.ClassPermanent, Reason: reason}
}

// Why a token must not be presented any more, or not yet.
var (
	errTooLate  = errors.New("the time to send is over")
	errNotReady = errors.New("the recovery's time is not now")
)

// maySend says whether the turn's token may be presented at this moment. The
// process may have stood still since begin, and somebody else may have taken
// the attempt for lost; a recovery may have got out of the provider's grace. It
// is asked on the goroutine that writes the request, while the turn waits.
func (e *Engine) maySend(tn *turn) error {
	boot := e.clock.Boot()
	if boot-tn.asked > tn.target.Policy.Times.Send {
		return errTooLate
	}
	now := tn.now.Add(boot - tn.answered)
	if tn.attempt.Recovery && credential.RecoverAt(tn.held.Record, tn.attempt, tn.target.Policy, now) > now {
		return errNotReady
	}
	return nil
}

// unsent settles a turn whose token maySend kept from being presented.
func (e *Engine) unsent(ctx context.Context, tn *turn, why error) settled {
	if errors.Is(why, errNotReady) {
		return e.settle(ctx, tn, nil, func(h credential.Held, now credential.Millis) credential.Write {
			return credential.Postpone(h, tn.attempt, tn.target.Policy, now)
		})
	}
	e.abandon(ctx, tn)
	return settled{held: tn.held, outcome: credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonTimeout}}
}

// handing is a token on its way into the journal.
type handing struct {
	found   credential.Found
	durable func() error // waits until it is there
}

// hand notes a received token in the journal. What it returns waits until that
// is durable.
func (e *Engine) hand(tn *turn, found credential.Found, sentAt credential.Millis) (durable func() error) {
	if err := failpoint.Hit(failpoint.KeepBefore); err != nil {
		return func() error { return err }
	}
	return e.journal.Keep(Kept{
		Intent: Intent{
			Nonce: tn.attempt.Nonce, ID: tn.held.Record.ID,
			Generation: tn.attempt.Generation, Grant: tn.attempt.Grant, At: sentAt,
		},
		Method: tn.method,
		Found:  found,
	})
}

// kept waits until a token that was handed to the journal is durable.
func kept(durable func() error) error {
	err := durable()
	if err == nil {
		err = failpoint.Hit(failpoint.KeepNoted)
	}
	return err
}

// keepEnded notes in the journal that the provider calls the grant dead, before
// anything else is looked at: whoever takes this process's place has it from
// there, and does not ask again. Without it he would, once, and hear the same.
func (e *Engine) keepEnded(tn *turn, o credential.Outcome, sentAt credential.Millis) {
	err := failpoint.Hit(failpoint.EndedBefore)
	if err == nil {
		err = e.journal.Keep(Kept{
			Intent: Intent{
				Nonce: tn.attempt.Nonce, ID: tn.held.Record.ID,
				Generation: tn.attempt.Generation, Grant: tn.attempt.Grant, At: sentAt,
			},
			Method: tn.method,
			Ended:  credential.EndedBy(tn.attempt, o),
		})()
	}
	if err != nil {
		e.log.Debug().Err(err).Str("credential", string(tn.held.Record.ID)).Msg("that a grant is dead could not be noted in the journal before it is stored")
		return
	}
	tn.ended = true
	_ = failpoint.Hit(failpoint.EndedNoted) // it is stored in any case
}

// conclude stores what came of an exchange.
func (e *Engine) conclude(ctx context.Context, tn *turn, o credential.Outcome, sentAt credential.Millis) settled {
	o = e.missing.note(tn, o, e.clock.Boot())
	e.logOutcome(tn, o)
	e.brief.note(tn.target, tn.held, o, sentAt)
	got := receivedBy(tn, o, sentAt)
	switch {
	case brings(tn, o):
		e.breakers.accepted(ctx, tn.target.Name)
		return e.install(ctx, tn, o, got)
	case tn.method == credential.MethodExtend && o.Class == credential.ClassOK:
		e.breakers.accepted(ctx, tn.target.Name)
		return e.settle(ctx, tn, nil, func(h credential.Held, now credential.Millis) credential.Write {
			return credential.Extend(h, tn.attempt, got, tn.target.Policy, tn.by, now)
		}).with(o)
	}
	switch o.Class {
	case credential.ClassOperator:
		e.breakers.refused(ctx, tn.target.Name, o)
	case credential.ClassPermanent:
		e.breakers.accepted(ctx, tn.target.Name)
		return e.lastLook(ctx, tn, o)
	case credential.ClassOK, credential.ClassNotSent, credential.ClassRateLimited, credential.ClassNotProcessed,
		credential.ClassTransient, credential.ClassAmbiguous, credential.ClassRefused:
	}
	return e.settle(ctx, tn, nil, func(h credential.Held, now credential.Millis) credential.Write {
		return credential.Fail(h, tn.attempt, o, tn.target.Policy, tn.by, now)
	}).with(o)
}

// brings reports whether an outcome carries a token that is to be installed,
// also where the rest of the reply was broken. A session that was extended may
// have been told once more.
func brings(tn *turn, o credential.Outcome) bool {
	if tn.method == credential.MethodExtend {
		return !o.Token.Access.IsZero() && !o.Token.Access.Equal(tn.held.Token.Access)
	}
	newRefresh := !o.Token.Refresh.IsZero() && !o.Token.Refresh.Equal(tn.held.Token.Refresh)
	return !o.Token.Access.IsZero() || newRefresh
}

// receivedBy is what a turn brought, on its way into the record.
func receivedBy(tn *turn, o credential.Outcome, sentAt credential.Millis) credential.Received {
	return credential.Received{
		Method: tn.method, Token: o.Token, SentAt: sentAt, ExpiresIn: o.ExpiresIn, ExpiresAt: o.ExpiresAt,
		Partial: o.Class != credential.ClassOK, Rejected: tn.rejected, Detail: o.Detail,
		RefreshExpiresIn: o.RefreshExpiresIn, Subject: o.Subject, UserData: o.UserData,
	}
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
	if err := errors.Join(e.barrier.await(ctx, passAll), e.adopt(ctx)); err != nil {
		e.log.Warn().Err(err).Str("credential", string(tn.held.Record.ID)).Msg("journals could not be read before giving up a credential")
	}
	if fresh, err := e.store.Load(ctx, tn.held.Record.ID); err == nil && fresh[0] != nil {
		tn.held = *fresh[0]
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
		var stalled func()
		if got != nil {
			stalled = func() { e.tokens.promise(write.Result(h)) }
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
		again, err := e.reload(ctx, h.Record.ID)
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
	after, err := e.keepLate(ctx, tn.target, h, kept, *got, func(ctx context.Context, h credential.Held, write credential.Write) (bool, error) {
		return e.commit(ctx, h, write, nil)
	})
	if err == nil {
		e.finished(tn, after, true)
	} // else the journal has the only copy
	return settled{held: after, err: err}
}

// reload reads a record, asking again while the store is away.
func (e *Engine) reload(ctx context.Context, id credential.ID) (*credential.Held, error) {
	wait := firstStoreWait
	for {
		list, err := e.store.Load(ctx, id)
		if err == nil {
			return list[0], nil
		}
		if pause(ctx, wait) != nil {
			return nil, err
		}
		wait = min(2*wait, maxStoreWait)
	}
}

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

// announce counts and logs the events of a write that was stored.
func (e *Engine) announce(write credential.Write) {
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
