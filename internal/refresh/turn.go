package refresh

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

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
	probe    bool              // let through alone by an open breaker
	asked    time.Duration     // boot time just before begin was sent
	answered time.Duration     // boot time when its answer had come
	now      credential.Millis // the store's time in that answer
	ended    bool              // the journal has that the provider called the grant dead
	whole    bool              // the reply ended where it should, though the call was given up

	// start, if not nil, is asked right before the request is written, and waits
	// for a place within the provider's rate.
	start func() error

	// spare, if not nil, is called once the provider is done with: the permit
	// is free then, while the reply is still to be stored.
	spare func()
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
		return e.presentNothing(ctx, tn)
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
		Start: func() error {
			if asked.start == nil {
				return nil
			}
			err := asked.start()
			if err != nil {
				refused.Store(&err)
			}
			return err
		},
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
		outcome = tn.readAlone(outcome, read.found)
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

// readAlone returns the outcome of a call that was given up, with what only the
// reader of its reply found. That counts like what is found in a journal: the
// reply's status is not known.
func (tn *turn) readAlone(o credential.Outcome, found credential.Found) credential.Outcome {
	tn.whole = found.Complete
	o.Token, o.ExpiresAt = found.Token, credential.JWTExpiry(found.Token.Access)
	o.ExpiresIn, o.RefreshExpiresIn = credential.ParseExpiresIn(found.ExpiresIn), credential.ParseExpiresIn(found.RefreshExpiresIn)
	return o
}

// presentNothing settles a turn of a record whose last way to a new token is gone:
// the settings of its provider have changed. Nothing that lives is over by that. A
// session whose provider has none any more lives on as a token.
func (e *Engine) presentNothing(ctx context.Context, tn *turn) settled {
	if tn.target.Policy.TookOut(tn.held.Record) {
		return e.settle(ctx, tn, nil, func(h credential.Held, now credential.Millis) credential.Write {
			return credential.TakeSessionOut(h, tn.attempt, tn.target.Policy, tn.by, now)
		})
	}
	if tn.held.Record.ValidAt(tn.now, 0) {
		return e.settle(ctx, tn, nil, func(h credential.Held, now credential.Millis) credential.Write {
			return credential.PutOff(h, tn.attempt, tn.target.Policy, tn.by, now)
		})
	}
	reason := credential.ReasonNotRefreshable
	if tn.held.Record.Session.Sliding() {
		reason = credential.ReasonSessionEnded
	}
	return e.conclude(ctx, tn, credential.Outcome{Class: credential.ClassPermanent, Reason: reason}, tn.now)
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
	unsent := settled{held: tn.held, outcome: credential.Outcome{Class: credential.ClassNotSent, Reason: credential.ReasonTimeout}}
	if !errors.Is(why, errTooLate) {
		unsent.err = why // of the permit: for want of another one, or of the store
	}
	return unsent
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
	o = e.missing.note(tn, o, sentAt, e.clock.Boot())
	e.logOutcome(tn, o)
	e.brief.note(tn.target, tn.held, o, sentAt)
	got := receivedBy(tn, o, sentAt)
	switch {
	case brings(tn, o):
		e.breakers.accepted(ctx, tn.target, tn.held.Record.ID)
		return e.install(ctx, tn, o, got)
	case tn.method == credential.MethodExtend && o.Class == credential.ClassOK:
		e.breakers.accepted(ctx, tn.target, tn.held.Record.ID)
		return e.settle(ctx, tn, nil, func(h credential.Held, now credential.Millis) credential.Write {
			return credential.Extend(h, tn.attempt, got, tn.target.Policy, tn.by, now)
		}).with(o)
	}
	switch o.Class {
	case credential.ClassOperator:
		o.Own = e.breakers.refused(ctx, tn.target, tn.held.Record.ID, tn.probe, o)
	case credential.ClassPermanent:
		e.breakers.accepted(ctx, tn.target, tn.held.Record.ID)
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
		Partial: o.Class != credential.ClassOK && !tn.whole, Rejected: tn.rejected, Detail: o.Detail,
		RefreshExpiresIn: o.RefreshExpiresIn, Subject: o.Subject, UserData: o.UserData,
	}
}
